"""Train a network with embeddings in the plane, and record where it puts the images (Figure A1)."""

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from lgg.data.storage import ImageSet, read_images
from lgg.evaluation.embeddings import features, standardizer
from lgg.files import atomic_path
from lgg.models.base import ImageClassifier
from lgg.pipeline.job import run
from lgg.pipeline.stages.networks import train_and_save
from lgg.pipeline.stages.train_embedding import objective_of
from lgg.training.recorder import Recorder

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import TrainPlaneEmbedding


def record_positions(
    recipe: "TrainPlaneEmbedding", test_images: Path, path: Path, data: ImageSet, device: torch.device
) -> Recorder:
    """Return what records where a network puts training and test images, after each of the recipe's `epochs`.

    The file at `path` has (n, 2) positions of training images, ``epoch0`` for instance, and of test images, ``test_epoch0``,
    normalised as for the loss.
    """
    # outputs in the plane are embeddings; of a network whose outputs are logits, those of its bottleneck are
    layer = None if "dimensions" in recipe else "bottleneck"
    shown = [torch.from_numpy(images) for images in (data.images, read_images(test_images).images)]

    normalization = recipe["normalize_embeddings"]

    def observe(model: ImageClassifier) -> Tensor:
        train, test = (
            features(model, images, layer=layer, unit_length=normalization is True, device=device) for images in shown
        )
        normalized = standardizer(train) if normalization == "batch" else np.asarray
        return torch.from_numpy(np.concatenate([normalized(train), normalized(test)]))

    def save(recorded: dict[int, Tensor]) -> None:
        count = len(data.images)
        positions = {f"epoch{epoch}": both[:count].clone() for epoch, both in recorded.items()}
        positions |= {f"test_epoch{epoch}": both[count:].clone() for epoch, both in recorded.items()}
        with atomic_path(path) as temporary:
            save_file(positions, temporary)

    return Recorder(observe, save, recipe["epochs"])


def main(arguments: Namespace) -> None:
    recipe: TrainPlaneEmbedding = arguments.recipe
    train_and_save(
        arguments,
        recipe,
        partial(objective_of, recipe, label_smoothing=recipe["training"]["label_smoothing"]),
        outputs=recipe.get("dimensions"),
        make_recorder=partial(record_positions, recipe, arguments.test),
        records=arguments.out_positions,
    )


if __name__ == "__main__":
    run(main, inputs=("train", "test"), output_lists=("model", "history", "metrics", "positions"))
