"""Time of a step of every training in the paper's configuration on a GPU, measured as by Table A1's rule.

    python benchmarks/step_times.py [--rounds 3] [--steps 20] [--device cuda] [--out FILE.csv]

The training runs of config/cifar10.yaml, at the paper's sizes, are interleaved in one process with nothing else running.
Writes benchmarks/results/step_times.csv, or FILE.csv: one row per training and round, with the device. `operations.py`
computes the hours of the whole configuration from it.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd
import torch
from _common import RESULTS, begin, show
from spreading import paper, some_images, trials

from lgg.devices import name_of, prepare
from lgg.training.timing import measure


def main() -> None:
    """Print the medians, and write all times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--out", type=Path, default=RESULTS / "step_times.csv")
    arguments = parser.parse_args()
    cores = begin()
    device = prepare(int(arguments.device == "cuda"), cores)
    with tempfile.TemporaryDirectory() as folder:
        timed = trials(paper(), some_images(Path(folder)), device)
        times = pd.DataFrame(measure(timed, rounds=arguments.rounds, steps=arguments.steps))
    times["precision"] = [timed[name].precision for name in times["name"]]
    times["device"], times["torch"] = name_of(device), torch.__version__
    found = times.groupby("name", sort=False)["seconds_per_step"].agg(["median", "min", "max"])
    show(found.reset_index(), f"seconds per step on {name_of(device)}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    times.to_csv(arguments.out, index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
