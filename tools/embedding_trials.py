"""Trains embeddings with the settings below, and appends the error of each on held-out images to a table.

    python tools/embedding_trials.py results/RUN/data/train.safetensors results/published/embedding_trials.csv
    python tools/embedding_trials.py … --part 1/2 --threads 1    every second of them, in one of two processes

By its errors settings of label variation in `config/` were chosen (docs/results.md). The images are a run's training images;
5,000 of them are held out of training and judged. Trials that the table has are skipped, and a row is written after each one,
so the command can be stopped and repeated.
"""

import argparse
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lgg import models
from lgg.data.batches import Batches
from lgg.data.storage import ImageSet, read_images
from lgg.devices import prepare
from lgg.evaluation.classifiers import fit as fitted
from lgg.evaluation.embeddings import features, standardizer
from lgg.evaluation.reference_levels import reference_levels
from lgg.losses import LabelVariation
from lgg.training import optimizers
from lgg.training.fit import fit
from lgg.training.objectives import CrossEntropy, MetricLearning

HELD_OUT = 5000
BATCH = 128
OPTIMIZERS: dict[str, dict[str, Any]] = {"sgd": {"nesterov": False}, "adamw": {"weight_decay": 0.05}}
MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]


@dataclass(frozen=True)
class Setting:
    """What is tried: an objective, whose loss has `options` (None for cross-entropy), and how it is trained.

    The learning rate rises to `peak` in the first `warm_up` of the epochs, from a tenth of it, and falls to zero in the others.
    """

    dimensions: int
    options: Mapping[str, Any] | None
    weight: float = 1.0
    peak: float = 0.2
    warm_up: int = 2
    epochs: int = 16
    base_width: int = 8
    seed: int = 0
    optimizer: str = "sgd"

    @property
    def columns(self) -> dict[str, Any]:
        """The setting as columns of the table, those of the loss empty for cross-entropy."""
        defaults = {"similarity": "rbf", "rbf_scale": 2.0, "reduction": "mean", "attraction": 0.0}
        options = {**defaults, **(self.options or {})}
        normalization = {True: "unit length", "batch": "batch"}.get(options.pop("normalize_embeddings", None))
        shown = (
            {"normalization": normalization, **options} if self.options else dict.fromkeys(["normalization", *defaults])
        )
        others = dataclasses.asdict(self)
        dimensions = others.pop("dimensions")
        del others["options"]
        objective = "label variation" if self.options else "cross-entropy"
        return {"dimensions": dimensions, "objective": objective, **shown, **others}


def _batch(**options: Any) -> dict[str, Any]:
    return {"normalize_embeddings": "batch", **options}


def _log(scale: float, **options: Any) -> dict[str, Any]:
    return _batch(rbf_scale=scale, reduction="log_mean", **options)


UNIT = {"normalize_embeddings": True}
SETTINGS = (
    Setting(10, None),
    Setting(10, UNIT, peak=0.4),
    Setting(10, _log(0.25)),
    Setting(10, _log(0.25), peak=0.4),
    Setting(10, _log(0.25), weight=8, peak=0.1),
    Setting(10, _log(0.25), weight=8, peak=0.1, warm_up=6),
    Setting(10, _log(0.25), peak=0.003, optimizer="adamw"),
    Setting(10, _log(0.1), weight=8, peak=0.1),
    Setting(10, _log(0.5)),
    Setting(10, _log(0.5), weight=8, peak=0.1),
    Setting(10, _log(1.0), weight=8, peak=0.1),
    Setting(10, _log(2.0), weight=8, peak=0.1),
    Setting(10, _log(0.05, similarity="rbf_squared")),
    Setting(10, _log(0.1, similarity="rbf_squared")),
    Setting(10, _batch(rbf_scale=0.5), weight=16, peak=0.1),
    Setting(10, _batch(rbf_scale=0.25, attraction=0.5), weight=32, peak=0.1),
    Setting(10, _batch(rbf_scale=0.25, attraction=0.5), weight=32, peak=0.4),
    Setting(10, _batch(rbf_scale=0.1, attraction=0.5), weight=64, peak=0.1),
    Setting(10, _batch(rbf_scale=0.1, attraction=0.5), weight=16, peak=0.4),
    Setting(2, None),
    Setting(2, UNIT, peak=0.4),
    Setting(2, _log(0.5)),
    Setting(2, _log(0.5), weight=8, peak=0.1),
    Setting(2, _log(1.0)),
    Setting(2, _log(0.25, similarity="rbf_squared")),
    Setting(2, _batch(rbf_scale=0.5), weight=16, peak=0.1),
)


