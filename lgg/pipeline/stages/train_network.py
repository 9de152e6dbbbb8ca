"""Train a network on the labels alone: a teacher, a baseline student, the reference network of Figure 2."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg.pipeline.job import run
from lgg.pipeline.stages.networks import train_and_save
from lgg.training.objectives import CrossEntropy

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import TrainNetwork


def main(arguments: Namespace) -> None:
    recipe: TrainNetwork = arguments.recipe
    train_and_save(arguments, recipe, lambda _: CrossEntropy(recipe["training"]["label_smoothing"]))


if __name__ == "__main__":
    run(main, inputs=("train",), output_lists=("model", "history", "metrics"))
