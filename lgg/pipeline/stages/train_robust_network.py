"""Train a network with any of the defences: the label variation regularizer, Parseval, PGD's images (Section 4.3)."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lgg import defences
from lgg.data.storage import ImageSet
from lgg.defences.base import Defence
from lgg.evaluation.geometry import label_variation_of_layers
from lgg.files import write_rows
from lgg.pipeline.job import run
from lgg.pipeline.stages.networks import train_and_save
from lgg.training.objectives import Robust
from lgg.training.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lgg.pipeline.recipe_types import Defence as Entry
    from lgg.pipeline.recipe_types import Defended, TrainRobustNetwork

OBSERVED_IMAGES = 100  # the batch whose label variation is recorded after each epoch


def defences_of(entries: "Sequence[Entry]") -> list[Defence]:
    """Return the defences that a recipe's entries make."""
    return [defences.build(one["name"], **one["options"]) for one in entries]


def objective_of(recipe: "Defended", label_smoothing: float = 0.0) -> Robust:
    """Return the objective that a recipe's defences make."""
    return Robust(defences_of(recipe["defences"]), label_smoothing)


def record_layers(path: Path, data: ImageSet, device: torch.device) -> Recorder:
    """Return what records the label variation of every layer and its share of all weights, (layers, 2)."""
    # a generator of its own: recording changes no batch
    chosen = np.random.default_rng(0).permutation(len(data.labels))[:OBSERVED_IMAGES]
    images, labels = (torch.from_numpy(values[chosen]).to(device) for values in (data.images, data.labels))

    def save(recorded: dict[int, Tensor]) -> None:
        rows = [
            {"epoch": epoch, "layer": layer, "label_variation": sigma, "share": share}
            for epoch, values in recorded.items()
            for layer, (sigma, share) in enumerate(values.tolist(), start=1)
        ]
        write_rows(path, rows)

    return Recorder(lambda model: label_variation_of_layers(model, images, labels), save)


def main(arguments: Namespace) -> None:
    recipe: TrainRobustNetwork = arguments.recipe
    train_and_save(
        arguments,
        recipe,
        lambda _: objective_of(recipe, recipe["training"]["label_smoothing"]),
        architecture=objective_of(recipe).architecture,
        after_step=Robust.after_step,
        make_recorder=record_layers,
        records=arguments.out_label_variation,
    )


if __name__ == "__main__":
    run(main, inputs=("train",), output_lists=("model", "history", "metrics", "label_variation"))
