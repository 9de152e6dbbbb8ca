"""What a training run starts from: the network and the batches that its settings make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lgg import models
from lgg.data.batches import Batches
from lgg.data.storage import ImageSet
from lgg.models.base import ImageClassifier
from lgg.models.weights import load_weights, read_header
from lgg.training.terminal import tell


def build_network(
    architecture: Mapping[str, Any],
    data: ImageSet,
    header: Mapping[str, Any],
    *,
    seed: int,
    device: torch.device,
    outputs: int | None = None,
    start: str | Path | None = None,
) -> tuple[dict[str, Any], ImageClassifier]:
    """Return what a network for the images is built with, and the network itself, drawn by `seed`.

    Args:
        architecture: the network's name and its own arguments. Without `mean` and `std` it normalises by those of the
            images or, if the header of the file `start` states them, of that.
        data, header: the training images, and the header of their file.
        seed: of the weights.
        device: where the network goes.
        outputs: how many; None for one for each class.
        start: a file of weights that training starts from (`lgg.models.weights.load_weights`); a classifier of another
            number of outputs stays as drawn. What is not loaded is told on standard error.

    Raises NetworkError or WeightsError if the network cannot be built for the images, or the weights do not fit.
    """
    classes, side = len(data.classes), data.images.shape[1]
    built_with = fitted(architecture, header, classes if outputs is None else outputs, side, start)
    torch.manual_seed(seed)
    model = models.build(**built_with)
    if models.is_foreign(built_with["name"]):
        # what was chosen, so that the file means the same wherever it is read, and by weights for images of other sizes
        built_with |= {"layers": list(model.layers), "stem": model.stem}
    stated = "mean" in architecture
    for line in [] if start is None else load_weights(model, start, new_classifier=True, own_constants=stated):
        tell(line)
    return built_with, model.to(device)


def fitted(
    architecture: Mapping[str, Any],
    header: Mapping[str, Any],
    outputs: int,
    image_size: int,
    weights: str | Path | None = None,
) -> dict[str, Any]:
    """Return the arguments of `lgg.models.build` for an architecture, images and weights, as `build_network` uses them.

    Args:
        architecture: the network's name and its own arguments.
        header: that of the images' file, with their mean and standard deviation.
        outputs: number of outputs.
        image_size: side of the images in pixels.
        weights: the file that will be loaded. With it, a stem that is chosen automatically is that of the weights.
    """
    notes = {} if weights is None else read_header(weights)
    constants = {name: notes.get(name, header[name]) for name in ("mean", "std")}
    built_with = {**constants, **architecture, "num_classes": outputs}
    if not models.is_foreign(built_with["name"]):
        return built_with
    if weights is not None and built_with.get("stem", "auto") == "auto":
        built_with["stem"] = notes.get("stem", "standard")
    return {**built_with, "image_size": image_size}


def make_batches(data: ImageSet, *, batch_size: int, seed: int, augmentation: str, device: torch.device) -> Batches:
    """Return the training images in batches on `device`."""
    return Batches(data.images, data.labels, batch_size=batch_size, seed=seed, augmentation=augmentation, device=device)
