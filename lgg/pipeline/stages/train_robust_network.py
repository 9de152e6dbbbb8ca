"""Train a network with any of three defences: the label variation regulariser, Parseval, attacked images (Section 4.3)."""

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lgg
from lgg import losses
from lgg.data.storage import ImageSet
from lgg.evaluation.geometry import label_variation_of_layers
from lgg.files import write_rows
from lgg.models.base import ImageClassifier
from lgg.pipeline.job import run
from lgg.pipeline.stages.networks import train_and_save
from lgg.training.objectives import Robust

WATCHED_IMAGES = 100  # the batch whose label variation is written down after each epoch


def objective_of(recipe: dict[str, Any], device: torch.device) -> Robust:
    """Return the objective of a recipe: cross-entropy with its regulariser and its attack, where it has them."""
    smoothness, adversarial = recipe["smoothness"], recipe["adversarial"]
    regularizer = losses.build("smoothness", **smoothness["options"]).to(device) if smoothness else None
    attack = None
    if adversarial:
        # the generator that a checkpoint keeps, on the CPU, so that the starts do not depend on the device; the attack by
        # attribute: code that a method does not use is no reason to train it again
        attack = partial(lgg.attacks.pgd, **adversarial, generator=torch.default_generator)
    return Robust(regularizer, smoothness["weight"] if smoothness else 0.0, attack)


def retraction_of(recipe: dict[str, Any]) -> Callable[[ImageClassifier], None] | None:
    """Return what a recipe does to the weights after each step, or None."""
    parseval = recipe["parseval"]
    return partial(losses.parseval_retract_, beta=parseval["beta"]) if parseval else None


def main(arguments: Namespace) -> None:
    recipe = arguments.recipe
    variation: dict[str, Tensor] = {}

    def keep(model: ImageClassifier, data: ImageSet, device: torch.device, epoch: int) -> None:
        # a generator of its own: the training's batches do not depend on being watched
        chosen = np.random.default_rng(0).permutation(len(data.labels))[:WATCHED_IMAGES]
        images, labels = (torch.from_numpy(values[chosen]).to(device) for values in (data.images, data.labels))
        variation[f"epoch{epoch}"] = label_variation_of_layers(model, images, labels)

    def write() -> None:
        rows = [
            {"epoch": int(name.removeprefix("epoch")), "layer": layer, "label_variation": sigma, "share": share}
            for name, values in variation.items()
            for layer, (sigma, share) in enumerate(values.tolist(), start=1)
        ]
        write_rows(arguments.out_label_variation, sorted(rows, key=lambda row: (row["epoch"], row["layer"])))

    train_and_save(
        arguments,
        lambda device: objective_of(recipe, device),
        after_step=retraction_of(recipe),
        after_epoch=keep,
        kept=variation,
        write_more=write,
    )


if __name__ == "__main__":
    run(main, inputs=("train",), outputs=("model", "history", "metrics", "label_variation"))
