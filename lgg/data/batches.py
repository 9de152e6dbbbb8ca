"""Batches of images, augmented a whole batch at a time, on the device itself if the images fit in its memory."""

import copy
from collections import deque
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 4  # pixels added on each side before a random crop
LARGEST_SHARE = 0.5  # largest share of a GPU's free memory that the images may fill
AHEAD = 8  # batches that may wait in main memory to be copied to a GPU


class Batches:
    """The training images in batches on a device, shuffled in every epoch.

    Order, crops and mirroring depend only on the seed and the number of the epoch, not on the device, so an epoch can be
    repeated without the ones before. The last batch of an epoch may be smaller.

    Args:
        images: (N, H, W, 3) uint8.
        labels: (N,) integers.
        batch_size: images per batch.
        seed: seed of order and augmentation.
        augmentation: "crop_and_flip" for random crops after zero-padding by 4 pixels and mirroring with probability 1/2,
            or "none".
        device: device of the batches.
        resident: whether to keep the images on the device and assemble batches there. Otherwise they stay in main memory
            and each batch is copied asynchronously. None keeps them there if they fill at most half of a GPU's free
            memory. Batches are the same either way.
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
        resident: bool | None = None,
    ) -> None:
        self.augment = augmentation == "crop_and_flip"
        self.side = images.shape[1:3]
        padding = (0, 0, PADDING, PADDING, PADDING, PADDING) if self.augment else (0, 0)
        images = F.pad(images, padding)
        self.device = torch.device(device)
        #: where the images are stored and batches are assembled
        self.home = torch.device("cpu")
        if resident or (resident is None and _fits(images, self.device)):
            self.home = self.device
        self.images = images.to(self.home)
        self.labels = labels.to(self.home)
        self._offsets = torch.arange(max(self.side), device=self.home)
        self.batch_size = batch_size
        self.seed = seed

    def with_seed(self, seed: int) -> "Batches":
        """Return batches of the same images, without copying them, with another seed."""
        other = copy.copy(self)
        other.seed = seed
        return other

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-len(self.labels) // self.batch_size)

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images (B, 3, H, W) float32 in [0, 1], channels-last in memory, and labels (B,), starting at batch `first`."""
        plan = self.plan(number).to(self.home)
        for start in range(first * self.batch_size, len(plan), self.batch_size):
            pixels, labels = self.assembled(plan[start : start + self.batch_size])
            yield to_model_input(self._delivered(pixels)), self._delivered(labels)

    def plan(self, number: int) -> Tensor:
        """Return what an epoch shows, (N, 4) integers on the CPU: for each place in its order the number of the image and,
        of its crop, the top row, the column that becomes the first, and 1, or −1 if it is mirrored; without augmentation the
        numbers of the images alone, (N, 1).
        """
        count = len(self.labels)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = torch.randperm(count, generator=generator)
        if not self.augment:
            return order[:, None]
        top, left = torch.randint(2 * PADDING + 1, (2, count), generator=generator)
        mirrored = torch.randint(2, (count,), generator=generator, dtype=torch.bool)
        return torch.stack([order, top, left + mirrored * (self.side[1] - 1), 1 - 2 * mirrored.long()], dim=1)

    def assembled(self, plan: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pixels (B, H, W, 3) uint8 and labels (B,) of some rows of an epoch's plan, all on `home`."""
        chosen = plan[:, 0]
        labels = self.labels.index_select(0, chosen)
        if not self.augment:
            return self.images.index_select(0, chosen), labels
        height, width = self.side
        top, first, direction = (plan[:, place, None] for place in (1, 2, 3))
        rows = top + self._offsets[:height]
        columns = torch.addcmul(first, direction, self._offsets[:width])
        return self.images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]], labels

    def _delivered(self, batch: Tensor) -> Tensor:
        if self.home == self.device:
            return batch
        # copies from pinned memory run while the device is computing
        return pinned(batch, self.device).to(self.device, non_blocking=True)


class Feed:
    """The batches of an epoch, each made on the device from tensors that stay where they are.

    `load` is the host's part, and does nothing for images that are on the device; `take` is the device's, and can be repeated
    by a CUDA graph: it goes on to the next batch by itself.

    Args:
        batches: the images; several feeds can share them.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.device = batches.device
        self.resident = batches.home == batches.device
        self._next = 0
        self._plan = torch.empty(
            len(batches.labels), 4 if batches.augment else 1, dtype=torch.int64, device=batches.home
        )
        size = batches.batch_size
        if self.resident:
            self._position = torch.zeros(1, dtype=torch.int64, device=self.device)
            self._places = torch.arange(size, device=self.device)
        else:
            self._pixels = torch.empty(size, *batches.side, 3, dtype=torch.uint8, device=self.device)
            self._labels = torch.empty(size, dtype=batches.labels.dtype, device=self.device)
            self._copies: deque[torch.cuda.Event] = deque()

    def begin(self, epoch: int, first: int = 0) -> None:
        """Start `epoch` at batch `first`."""
        self._next = first
        plan = self.batches.plan(epoch)
        if self.resident:
            self._position.fill_(first * self.batches.batch_size)
            plan = pinned(plan, self.device)
        self._plan.copy_(plan, non_blocking=True)

    def load(self) -> int:
        """Make the next batch ready, and return its number of images."""
        start = self._next * self.batches.batch_size
        rows = self._plan[start : start + self.batches.batch_size]
        self._next += 1
        if not self.resident:
            self._wait_for_old_copies()
            pixels, labels = self.batches.assembled(rows)
            self._pixels[: len(rows)].copy_(pinned(pixels, self.device), non_blocking=True)
            self._labels[: len(rows)].copy_(pinned(labels, self.device), non_blocking=True)
        return len(rows)

    def take(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the batch that `load` made ready, of `size` images, as `Batches.epoch` yields it."""
        if self.resident:
            rows = self._plan.index_select(0, self._position + self._places[:size])
            self._position.add_(size)
            pixels, labels = self.batches.assembled(rows)
        else:
            pixels, labels = self._pixels[:size], self._labels[:size]
        return to_model_input(pixels), labels

    def _wait_for_old_copies(self) -> None:
        """Keep the host from filling its memory with batches far ahead of the device."""
        if self.device.type != "cuda":
            return
        if len(self._copies) == AHEAD:
            self._copies.popleft().synchronize()
        # of the copy before, since this one has not begun
        self._copies.append(torch.cuda.current_stream(self.device).record_event())


def pinned(values: Tensor, device: torch.device) -> Tensor:
    """Return `values` in memory from which copies to `device` run in the background, if it is a GPU."""
    return values.pin_memory() if device.type == "cuda" else values


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() * images.element_size() <= LARGEST_SHARE * free


def to_model_input(pixels: Tensor) -> Tensor:
    """Return images (B, H, W, 3) uint8 as (B, 3, H, W) float32 in [0, 1], channels-last in memory."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def in_order(images: Tensor, batch_size: int, device: torch.device | str = "cpu") -> Iterator[Tensor]:
    """Yield all images (N, H, W, 3) uint8, in order, as batches for a model."""
    for start in range(0, len(images), batch_size):
        yield to_model_input(images[start : start + batch_size].to(device))
