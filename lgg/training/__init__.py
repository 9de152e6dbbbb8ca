"""Training: the one loop, what it minimises, its schedule, and the files it leaves."""
