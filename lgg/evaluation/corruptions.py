"""The corrupted test images on which networks are evaluated, one set at a time, in parts that fit into memory."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgg.data.corruption_archive import CorruptionArchive
from lgg.data.corruptions import corrupt
from lgg.data.draws import draw_evenly
from lgg.data.storage import ImageSet
from lgg.errors import DataError

CLEAN = "none"
BYTES_AT_ONCE = 1 << 28  # of images in a part


def choose_images(labels: NDArray[np.int64], settings: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the positions (n,), sorted, of the test images to evaluate, drawn by `settings` (`images`, `seed`)."""
    return draw_evenly(labels, settings["images"], settings["seed"], "corruptions.images")


def corrupted_images(
    data: ImageSet,
    positions: NDArray[np.int64],
    settings: Mapping[str, Any],
    *,
    archive: Path | None = None,
    workers: int = 1,
) -> Iterator[tuple[str, int, Iterator[NDArray[np.uint8]]]]:
    """Yield corruption, severity and images: first the clean images ("none", 0), then each set of `settings`.

    Images are an iterator that gives all n (…, H, W, 3) in order, in parts of at most BYTES_AT_ONCE, read or generated when
    they are asked for; the number of parts is the same for all sets.

    Args:
        data: the test images.
        positions: (n,), the positions of the images used, sorted.
        settings: `names`, `severities` and `seed` of the corruptions.
        archive: read the corrupted images from this file instead of generating them.
        workers: number of CPU threads that generate them.

    Raises DataError if the archive does not belong to these test images.
    """
    step = max(1, BYTES_AT_ONCE // math.prod(data.images.shape[1:]))
    parts = [positions[start : start + step] for start in range(0, len(positions), step)]

    def clean(part: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.asarray(data.images[part])  # a copy, which is not mapped from a file even where all images are

    def corrupted(name: str, severity: int) -> Iterator[NDArray[np.uint8]]:
        for part in parts:
            if kept is not None:
                yield kept.images(name, severity, part)
            else:
                yield corrupt(clean(part), name, severity, seed=settings["seed"], positions=part, workers=workers)

    yield CLEAN, 0, map(clean, parts)
    kept = None if archive is None else _open(archive, data)
    for name in settings["names"]:
        for severity in settings["severities"]:
            yield name, severity, corrupted(name, severity)


def _open(path: Path, data: ImageSet) -> CorruptionArchive:
    archive = CorruptionArchive(path)
    if not np.array_equal(archive.labels, data.labels):
        raise DataError(
            f"{path}: its labels are not those of the {len(data.labels):,} test images. It is of other images, or in another "
            "order; remove it, or set corruptions.source to generated."
        )
    own, other = data.images.shape[1:], archive.shape()
    if own != other:
        raise DataError(
            f"{path}: its images are {other[0]} × {other[1]}, the test images {own[0]} × {own[1]}. It is of other images; "
            "remove it, or set corruptions.source to generated."
        )
    return archive
