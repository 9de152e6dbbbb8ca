"""Batches of images that live on the device, cropped and mirrored there, a whole batch at once."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 4  # pixels on each side from which a random crop is taken


class Batches:
    """The training images on a device, in a new order every epoch.

    Order, crops and mirroring depend on the seed and the epoch's number alone, not on the device, so an epoch can be
    repeated without those before it. The last batch of an epoch may be smaller.

    Args:
        images: (N, H, W, 3) uint8.
        labels: (N,) integers.
        batch_size: images in a batch.
        seed: of order and augmentation.
        augmentation: "crop_and_flip", crops after a padding of 4 pixels of zeros and mirroring of every other image by
            chance, or "none".
        device: where the images are kept.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        batch_size: int,
        seed: int,
        augmentation: str = "none",
        device: torch.device | str = "cpu",
    ) -> None:
        self.augment = augmentation == "crop_and_flip"
        self.side = images.shape[1:3]
        padding = (0, 0, PADDING, PADDING, PADDING, PADDING) if self.augment else (0, 0)
        self.images = F.pad(images, padding).to(device)
        self.labels = labels.to(device)
        self.batch_size = batch_size
        self.seed = seed
        self.device = torch.device(device)

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return -(-len(self.labels) // self.batch_size)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (B, 3, H, W) float32 in [0, 1], channels last in memory, and labels (B,)."""
        count = len(self.labels)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = torch.randperm(count, generator=generator).to(self.device)
        if self.augment:
            corners = torch.randint(2 * PADDING + 1, (2, count), generator=generator).to(self.device)
            mirrored = torch.randint(2, (count,), generator=generator, dtype=torch.bool).to(self.device)
        for start in range(0, count, self.batch_size):
            part = slice(start, start + self.batch_size)
            chosen = order[part]
            if self.augment:
                pixels = self._crops(chosen, corners[0, part], corners[1, part], mirrored[part])
            else:
                pixels = self.images[chosen]
            yield to_model_input(pixels), self.labels[chosen]

    def _crops(self, chosen: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
        height, width = self.side
        rows = top[:, None] + torch.arange(height, device=self.device)
        offsets = torch.arange(width, device=self.device)
        columns = left[:, None] + torch.where(mirrored[:, None], offsets.flip(0), offsets)
        return self.images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]


def to_model_input(pixels: Tensor) -> Tensor:
    """Return images (B, H, W, 3) uint8 as (B, 3, H, W) float32 in [0, 1]; channels stay last in memory."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def in_order(images: Tensor, batch_size: int, device: torch.device | str = "cpu") -> Iterator[Tensor]:
    """Yield all images (N, H, W, 3) uint8 in their order as batches for a model."""
    for start in range(0, len(images), batch_size):
        yield to_model_input(images[start : start + batch_size].to(device))
