"""Train a network with any of three defences: the label variation regulariser, Parseval, attacked images (Section 4.3)."""

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

import lgg
from lgg import losses
from lgg.models.base import ImageClassifier
from lgg.stages.command import run
from lgg.stages.networks import train_and_save
from lgg.training.objectives import Robust


def objective_of(recipe: dict[str, Any], device: torch.device) -> Robust:
    """Return the objective of a recipe: cross-entropy with its regulariser and its attack, where it has them."""
    smoothness, adversarial = recipe["smoothness"], recipe["adversarial"]
    regularizer = losses.build("smoothness", **smoothness["options"]).to(device) if smoothness else None
    attack = None
    if adversarial:
        starts = torch.Generator().manual_seed(recipe["seed"])
        # by attribute: code that a method does not use is no reason to train it again
        attack = partial(lgg.attacks.pgd, **adversarial, generator=starts)
    return Robust(regularizer, smoothness["weight"] if smoothness else 0.0, attack)


def retraction_of(recipe: dict[str, Any]) -> Callable[[ImageClassifier], None] | None:
    """Return what a recipe does to the weights after each step, or None."""
    parseval = recipe["parseval"]
    return partial(losses.parseval_retract_, beta=parseval["beta"]) if parseval else None


def main(arguments: Namespace) -> None:
    recipe = arguments.recipe
    train_and_save(arguments, lambda device: objective_of(recipe, device), after_step=retraction_of(recipe))


if __name__ == "__main__":
    run(main, inputs=("train",), outputs=("model", "history", "metrics"))
