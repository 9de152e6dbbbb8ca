"""What is committed of finished runs, how a run is restored from it, and the numbers that the pages take from it."""
