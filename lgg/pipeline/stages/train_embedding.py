"""Train a network whose outputs are embeddings, with a loss of the outputs alone or with cross-entropy (Section 4.2)."""

from argparse import Namespace
from typing import TYPE_CHECKING

import torch

from lgg import losses
from lgg.pipeline.job import run
from lgg.pipeline.stages.networks import train_and_save
from lgg.training.objectives import CrossEntropy, MetricLearning, Objective

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import EmbeddingLoss, TrainEmbedding


def objective_of(recipe: "EmbeddingLoss", device: torch.device, label_smoothing: float = 0.0) -> Objective:
    """Return the objective that a recipe's loss, options and weight make."""
    if recipe["loss"] == "cross_entropy":
        return CrossEntropy(label_smoothing)
    return MetricLearning(losses.build(recipe["loss"], **recipe["options"]).to(device), recipe["weight"])


def main(arguments: Namespace) -> None:
    recipe: TrainEmbedding = arguments.recipe
    smoothing = recipe["training"]["label_smoothing"]
    train_and_save(
        arguments, recipe, lambda device: objective_of(recipe, device, smoothing), outputs=recipe.get("dimensions")
    )


if __name__ == "__main__":
    run(main, inputs=("train",), output_lists=("model", "history", "metrics"))