def split(data: ImageSet, held_out: int = HELD_OUT) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the images to train on and of those held out, always the same."""
    order = np.random.default_rng(0).permutation(len(data.labels))
    return order[held_out:], order[:held_out]


def attempt(setting: Setting, data: ImageSet, device: torch.device, held_out: int = HELD_OUT) -> dict[str, Any]:
    """Train a network with a setting and return its errors on the held-out images in percent, and its losses."""
    kept, held = split(data, held_out)
    torch.manual_seed(setting.seed)
    in_plane = setting.options is None and setting.dimensions == 2
    model = models.build(
        "preact_resnet18",
        num_classes=len(data.classes) if setting.options is None else setting.dimensions,
        base_width=setting.base_width,
        mean=MEAN,
        std=STD,
        **({"bottleneck": 2} if in_plane else {}),
    ).to(device)
    loss = None if setting.options is None else LabelVariation(**setting.options).to(device)
    began = time.perf_counter()
    history = fit(
        model,
        CrossEntropy() if loss is None else MetricLearning(loss, setting.weight),
        Batches(
            data.images[kept],
            data.labels[kept],
            batch_size=BATCH,
            seed=setting.seed,
            augmentation="crop_and_flip",
            device=device,
        ),
        schedule=[
            {"epochs": setting.warm_up, "learning_rate": [setting.peak / 10, setting.peak]},
            {"epochs": setting.epochs - setting.warm_up, "learning_rate": [setting.peak, 0.0]},
        ],
        optimizer=optimizers.build(model.parameters(), name=setting.optimizer, **OPTIMIZERS[setting.optimizer]),
        precision="auto",
    )
    found: dict[str, Any] = {"seconds": round(time.perf_counter() - began)}

    def embedded(positions: NDArray[np.int64], layer: str | None) -> NDArray[np.float32]:
        images = torch.from_numpy(data.images[positions])
        return features(
            model, images, layer=layer, unit_length=bool(loss and loss.normalize_embeddings is True), device=device
        )

    train, test = (embedded(positions, "bottleneck" if in_plane else None) for positions in (kept, held))
    normalized = standardizer(train) if loss and loss.normalize_embeddings == "batch" else np.asarray
    classifier = fitted("nearest_neighbours", normalized(train), data.labels[kept], seed=0)
    found["error"] = _percent(classifier.predict(normalized(test)), data.labels[held])
    if loss is None:
        found["own_error"] = _percent(embedded(held, None).argmax(axis=1), data.labels[held])
        return found
    levels = reference_levels(loss, classes=len(data.classes), dimensions=setting.dimensions, batch_size=BATCH)
    last = float(history[-1]["loss"]) / setting.weight
    return found | {"last_loss": round(last, 5), "even": round(levels.even, 5), "apart": round(levels.apart, 5)}


def _percent(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    return round(100.0 * float(np.mean(predicted != labels)), 2)


def missing(table: Path, settings: Sequence[Setting] = SETTINGS) -> Iterator[Setting]:
    """Yield the settings that the table lacks; it is read again after each."""
    for setting in settings:
        columns = {name: value for name, value in setting.columns.items() if value is not None}
        rows = pd.read_csv(table) if table.is_file() else pd.DataFrame(columns=list(setting.columns))
        if not (rows[list(columns)] == pd.Series(columns)).all(axis=1).any():
            yield setting


def part_of(settings: Sequence[Setting], part: str) -> Sequence[Setting]:
    """Return the K-th of every N settings for a part "K/N"."""
    place, _, parts = part.partition("/")
    if not (place.isdecimal() and parts.isdecimal() and 1 <= int(place) <= int(parts)):
        raise SystemExit(f"--part {part}: write K/N, such as 1/2, with K from 1 to N")
    return settings[int(place) - 1 :: int(parts)]


def write(table: Path, row: Mapping[str, Any]) -> None:
    """Append a row; a new file begins with the header."""
    columns = [*SETTINGS[0].columns, "error", "own_error", "last_loss", "even", "apart", "seconds"]
    line = pd.DataFrame([row], columns=columns)
    line.to_csv(table, mode="a", header=not table.is_file(), index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a run's data/train.safetensors")
    parser.add_argument("table", type=Path, help="the CSV to which rows are appended")
    parser.add_argument("--part", default="1/1", help="K/N: the K-th of every N settings")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--gpus", type=int, default=0, help="1: train on a GPU")
    arguments = parser.parse_args()
    device = prepare(arguments.gpus, arguments.threads)
    data = read_images(arguments.images)
    for setting in missing(arguments.table, part_of(SETTINGS, arguments.part)):
        print(setting, flush=True)
        write(arguments.table, setting.columns | attempt(setting, data, device))


if __name__ == "__main__":
    main()
