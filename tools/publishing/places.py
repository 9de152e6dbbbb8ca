"""Where published runs are, and what is called how."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "results/published"

MAIN, WIDE, LONGER = "cifar10-cpu", "full-width", "cifar10-cpu-longer"
MORE_SEEDS = "more-seeds"  # of the main run's Table 1
PAPER_LENGTH = "paper-length"
AUTHORS = "graph-kd"  # the networks that the paper's authors published, evaluated

SECTIONS = ("geometry", "distillation", "embedding", "robustness", "timing")
TRAINED_IN_SECTIONS = ("distillation", "embedding", "robustness")  # those with seeds of their own

CONFIGURATION, PROVENANCE = "configuration.yaml", "provenance.json"
JOB_TIMES = "tables/job_times.csv"
PLANE_ERRORS = "embedding/figureA1/errors.csv"
