"""Predictions and error of a network, and the agreement of two networks."""

import torch
from torch import Tensor

from lgg.data.batches import in_order
from lgg.evaluation.batching import choose_batch_size, gather
from lgg.models.base import ImageClassifier


def predict(
    model: ImageClassifier, images: Tensor, *, batch_size: int | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the predicted class of each image, (N,) int64 on the CPU.

    `images` are (N, H, W, 3) uint8; `model` is on `device` and is put into evaluation mode. A `batch_size` of None is as
    much as memory allows (`choose_batch_size`).
    """
    model.eval()
    size = batch_size or choose_batch_size(model, images, device)
    (found,) = gather(lambda batch: (classes(model, batch),), zip(in_order(images, size, device)), len(images))
    return found


def classes(model: ImageClassifier, batch: Tensor) -> Tensor:
    """Return the class that a network in evaluation mode predicts for each image (B, 3, H, W), (B,) on its device."""
    with torch.inference_mode():
        logits: Tensor = model(batch)
        return logits.argmax(dim=1)


def error_percent(predictions: Tensor, labels: Tensor) -> float:
    """Return the percentage of wrong predictions; both arguments have shape (N,)."""
    return 100.0 * (predictions != labels).double().mean().item()


def agreement_percent(predictions: Tensor, others: Tensor) -> float:
    """Return the percentage of images for which two networks predict the same class; both arguments have shape (N,)."""
    return 100.0 * (predictions == others).double().mean().item()
