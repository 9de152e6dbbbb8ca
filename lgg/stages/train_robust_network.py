"""Train a network with any of three defences: the label variation regulariser, Parseval, attacked images (Section 4.3)."""

from argparse import Namespace
from functools import partial

import torch

import lgg
from lgg import losses
from lgg.models.base import ImageClassifier
from lgg.stages.command import run
from lgg.stages.networks import train_and_save
from lgg.training.objectives import Robust


def main(arguments: Namespace) -> None:
    recipe = arguments.recipe
    smoothness, parseval, adversarial = (recipe[key] for key in ("smoothness", "parseval", "adversarial"))

    def objective(device: torch.device) -> Robust:
        regularizer = losses.build("smoothness", **smoothness["options"]).to(device) if smoothness else None
        attack = None
        if adversarial:
            starts = torch.Generator().manual_seed(recipe["seed"])
            # by attribute: code that a method does not use is no reason to train it again
            attack = partial(lgg.attacks.pgd, **adversarial, generator=starts)
        return Robust(regularizer, smoothness["weight"] if smoothness else 0.0, attack)

    def retract(model: ImageClassifier) -> None:
        losses.parseval_retract_(model, parseval["beta"])

    train_and_save(arguments, objective, after_step=retract if parseval else None)


if __name__ == "__main__":
    run(main, inputs=("train",), outputs=("model", "history", "metrics"))
