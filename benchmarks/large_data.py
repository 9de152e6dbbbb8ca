"""Training on images that do not fit in memory: peak resident memory, and time against images in memory.

    python benchmarks/large_data.py [--gigabytes 2] [--side 32] [--steps 30] [--rounds 7] [--threads 1] [--folder FOLDER]

Writes a set of random images of that size below FOLDER (the system's temporary one), as the pipeline does, and removes it at
the end. A new process then reads it, checks its SHA-256, takes training steps, and reports its peak memory. Times of steps
of the demonstration's networks are of two kinds, interleaved: with images in memory, and in the file, of which nothing is in
the system's cache when the steps begin.
Writes benchmarks/results/large_data.csv and .png.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _common import begin, keep, relative, show
from numpy.typing import NDArray

from lgg import models
from lgg.data.batches import LARGEST_IN_MEMORY, Batches
from lgg.data.storage import BLOCK, ImageSet, read_images, write_images
from lgg.reporting.figures import PALETTE, plt
from lgg.training.objectives import CrossEntropy
from lgg.training.timing import Trial, measure

CLASSES = 10
IN_MEMORY = 10_000  # images
GOALS = {"memory": 1.5, "time": 1.10}  # gigabytes of a process, and ratio to images in memory
#: of the demonstration: batch size, and what the network is built with
NETWORKS = {
    "WideResNet10-0.5, batch 32": (32, {"name": "wide_resnet", "depth": 10, "width": 0.5}),
    "PreActResNet18, base width 8, batch 100": (100, {"name": "preact_resnet18", "base_width": 8}),
}


@dataclass
class RandomImages:
    """Images (count, side, side, 3) of random pixels, made in blocks, for `write_images`."""

    count: int
    side: int
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = field(default=tuple(map(str, range(CLASSES))))

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, self.side, self.side, 3)

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.arange(self.count, dtype=np.int64) % CLASSES

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        generator = np.random.default_rng(0)
        step = max(1, BLOCK // (self.side**2 * 3))
        for first in range(0, self.count, step):
            shape = (min(step, self.count - first), *self.shape[1:])
            yield generator.integers(256, size=shape, dtype=np.uint8)


@dataclass
class Uncached(Trial):
    """A trial that begins with nothing of its file in the system's cache."""

    path: Path = Path()

    def seconds(self, steps: int) -> float:
        """Return how long `steps` steps take."""
        forget(self.path)
        return super().seconds(steps)


def forget(path: Path) -> None:
    """Let the system drop what it keeps of a file in memory."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def trial(name: str, data: ImageSet, kind: type[Trial] = Trial, **options: object) -> Trial:
    """Return the training of a network, ready to be timed."""
    size, built_with = NETWORKS[name]
    torch.manual_seed(0)
    model = models.build(**built_with, num_classes=CLASSES, mean=[0.5] * 3, std=[0.25] * 3)
    batches = Batches(data.images, data.labels, batch_size=size, seed=0, augmentation="crop_and_flip")
    return kind(model, CrossEntropy(), batches, **options)


def times(path: Path, steps: int, rounds: int) -> pd.DataFrame:
    """Return medians and ratios of the times of steps, for each network."""
    data = read_images(path)
    if data.images.nbytes <= LARGEST_IN_MEMORY:
        raise SystemExit(
            f"a set of {data.images.nbytes:,} bytes is kept in memory; choose more than {LARGEST_IN_MEMORY:,}"
        )
    some = ImageSet(np.array(data.images[:IN_MEMORY]), data.labels[:IN_MEMORY], data.classes)
    tables = []
    for name in NETWORKS:
        trials = {
            "in memory": trial(name, some),
            "in a file": trial(name, data, Uncached, path=path),
        }
        found = relative(pd.DataFrame(measure(trials, rounds=rounds, steps=steps, warm_up=5)), "in memory")
        tables.append(found.assign(network=name, goal=GOALS["time"]))
    return pd.concat(tables)


def job(path: Path, steps: int) -> None:
    """Do what a training job does with its images, and print the peak of this process's resident memory in gigabytes."""
    data = read_images(path, verify=True)
    trial(next(iter(NETWORKS)), data).seconds(steps)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) * 1024 / 1e9)


def peak(path: Path, steps: int) -> float:
    """Return the peak resident memory of `job` in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--job",
        str(path),
        "--steps",
        str(steps),
        "--threads",
        str(torch.get_num_threads()),
    ]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def draw(table: pd.DataFrame) -> plt.Figure:
    """Return bars of the ratios, with the smallest and largest of a round."""
    figure, axis = plt.subplots(figsize=(6, 2.4), layout="constrained")
    for place, (_, row) in enumerate(table.iterrows()):
        axis.barh(place, row["ratio"], color=PALETTE[place % 2])
        axis.plot([row["low"], row["high"]], [place, place], color="black", linewidth=1)
    axis.set_yticks(range(len(table)), table["network"] + "\n" + table["name"], fontsize=6)
    axis.axvline(GOALS["time"], color="black", linestyle=":")
    axis.set_xlabel("seconds per step ÷ those of images in memory")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="all cores if it is not given")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(min(begin(), arguments.threads or sys.maxsize))
    if arguments.job:
        job(arguments.job, arguments.steps)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "train.safetensors"
        count = int(arguments.gigabytes * 1e9) // (arguments.side**2 * 3)
        write_images(path, RandomImages(count, arguments.side))
        memory = peak(path, arguments.steps)
        print(f"{path.stat().st_size / 1e9:.2f} GB, {count:,} images of {arguments.side} × {arguments.side} pixels")
        print(f"peak resident memory of a training job: {memory:.2f} GB (goal {GOALS['memory']})", flush=True)
        table = times(path, arguments.steps, arguments.rounds)
    table.insert(0, "network", table.pop("network"))
    table["peak_gigabytes"] = memory
    show(table)
    keep(table, draw(table), "large_data")


if __name__ == "__main__":
    main()
