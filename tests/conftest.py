import os

# tests run side by side, one process a core; set before torch is imported
os.environ["OMP_NUM_THREADS"] = "1"
