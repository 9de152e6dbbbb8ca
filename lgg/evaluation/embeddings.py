"""Frozen features of a network, and their normalisation (Section 4.2)."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgg.data.batches import in_order
from lgg.evaluation.batching import choose_batch_size, gather
from lgg.graph import SMALL_VARIANCE, unit_rows
from lgg.models.base import ImageClassifier


def features(
    model: ImageClassifier,
    images: Tensor,
    *,
    layer: str | None = None,
    unit_length: bool = False,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Return the network's output for each image, or its flattened representation `layer`, (N, d) on the CPU.

    With `unit_length` each row is scaled to unit length. `images` are (N, H, W, 3) uint8; `model` is on `device` and is put
    into evaluation mode. A `batch_size` of None is as much as memory allows (`choose_batch_size`). Raises ValueError for a
    layer that the model does not have.
    """
    if layer is not None and layer not in model.layers:
        raise ValueError(f"the network has no layer {layer!r}; it has {', '.join(model.layers)}")
    model.eval()

    def chosen(batch: Tensor) -> Tensor:
        if layer is not None:
            found: Tensor = model(batch, return_representations=True)[1][model.layers.index(layer)]
            return found
        output: Tensor = model(batch)  # without holding representations, of which a deep network has many
        return output

    def shown(batch: Tensor) -> tuple[Tensor]:
        with torch.inference_mode():
            x = chosen(batch)
            return (unit_rows(x) if unit_length else x.flatten(1).float(),)

    size = batch_size or choose_batch_size(model, images, device)
    (found,) = gather(shown, zip(in_order(images, size, device)), len(images))
    return found.numpy()


def standardizer(features: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return what gives each feature mean 0 and variance 1 over `features` (N, d), those of the training images.

    It is for embeddings whose loss normalised them over the batch (`lgg.graph.standardize_columns`).
    """
    mean = features.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(features.var(axis=0, dtype=np.float64) + SMALL_VARIANCE)
    return lambda others: ((others - mean) / scale).astype(np.float32)
