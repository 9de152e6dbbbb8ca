"""The computation in the paper's configuration: steps, operations, and the hours that they take on one GPU and on four.

    python benchmarks/operations.py [FILE.csv]

The operations of one step of every training in config/cifar10.yaml are counted by PyTorch's formulas on the `meta` device:
those of convolutions and matrix products, forward and backward, 2 per multiply-add. Hours are given for two GPUs: for the
paper's, by the rate that follows from its 47.4 s for an epoch of Table A1's baseline; for that of
results/published/step_times.csv, by the step times measured there by `step_times.py`, one training at a time. On four GPUs
training runs in parallel; none takes longer than a quarter of the whole, so hours are divided by four. Evaluations are not
included (see `spreading.py`). Writes benchmarks/results/operations.csv, or FILE.csv.
"""

import sys
from collections.abc import Iterable
from dataclasses import replace
from math import ceil
from pathlib import Path

import pandas as pd
import torch
from _common import RESULTS, show
from kernels import WITH_TEACHER, take_step
from kernels import trials as on_meta
from spreading import HOUR, ROOT, TRAIN_IMAGES, paper, paper_epoch_seconds, plan
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lgg.pipeline.config import Config, Training
from lgg.training.objectives import CrossEntropy

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
            # a product's third argument is the type of its result, which not every version's formula takes
            given = args[:2] if func._overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm) else args
            self.total += flop_registry[func._overloadpacket](*given, **(kwargs or {}), out_val=result)
        return result


def operations_of_steps() -> dict[str, int]:
    """Return the number of operations of a step of every training of config/cifar10.yaml, by SECTION.METHOD.

    The triplets of a loss depend on the values, so the network's alone are counted: distances between a batch's embeddings
    are few.
    """
    counts = {}
    for name, trial in on_meta().items():
        with Operations() as counter:
            take_step(trial if name != "embedding.triplet" else replace(trial, objective=CrossEntropy()), "float32")
        counts[name] = counter.total
    return counts


def training_of(config: Config, name: str) -> Training:
    section = name.split(".")[0]
    return (config.distillation if section == "teacher" else getattr(config, section)).training


def steps_of(config: Config, name: str) -> int:
    """Return the number of steps of a training run."""
    training = training_of(config, name)
    return training.epochs * ceil(TRAIN_IMAGES / training.batch_size)


def networks_of(names: Iterable[str]) -> dict[str, int]:
    """Return how many networks the workflow trains of each of these."""
    jobs = pd.Series([(job.rule, job.method) for job in plan()]).value_counts()
    found = {}
    for name in names:
        section, _, method = name.partition(".")
        found[name] = sum(int(jobs.get((rule, method), 0)) for rule in RULES[section])
    return found


def alone(times: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one network at a time in float32, the paper's precision, of captured steps where there are any."""
    rows = times[(times["networks"] == 1) & (times["precision"] == "float32")]
    return rows[rows["captured"] == rows.groupby("name")["captured"].transform("max")]


def main() -> None:
    """Print the table and write it."""
    config = paper()
    counts = {name: number for name, number in operations_of_steps().items() if name != WITH_TEACHER}
    networks = networks_of(counts)
    rows = []
    for name, operations in counts.items():
        steps, number = steps_of(config, name), networks[name]
        rows.append(
            {"training": name, "networks": number, "steps_each": steps, "gigaflop_a_step": operations / 1e9}
            | {"petaflop": number * steps * operations / 1e15}
        )
    table = pd.DataFrame(rows)
    steps = ceil(TRAIN_IMAGES / config.robustness.training.batch_size)
    rate = steps * counts[f"robustness.{config.robustness.baseline}"] / paper_epoch_seconds(config)
    times = alone(pd.read_csv(MEASURED))
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
