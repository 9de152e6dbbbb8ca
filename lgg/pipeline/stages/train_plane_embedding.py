"""Train a network with embeddings in the plane, and record where it puts the training images (Figure A1)."""

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from lgg.data.storage import ImageSet
from lgg.evaluation.embeddings import features
from lgg.files import atomic_path
from lgg.models.base import ImageClassifier
from lgg.pipeline.job import run
from lgg.pipeline.stages.networks import train_and_save
from lgg.pipeline.stages.train_embedding import objective_of
from lgg.training.recorder import Recorder

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import TrainPlaneEmbedding


def record_positions(recipe: "TrainPlaneEmbedding", path: Path, data: ImageSet, device: torch.device) -> Recorder:
    """Return what records where a network puts the training images, (n, 2), after each of the recipe's `epochs`."""
    # outputs in the plane are embeddings; of a network whose outputs are logits, those of its bottleneck are
    layer = None if "dimensions" in recipe else "bottleneck"

    def observe(model: ImageClassifier) -> Tensor:
        return torch.from_numpy(features(model, torch.from_numpy(data.images), layer=layer, device=device))

    def save(recorded: dict[int, Tensor]) -> None:
        with atomic_path(path) as temporary:
            save_file({f"epoch{epoch}": value for epoch, value in recorded.items()}, temporary)

    return Recorder(observe, save, recipe["epochs"])


def main(arguments: Namespace) -> None:
    recipe: TrainPlaneEmbedding = arguments.recipe
    train_and_save(
        arguments,
        recipe,
        partial(objective_of, recipe),
        outputs=recipe.get("dimensions"),
        make_recorder=partial(record_positions, recipe),
        records=arguments.out_positions,
    )


if __name__ == "__main__":
    run(main, inputs=("train",), output_lists=("model", "history", "metrics", "positions"))
