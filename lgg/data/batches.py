"""Batches of images, augmented a whole batch at a time, on the device itself if the images fit in its memory."""

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 4  # pixels added on each side before a random crop
LARGEST_SHARE = 0.5  # largest share of a GPU's free memory that the images may fill


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
        count = len(self.labels)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = torch.randperm(count, generator=generator).to(self.home)
        if self.augment:
            corners = torch.randint(2 * PADDING + 1, (2, count), generator=generator).to(self.home)
            mirrored = torch.randint(2, (count,), generator=generator, dtype=torch.bool).to(self.home)
        for start in range(first * self.batch_size, count, self.batch_size):
            part = slice(start, start + self.batch_size)
            chosen = order[part]
            if self.augment:
                pixels = self._crops(chosen, corners[0, part], corners[1, part], mirrored[part])
            else:
                pixels = self.images[chosen]
            yield to_model_input(self._delivered(pixels)), self._delivered(self.labels[chosen])

    def _delivered(self, batch: Tensor) -> Tensor:
        if self.home == self.device:
            return batch
        # copies from pinned memory run while the device is computing
        return (batch.pin_memory() if self.device.type == "cuda" else batch).to(self.device, non_blocking=True)

    def _crops(self, chosen: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
        height, width = self.side
        rows = top[:, None] + torch.arange(height, device=self.home)
        offsets = torch.arange(width, device=self.home)
        columns = left[:, None] + torch.where(mirrored[:, None], offsets.flip(0), offsets)
        return self.images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return images.numel() * images.element_size() <= LARGEST_SHARE * free


def to_model_input(pixels: Tensor) -> Tensor:
    """Return images (B, H, W, 3) uint8 as (B, 3, H, W) float32 in [0, 1], channels-last in memory."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def in_order(images: Tensor, batch_size: int, device: torch.device | str = "cpu") -> Iterator[Tensor]:
    """Yield all images (N, H, W, 3) uint8, in order, as batches for a model, delivered as by `deliver`."""
    parts = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
    return map(to_model_input, deliver(parts, device))


def deliver(parts: Iterable[Tensor], device: torch.device | str) -> Iterator[Tensor]:
    """Yield each of `parts` on `device`; a GPU receives the next one while it works on the one before."""
    device = torch.device(device)
    if device.type != "cuda":
        yield from (part.to(device) for part in parts)
        return
    copying = _copying(device)
    ahead: deque[tuple[Tensor, torch.cuda.Event]] = deque()
    for part in parts:
        if part.is_cuda:
            yield part.to(device)
            continue
        with torch.cuda.stream(copying):
            # only copies from pinned memory run while the device is computing
            ahead.append((part.pin_memory().to(device, non_blocking=True), copying.record_event()))
        if len(ahead) > 1:
            yield _received(*ahead.popleft())
    while ahead:
        yield _received(*ahead.popleft())


@cache
def _copying(device: torch.device) -> torch.cuda.Stream:
    # one for all copies, since each stream has its own memory
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _received(sent: Tensor, arrived: torch.cuda.Event) -> Tensor:
    """Return `sent` for use in the current stream, which waits for its arrival; the host does not."""
    stream = torch.cuda.current_stream(sent.device)
    stream.wait_event(arrived)
    # its memory belongs to the stream that copies, which must not reuse it before this one is done
    sent.record_stream(stream)
    return sent
