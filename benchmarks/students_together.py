"""Several students trained together in one process, compared with the same students in turn.

    python benchmarks/students_together.py [--rounds 3] [--batch-size 128] [--device cuda]

A cross-entropy step of 1 to 10 WideResNet28-0.5 (94,154 parameters each). It is meant for GPUs, which a single student does
not saturate, unlike a CPU. Writes benchmarks/results/students_together.csv and .png, or students_together_cuda with
`--device cuda`.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from _common import begin, draw_cost, keep, show
from torch import Tensor

from lgg import models
from lgg.devices import prepare
from lgg.reporting.figures import plt
from lgg.training.fit import train_step
from lgg.training.objectives import CrossEntropy
from lgg.training.optimizers import SGD
from lgg.training.together import CrossEntropyTogether, Together

COUNTS = (1, 2, 5, 10)
#: steps per round; on a GPU a single step is too short to time
STEPS = {"cpu": 1, "cuda": 10}


def students(count: int, device: torch.device) -> list[Any]:
    torch.manual_seed(0)
    return [models.build("wide_resnet", num_classes=10, depth=28, width=0.5).to(device) for _ in range(count)]


def stepper(model: Any, objective: Any, images: Tensor, labels: Tensor, precision: str) -> Callable[[], object]:
    """Return a function that takes a step."""
    optimizer = SGD(model.train().parameters(), momentum=0.9, weight_decay=5e-4)
    return lambda: train_step(model, objective, images, labels, optimizer, 0.01, precision, None)


def seconds(steps: list[Callable[[], object]], device: torch.device) -> float:
    wait_for(device)
    began = time.perf_counter()
    for _ in range(STEPS[device.type]):
        for step in steps:
            step()
    wait_for(device)
    return (time.perf_counter() - began) / STEPS[device.type]


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare(count: int, batch_size: int, precision: str, rounds: int, device: torch.device) -> list[dict[str, Any]]:
    """Return one row per variant and round."""
    images = torch.rand(count, batch_size, 3, 32, 32, device=device)
    labels = torch.randint(10, (count, batch_size), device=device)
    ways = {
        "in turn": [
            stepper(model, CrossEntropy(), x.contiguous(memory_format=torch.channels_last), y, precision)
            for model, x, y in zip(students(count, device), images, labels, strict=True)
        ],
        "together": [stepper(Together(students(count, device)), CrossEntropyTogether(), images, labels, precision)],
    }
    for steps in ways.values():
        seconds(steps, device)
    return [
        {"precision": precision, "students": count, "way": way, "round": number, "seconds": seconds(steps, device)}
        for number in range(rounds)
        for way, steps in ways.items()
    ]


def main() -> None:
    """Print both times for each number of students, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", choices=STEPS, default="cpu")
    arguments = parser.parse_args()
    begin()
    device = prepare(int(arguments.device == "cuda"), torch.get_num_threads())
    rows = [
        row
        for precision in ("bfloat16", "float32")
        for count in COUNTS
        for row in compare(count, arguments.batch_size, precision, arguments.rounds, device)
    ]
    times = pd.DataFrame(rows)
    by_way = times.pivot(index=["precision", "students", "round"], columns="way", values="seconds")
    ratios = (by_way["together"] / by_way["in turn"]).groupby(["precision", "students"]).agg(["median", "min", "max"])
    medians = by_way.groupby(["precision", "students"]).median()
    show(medians.join(ratios.add_prefix("ratio ")).reset_index(), "seconds per step of all students")
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), sharey=True)
    for axis, (precision, table) in zip(axes, medians.groupby("precision"), strict=True):
        costs = {way: table.reset_index().rename(columns={way: "seconds"}) for way in ("in turn", "together")}
        draw_cost(axis, costs, "students", 2)
        axis.set_title(precision)
    keep(times, figure, "students_together" + ("_cuda" if device.type == "cuda" else ""))


if __name__ == "__main__":
    main()
