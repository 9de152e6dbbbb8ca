"""Images of a source before they are in memory: which there are, and how to read them a few megabytes at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lgg.data.draws import draw_evenly
from lgg.data.storage import BLOCK, ImageSet, check_labels
from lgg.errors import DataError

AHEAD = 4  # images for each thread that may wait to be used

Result = TypeVar("Result")

#: some images (n, side, side, 3) uint8, and how many of them were enlarged
Block = tuple[NDArray[np.uint8], int]


@dataclass
class Split:
    """Images of one split, read block by block each time they are asked for, so that they may be more than memory holds.

    Attributes:
        side: height and width of the images.
        labels: (N,) integers, 0 to C − 1.
        classes: the C class names.
        origin: notes that are known before the images are read.
        read: yields the images at some positions of the source, in increasing order, in blocks.
        positions: (N,) of the images in the source; None for all.
        enlarged: how many of the images read last were smaller than `side`.
    """

    side: int
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    origin: tuple[str, ...]
    read: Callable[[NDArray[np.int64]], Iterator[Block]]
    positions: NDArray[np.int64] | None = None
    enlarged: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_labels(self.labels, self.classes, len(self.labels))
        if self.positions is None:
            self.positions = np.arange(len(self.labels))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, 3)."""
        return (len(self.labels), self.side, self.side, 3)

    @property
    def notes(self) -> tuple[str, ...]:
        """What readers of results must know about the images; complete once they are read."""
        if not self.enlarged:
            return self.origin
        size = f"{self.side} × {self.side} pixels"
        return (
            *self.origin,
            f"{self.enlarged:,} of {len(self.labels):,} images are smaller than {size} and were enlarged",
        )

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the images in order, in blocks (n, H, W, 3)."""
        assert self.positions is not None
        self.enlarged = 0
        for images, enlarged in self.read(self.positions):
            self.enlarged += enlarged
            yield images

    def in_memory(self) -> ImageSet:
        """Return all images, read."""
        images = np.concatenate(list(self.blocks()))
        return ImageSet(images, self.labels, self.classes, self.notes)

    def chosen(self, places: NDArray[np.int64], note: str) -> "Split":
        """Return the images at some places of this split, sorted, with one more note; DataError if a class has none."""
        assert self.positions is not None
        labels, positions = self.labels[places], self.positions[places]
        return replace(self, labels=labels, positions=positions, origin=(*self.origin, note))


def subset(data: Split, count: int | None, seed: int, key: str) -> Split:
    """Return `count` images, drawn as evenly from all classes as possible, in order; all images if `count` is None."""
    if count is None or count == len(data.labels):
        return data
    places = draw_evenly(data.labels, count, seed, key)
    return data.chosen(places, f"{count:,} of {len(data.labels):,} images, drawn evenly from all classes (seed {seed})")


def hold_out(train: Split, count: int, seed: int) -> tuple[Split, Split]:
    """Return the remaining and the `count` held-out training images, drawn as evenly from all classes as possible."""
    key = "data.validation_images"
    if count >= len(train.labels):
        raise DataError(f"{key}: {count} images are requested, which leaves none of {len(train.labels)} to train on")
    held_out = np.zeros(len(train.labels), dtype=bool)
    held_out[draw_evenly(train.labels, count, seed, key)] = True
    note = f"{count:,} of {len(held_out):,} training images are held out and replace the test images (seed {seed})"
    remaining, validation = (train.chosen(np.flatnonzero(part), note) for part in (~held_out, held_out))
    return remaining, validation


def stacked(images: Iterator[tuple[NDArray[np.uint8], bool]], side: int) -> Iterator[Block]:
    """Yield images (side, side, 3), each with whether it was enlarged, in blocks."""
    rows = max(1, BLOCK // (3 * side * side))
    while several := list(islice(images, rows)):
        yield np.stack([image for image, _ in several]), sum(enlarged for _, enlarged in several)


def computed(jobs: Iterable[Callable[[], Result]], threads: int) -> Iterator[Result]:
    """Yield what `jobs` return, in their order, from `threads` threads that are a few jobs ahead; the first error is raised."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) > AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
