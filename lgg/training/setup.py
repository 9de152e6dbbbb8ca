"""What a training run starts from: the network and the batches that its settings make."""

from collections.abc import Mapping
from typing import Any

import torch

from lgg import models
from lgg.data.batches import Batches
from lgg.data.storage import ImageSet
from lgg.models.base import ImageClassifier


def build_network(
    architecture: Mapping[str, Any],
    data: ImageSet,
    header: Mapping[str, Any],
    *,
    seed: int,
    device: torch.device,
    outputs: int | None = None,
) -> tuple[dict[str, Any], ImageClassifier]:
    """Return what a network for the images is built with, and the network itself, drawn by `seed`.

    Args:
        architecture: the network's name and its own arguments.
        data, header: the training images, and the header of their file.
        seed: of the weights.
        device: where the network goes.
        outputs: how many; None for one for each class.
    """
    built_with = {
        **architecture,
        "num_classes": len(data.classes) if outputs is None else outputs,
        "mean": header["mean"],
        "std": header["std"],
    }
    torch.manual_seed(seed)
    return built_with, models.build(**built_with).to(device)


def make_batches(data: ImageSet, *, batch_size: int, seed: int, augmentation: str, device: torch.device) -> Batches:
    """Return the training images in batches on `device`."""
    return Batches(data.images, data.labels, batch_size=batch_size, seed=seed, augmentation=augmentation, device=device)
