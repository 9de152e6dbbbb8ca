"""All corruptions behind one function, by name and severity, computed in chunks on several cores."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from lgg.data.corruption_names import EXTRA_NAMES, NAMES, SEVERITIES, unknown_name, unknown_severity
from lgg.data.corruptions import blur, digital, noise, weather
from lgg.data.corruptions.pixels import Bytes
from lgg.data.corruptions.randomness import Streams
from lgg.errors import DataError

LEAST_SIDE = 8  # pixels; below, a third of the side and the small image of `pixelate` vanish
ONE_THREAD = ("pixelate", "jpeg_compression")  # Pillow holds the interpreter lock on small images
PIXELS_AT_ONCE = 128 * 32 * 32  # chunk of a worker, which fits a core's cache

Corruption = Callable[[Bytes, int, Streams], Bytes]
CORRUPTIONS: dict[str, Corruption] = {
    name: function
    for name in (*NAMES, *EXTRA_NAMES)
    for module in (noise, blur, weather, digital)
    if (function := getattr(module, name, None)) is not None and function.__module__ == module.__name__
}


def corrupt(
    images: Bytes,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    positions: NDArray[np.int64] | None = None,
    workers: int = 1,
) -> Bytes:
    """Return images (N, S, S, 3) uint8 under the corruption `name` at `severity` 1 to 5.

    The constants are those of CIFAR-10-C for a side of 32 pixels, of Tiny-ImageNet-C for 64 and of ImageNet-C for 224;
    another side has those of the nearest (`lgg.data.corruption_names.benchmark_of`). Lengths in pixels do not change with the
    side, except those of elastic_transform, pixelate, zoom_blur and the frost textures. `positions` (N,) are the indices of
    the images in their data set, 0 to N − 1 by default. Randomness depends only on `seed`, `name`, `severity` and an image's
    position, so the result for an image is identical, bit for bit, in any batch or order and with any number of `workers`
    (threads).

    Hendrycks and Dietterich 2019, with the settings of their generators. Their files of 64 and 224 pixels were then saved as
    JPEG of quality 85, which is left out here. Raises DataError for an unknown name or severity and for images that are not
    square, RGB, of 8 bits and at least 8 pixels wide, ValueError for positions that do not match the images.
    """
    _check(images, name, severity)
    if positions is None:
        positions = np.arange(len(images))
    if positions.shape != images.shape[:1] or not np.issubdtype(positions.dtype, np.integer):
        raise ValueError(
            f"positions must be {len(images)} integers, one for each image, not {positions.shape} of {positions.dtype}"
        )
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    numbers = positions.astype(np.int64)
    corrupted = np.empty(images.shape, dtype=np.uint8)
    step = max(1, PIXELS_AT_ONCE // images[0, ..., 0].size) if len(images) else 1

    def treat(start: int) -> None:
        part = slice(start, start + step)
        streams = Streams(seed, name, severity, numbers[part])
        corrupted[part] = CORRUPTIONS[name](np.ascontiguousarray(images[part]), severity, streams)

    with ThreadPoolExecutor(1 if name in ONE_THREAD else workers) as pool:
        for _ in pool.map(treat, range(0, len(images), step)):
            pass
    return corrupted


def _check(images: Bytes, name: str, severity: int) -> None:
    if name not in CORRUPTIONS:
        raise DataError(f"corruptions: {unknown_name(name, tuple(CORRUPTIONS))}")
    if severity not in SEVERITIES or isinstance(severity, bool):
        raise DataError(f"corruptions: {unknown_severity(severity)}")
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:
        raise DataError(
            f"corruptions: images must be square RGB, (N, S, S, 3) of uint8, not {shape} of {images.dtype}; "
            "cut or resize them first"
        )
    if shape[1] < LEAST_SIDE:
        raise DataError(f"corruptions: images must be at least {LEAST_SIDE} pixels wide, not {shape[1]}")
