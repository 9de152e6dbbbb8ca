"""What a training run starts from: the network and the batches that its settings make."""

from collections.abc import Mapping
from typing import Any

import torch

from lgg import models
from lgg.data.batches import Batches
from lgg.data.storage import ImageSet
from lgg.models.base import ImageClassifier


def build_network(
    recipe: Mapping[str, Any],
    data: ImageSet,
    header: Mapping[str, Any],
    device: torch.device,
    architecture: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], ImageClassifier]:
    """Return what the network of a recipe is built with, and the network itself, drawn by the recipe's seed."""
    built_with = {
        **recipe["architecture"],
        **(architecture or {}),
        "num_classes": recipe.get("dimensions") or len(data.classes),
        "mean": header["mean"],
        "std": header["std"],
    }
    torch.manual_seed(recipe["seed"])
    return built_with, models.build(**built_with).to(device)


def make_batches(
    recipe: Mapping[str, Any], data: ImageSet, seed: int, device: torch.device
) -> tuple[Batches, dict[str, Any]]:
    """Return the batches of a recipe's training, and the settings of its training that are not theirs."""
    training = dict(recipe["training"])
    batches = Batches(
        torch.from_numpy(data.images),
        torch.from_numpy(data.labels),
        batch_size=training.pop("batch_size"),
        seed=seed,
        augmentation=training.pop("augmentation"),
        device=device,
    )
    return batches, training
