"""Batches of images, augmented a whole batch at a time on the device, wherever the images are stored."""

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgg.data import augmentation as augmentations
from lgg.data.storage import prefetch, release

LARGEST_SHARE = 0.5  # largest share of a GPU's free memory that the images may fill
LARGEST_IN_MEMORY = 2**30  # bytes of an array that may be in main memory at once; of a larger one only batches are
COPIED_AT_ONCE = 2**26  # bytes, of an array to a GPU
AHEAD = 8  # batches that may wait in main memory to be copied to a GPU
READ_AHEAD = 4  # batches that are read from a file at the same time, before they are needed


class Batches:
    """The training images in batches on a device, shuffled in every epoch.

    Order and augmentation depend only on the seed and the number of the epoch, not on the device or on where the images are
    stored, so an epoch can be repeated without the ones before. The last batch of an epoch may be smaller.

    Args:
        images: (N, H, W, 3) uint8. They are not copied on a CPU. Of an array above `LARGEST_IN_MEMORY`, which should be mapped
            from its file, batches are read ahead in the background and what was read is released.
        labels: (N,) integers.
        batch_size: images per batch.
        seed: seed of order and augmentation.
        augmentation: "none", "crop_and_flip", "random_resized_crop" or "trivial_augment", see `lgg.data.augmentation`.
        device: device of the batches.
        resident: whether to keep the images on the device. Otherwise they stay where they are and each batch is copied. None
            keeps them on a GPU if they fill at most half of its free memory, on a CPU unless they are a large array.
    """

    def __init__(
        self,
        images: Tensor | NDArray[np.uint8],
        labels: Tensor | NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
        augmentation: str = "none",
        device: torch.device | str = "cpu",
        resident: bool | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.side = int(images.shape[1]), int(images.shape[2])
        self.augment = augmentations.build(augmentation, self.side, self.device)
        #: whether the images are on the device
        self.resident = _fits(images, self.device) if resident is None else resident
        self.images = _on_device(images, self.device) if self.resident else images
        self.labels = torch.as_tensor(labels).to(self.device)
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
        feed = Feed(self)
        feed.begin(number, first)
        for _ in range(first, len(self)):
            yield feed.take(feed.load())

    def plan(self, number: int) -> Tensor:
        """Return what an epoch shows, (N, 1 + K) int64 on the CPU: for each place in its order the number of the image, and the
        K numbers that decide its augmentation.
        """
        count = len(self.labels)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = torch.randperm(count, generator=generator)
        return torch.cat([order[:, None], self.augment.draw(count, generator)], dim=1)


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
        size = batches.batch_size
        self._next = 0
        self._plan = torch.empty(
            len(batches.labels), 1 + batches.augment.numbers, dtype=torch.int64, device=self.device
        )
        self._position = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._places = torch.arange(size, device=self.device)
        self._copies: deque[torch.cuda.Event] = deque()
        self._source = None if batches.resident else _Source(batches.images, size, self.device)
        #: the images on the device: all, or those of the batch
        self._images = (
            batches.images
            if isinstance(batches.images, Tensor) and batches.resident
            else torch.empty(size, *batches.side, 3, dtype=torch.uint8, device=self.device)
        )

    def begin(self, epoch: int, first: int = 0) -> None:
        """Start `epoch` at batch `first`."""
        self._next = first
        plan = self.batches.plan(epoch)
        self._position.fill_(first * self.batches.batch_size)
        self._plan.copy_(pinned(plan, self.device), non_blocking=True)
        if self._source is not None:
            self._source.begin(plan[first * self.batches.batch_size :, 0])

    def load(self) -> int:
        """Make the next batch ready, and return its number of images."""
        size = min(self.batches.batch_size, len(self._plan) - self._next * self.batches.batch_size)
        self._next += 1
        if self._source is not None:
            self._wait_for_old_copies()
            self._images[:size].copy_(self._source.next(), non_blocking=True)
        return size

    def take(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the batch that `load` made ready, of `size` images, as `Batches.epoch` yields it."""
        rows = self._plan.index_select(0, self._position + self._places[:size])
        self._position.add_(size)
        chosen, drawn = rows[:, 0], rows[:, 1:]
        labels = self.batches.labels.index_select(0, chosen)
        # of the images on the device
        numbers = chosen if self._source is None else self._places[:size]
        return to_model_input(self.batches.augment(self._images, numbers, drawn)), labels

    def _wait_for_old_copies(self) -> None:
        """Keep the host from filling its memory with batches far ahead of the device."""
        if self.device.type != "cuda":
            return
        if len(self._copies) == AHEAD:
            self._copies.popleft().synchronize()
        # of the copy before, since this one has not begun
        self._copies.append(torch.cuda.current_stream(self.device).record_event())


class _Source:
    """The pixels of batches in main memory, for an epoch at a time; those of an array are read ahead, by threads.

    Args:
        images: (N, H, W, 3) uint8 in main memory, or an array that may be mapped.
        size: of a batch.
        device: to which batches are copied.
    """

    def __init__(self, images: Tensor | NDArray[np.uint8], size: int, device: torch.device) -> None:
        self.images = images
        self.size = size
        self.device = device
        self._parts: Iterator[Tensor] = iter(())
        self._ahead: deque[Future[Tensor]] = deque()
        # a tensor is in memory, so that nothing has to be waited for
        self._threads = None if isinstance(images, Tensor) else ThreadPoolExecutor(READ_AHEAD, "batches")

    def begin(self, order: Tensor) -> None:
        """Start an epoch that shows the images `order` (N,), numbers on the CPU."""
        for left in self._ahead:
            left.cancel()
        self._ahead.clear()
        self._parts = (order[start : start + self.size] for start in range(0, len(order), self.size))
        for _ in range(READ_AHEAD):
            self._read_ahead()

    def next(self) -> Tensor:
        """Return the pixels of the next batch, pinned if they go to a GPU."""
        if isinstance(self.images, Tensor):
            return pinned(self.images.index_select(0, next(self._parts)), self.device)
        read = self._ahead.popleft().result()
        self._read_ahead()
        return read

    def _read_ahead(self) -> None:
        if isinstance(self.images, Tensor) or self._threads is None:
            return
        chosen = next(self._parts, None)
        if chosen is not None:
            # made here, since another thread may have another GPU as its current one
            pin = self.device.type == "cuda"
            pixels = torch.empty(len(chosen), *self.images.shape[1:], dtype=torch.uint8, pin_memory=pin)
            self._ahead.append(self._threads.submit(_read, self.images, chosen.numpy(), pixels))


def _read(images: NDArray[np.uint8], chosen: NDArray[np.int64], pixels: Tensor) -> Tensor:
    """Return `pixels`, filled with the `chosen` of `images`, which are released."""
    prefetch(images, chosen)
    # any other mode would make a copy first; all numbers are valid
    np.take(images, chosen, axis=0, out=pixels.numpy(), mode="clip")
    release(images)
    return pixels


def pinned(values: Tensor, device: torch.device) -> Tensor:
    """Return `values` in memory from which copies to `device` run in the background, if it is a GPU."""
    return values.pin_memory() if device.type == "cuda" else values


def _fits(images: Tensor | NDArray[np.uint8], device: torch.device) -> bool:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return bool(images.nbytes <= LARGEST_SHARE * free)
    return isinstance(images, Tensor) or images.nbytes <= LARGEST_IN_MEMORY


def _on_device(images: Tensor | NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return images on a device, without copying them if they are there; of an array only a part is in main memory at once."""
    if device.type == "cpu" or isinstance(images, Tensor):
        return torch.as_tensor(images).to(device).contiguous()
    found = torch.empty(images.shape, dtype=torch.uint8, device=device)
    step = max(1, COPIED_AT_ONCE // max(1, images[:1].nbytes))
    for first in range(0, len(images), step):
        found[first : first + step].copy_(torch.from_numpy(images[first : first + step]))
        release(images)
    return found


def to_model_input(pixels: Tensor) -> Tensor:
    """Return images (B, H, W, 3) uint8 as (B, 3, H, W) float32 in [0, 1], channels-last in memory."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def in_order(
    images: Tensor | NDArray[np.uint8], batch_size: int, device: torch.device | str = "cpu"
) -> Iterator[Tensor]:
    """Yield all images (N, H, W, 3) uint8, in order, as batches for a model, delivered as by `deliver`.

    Of images that are mapped from a file only batches are in memory.
    """
    return map(to_model_input, deliver(_parts(images, batch_size), device))


def _parts(images: Tensor | NDArray[np.uint8], batch_size: int) -> Iterator[Tensor]:
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        yield torch.as_tensor(part)
        if not isinstance(images, Tensor):
            release(images)


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
