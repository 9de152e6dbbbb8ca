"""Predictions and error of a network, and the agreement of two networks."""

import torch
from torch import Tensor

from lgg.data.batches import in_order
from lgg.models.base import ImageClassifier


def predict(
    model: ImageClassifier, images: Tensor, *, batch_size: int = 500, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the predicted class of each image, (N,) int64 on the CPU.

    `images` are (N, H, W, 3) uint8; `model` is on `device` and is put into evaluation mode.
    """
    model.eval()
    with torch.inference_mode():
        predicted = [model(batch).argmax(dim=1) for batch in in_order(images, batch_size, device)]
    return torch.cat(predicted).cpu()


def error_percent(predictions: Tensor, labels: Tensor) -> float:
    """Return the percentage of wrong predictions; both arguments have shape (N,)."""
    return 100.0 * (predictions != labels).double().mean().item()


def agreement_percent(predictions: Tensor, others: Tensor) -> float:
    """Return the percentage of images for which two networks predict the same class; both arguments have shape (N,)."""
    return 100.0 * (predictions == others).double().mean().item()
