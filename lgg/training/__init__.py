"""Training: the training loop, its objectives and schedule, and the files that it writes."""
