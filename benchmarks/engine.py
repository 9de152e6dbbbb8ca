"""An epoch of training by this engine, compared with a plain training loop.

    python benchmarks/engine.py [--rounds 3] [--batches 20]

WideResNet28-1, batches of 128. The plain loop, defined here, is the usual one: a DataLoader of PIL transforms, a standard
implementation of the network in channels-first float32, torch.optim.SGD, and the loss read at every step. It runs without
worker processes and with one per core. Each variant runs in its own processes, interleaved, the plain loop with PyTorch's
default settings. Writes benchmarks/results/engine.csv and .png.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from _common import begin, draw_ratios, keep, relative, show
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from lgg import models
from lgg.data.batches import Batches
from lgg.devices import prepare
from lgg.pipeline import machine
from lgg.training.fit import fit
from lgg.training.objectives import CrossEntropy

BATCH = 128
CORES = machine.describe()["cores"]
PLAIN = {f"plain loop, {workers} workers": workers for workers in (0, CORES)}
OURS = {f"engine, {precision}": precision for precision in ("bfloat16", "float32")}
NORMALIZATION = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


class PlainBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class PlainWideResNet(nn.Module):
    """WideResNet28-1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        blocks = [
            PlainBlock(before if number == 0 else after, after, stride if number == 0 else 1)
            for before, after, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2))
            for number in range(4)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class PlainImages(Dataset[tuple[Tensor, int]]):
    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(*NORMALIZATION),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def plain_epochs(images: NDArray[np.uint8], labels: NDArray[np.int64], workers: int) -> Callable[[], None]:
    """Return a function that trains for an epoch."""
    loader = DataLoader(
        PlainImages(images, labels), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    torch.manual_seed(0)
    model = PlainWideResNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def epoch() -> None:
        model.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()

    return epoch


def our_epochs(batches: Batches, precision: str) -> Callable[[], None]:
    """Return a function that trains for an epoch."""
    torch.manual_seed(0)
    model = models.build("wide_resnet", num_classes=10, depth=28, width=1)
    schedule = [{"epochs": 1, "learning_rate": 0.01}]

    def epoch() -> None:
        fit(model, CrossEntropy(), batches, schedule=schedule, precision=precision)

    return epoch


def seconds_here(way: str, steps: int) -> float:
    """Return the time of a step in the second epoch of this process."""
    images, labels = random_images(steps)
    if way in PLAIN:
        epoch = plain_epochs(images, labels, PLAIN[way])
    else:
        prepare(0, CORES)
        epoch = our_epochs(our_batches(images, labels), OURS[way])
    epoch()
    began = time.perf_counter()
    epoch()
    return (time.perf_counter() - began) / steps


def seconds(way: str, steps: int) -> float:
    """Return the time of a step in a new process."""
    command = [sys.executable, __file__, "--batches", str(steps), "--here", way]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def random_images(count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return random images and labels for `count` batches."""
    generator = np.random.default_rng(0)
    images = generator.integers(256, size=(count * BATCH, 32, 32, 3), dtype=np.uint8)
    return images, generator.integers(10, size=len(images))


def our_batches(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Batches:
    tensors = (torch.from_numpy(images), torch.from_numpy(labels))
    return Batches(*tensors, batch_size=BATCH, seed=0, augmentation="crop_and_flip")


def data_seconds(batches: Batches, epochs: int = 5) -> float:
    """Return the time to assemble a batch, including augmentation."""
    for _ in batches.epoch(0):
        pass
    began = time.perf_counter()
    for number in range(epochs):
        for _ in batches.epoch(number):
            pass
    return (time.perf_counter() - began) / (epochs * len(batches))


def main() -> None:
    """Print the times and the share of the data, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=20, help="batches per epoch")
    parser.add_argument("--here", choices=[*PLAIN, *OURS], help="only print the time of a step of this variant")
    arguments = parser.parse_args()
    if arguments.here:
        print(seconds_here(arguments.here, arguments.batches))
        return
    begin()
    rows = [
        {"name": way, "round": number, "seconds_per_step": seconds(way, arguments.batches)}
        for number in range(arguments.rounds)
        for way in (*PLAIN, *OURS)
    ]
    times = pd.DataFrame(rows)
    # the plain loop is used with the faster number of workers
    reference = min(PLAIN, key=lambda way: times.loc[times["name"] == way, "seconds_per_step"].median())
    table = relative(times, reference).assign(goal=lambda table: table["name"].map({"engine, bfloat16": 0.35}))
    show(table, f"WideResNet28-1, batches of {BATCH}: seconds per step, ratio to {reference}")
    data = data_seconds(our_batches(*random_images(arguments.batches)))
    for way in OURS:
        share = data / table.loc[table["name"] == way, "seconds"].item()
        print(f"{way}: data and augmentation take {100 * share:.1f} % of a step (goal 2 %)")
    keep(table, draw_ratios(table, list(table["name"]), f"time of an epoch ÷ {reference}"), "engine")


if __name__ == "__main__":
    main()
