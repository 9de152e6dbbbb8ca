"""Train a network with embeddings in the plane, and keep where it puts the training images on its way (Figure A1)."""

from argparse import Namespace

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


def main(arguments: Namespace) -> None:
    recipe = arguments.recipe
    layer = "bottleneck" if "bottleneck" in recipe["architecture"] else None
    positions: dict[str, Tensor] = {}

    def keep(model: ImageClassifier, data: ImageSet, device: torch.device, epoch: int) -> None:
        if epoch in recipe["epochs"]:
            images = torch.from_numpy(data.images)
            positions[f"epoch{epoch}"] = torch.from_numpy(features(model, images, layer=layer, device=device))

    def write() -> None:
        with atomic_path(arguments.out_positions) as temporary:
            save_file(positions, temporary)

    train_and_save(
        arguments, lambda device: objective_of(recipe, device), after_epoch=keep, kept=positions, write_more=write
    )


if __name__ == "__main__":
    run(main, inputs=("train",), outputs=("model", "history", "metrics", "positions"))
