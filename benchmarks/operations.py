"""The computation in the paper's configuration: steps, operations, and the hours that they take on one GPU and on four.

    python benchmarks/operations.py [FILE.csv]

The operations of one step of every training in config/cifar10.yaml are counted by PyTorch's formulas while it runs: those of
convolutions and matrix products, forward and backward, 2 per multiply-add. Hours are given for two GPUs: for the paper's, by
the rate that follows from its 47.4 s for an epoch of Table A1's baseline; for that of results/published/step_times.csv, by
the step times measured there by `step_times.py`, one training at a time. On four GPUs training runs in parallel; none takes
longer than a quarter of the whole, so hours are divided by four. Evaluations are not included (see `spreading.py`). Writes
benchmarks/results/operations.csv, or FILE.csv.
"""

import sys
import tempfile
from math import ceil
from pathlib import Path

import pandas as pd
import torch
from _common import RESULTS, begin, show
from spreading import HOUR, ROOT, TRAIN_IMAGES, paper, paper_epoch_seconds, plan, some_images, trials
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lgg.pipeline.config import Config, Training

MEASURED = ROOT / "results/published/step_times.csv"
RULES = {
    "geometry": ("train_reference_network",),
    "teacher": ("train_teacher",),
    "distillation": ("train_student", "distill_student"),
    "embedding": ("train_embedding", "train_plane_embedding"),
    "robustness": ("train_robust_network",),
}


class Operations(TorchDispatchMode):
    """Counts operations while it is active. PyTorch's `FlopCounterMode` does so too, but not inside an attack."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=result)
        elif func.name() == "mkldnn::_linear_pointwise":  # `lgg.products` on CPUs; on GPUs it is an ordinary product
            self.total += 2 * result.numel() * args[0].shape[-1]
        return result


def operations_of_steps(config: Config) -> dict[str, int]:
    """Return the number of operations of a step of every training, by SECTION.METHOD."""
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, trial in trials(config, some_images(Path(folder)), torch.device("cpu")).items():
            with Operations() as counter:
                trial.seconds(1)
            counts[name] = counter.total
    return counts


def training_of(config: Config, name: str) -> Training:
    section = name.split(".")[0]
    return (config.distillation if section == "teacher" else getattr(config, section)).training


def main() -> None:
    """Print the table and write it."""
    begin()
    config = paper()
    counts = operations_of_steps(config)
    jobs = pd.Series([(job.rule, job.method) for job in plan()]).value_counts()
    rows = []
    for name, operations in counts.items():
        section, _, method = name.partition(".")
        training = training_of(config, name)
        steps = training.epochs * ceil(TRAIN_IMAGES / training.batch_size)
        number = sum(int(jobs.get((rule, method), 0)) for rule in RULES[section])
        rows.append(
            {"training": name, "networks": number, "steps_each": steps, "gigaflop_a_step": operations / 1e9}
            | {"petaflop": number * steps * operations / 1e15}
        )
    table = pd.DataFrame(rows)
    steps = ceil(TRAIN_IMAGES / config.robustness.training.batch_size)
    rate = steps * counts[f"robustness.{config.robustness.baseline}"] / paper_epoch_seconds(config)
    times = pd.read_csv(MEASURED)
    table["seconds_measured"] = table["training"].map(times.groupby("name")["seconds_per_step"].median())
    seconds = {
        "paper": table["petaflop"] * 1e15 / rate,
        "measured": table["networks"] * table["steps_each"] * table["seconds_measured"],
    }
    for label, whole in seconds.items():
        for gpus in (1, 4):
            table[f"hours_{label}_{gpus}"] = whole / HOUR / gpus
    table["teraflops_paper"] = rate / 1e12
    table["teraflops_measured"] = table["gigaflop_a_step"] / table["seconds_measured"] / 1e3
    table["device_measured"] = times["device"].iloc[0]
    show(table, "training runs of config/cifar10.yaml")
    show(table.sum(numeric_only=True).to_frame("together").T[["networks", "petaflop", *table.filter(like="hours")]])
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "operations.csv"
    target.parent.mkdir(exist_ok=True)
    table.to_csv(target, index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
