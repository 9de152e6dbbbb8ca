"""Blurs. Lengths are in pixels and do not scale with the image, except those of the zoom, which is relative."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lgg.data.corruptions.pixels import (
    HALF_A_STEP,
    Bytes,
    apply_map,
    filter_map,
    gaussian_map,
    to_bytes,
    to_unit,
    zoom_map,
)
from lgg.data.corruptions.pixels import (
    motion_blur as blur_along,
)
from lgg.data.corruptions.randomness import Streams

DISK = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))  # radius, deviation of the smoothing of its edge
GLASS = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))  # deviation of the blur, rounds of shuffling by one pixel
MOTION = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))  # radius, deviation
MOTION_ANGLES = (-45.0, 45.0)  # degrees
LARGEST_ZOOM = (1.06, 1.11, 1.16, 1.21, 1.26)  # in steps of 0.01 from 1
GAUSSIAN_DEVIATION = (0.4, 0.6, 0.7, 0.8, 1)


def disk_kernel(radius: float, deviation: float) -> NDArray[np.float64]:
    """Return a disk of pixels whose centres are within `radius`, smoothed by a 3 × 3 Gaussian and normalised to sum one."""
    reach = int(radius) + 1
    across = np.arange(-reach, reach + 1)
    disk = (across[:, None] ** 2 + across[None, :] ** 2 <= radius**2).astype(np.float64)
    line = np.exp(-0.5 * (np.arange(-1, 2) / deviation) ** 2)
    line /= line.sum()
    smooth = sum(
        weight * np.roll(disk, (row - 1, column - 1), axis=(0, 1))
        for (row, column), weight in np.ndenumerate(np.outer(line, line))
    )
    return np.asarray(smooth / disk.sum())


def zoom_factors(severity: int) -> NDArray[np.float64]:
    """Return the averaged zoom factors; as in the official generator, NumPy's `arange` decides whether the last is included."""
    return np.arange(1, LARGEST_ZOOM[severity - 1], 0.01)


def defocus_blur(images: Bytes, severity: int, streams: Streams) -> Bytes:  # noqa: ARG001 — one signature for all
    """Return images filtered with a smoothed disk, mirrored at the border."""
    blurred = apply_map(_disk_map(severity, images.shape[1]), images)
    blurred *= np.float32(1 / 255)
    return to_bytes(blurred)


def gaussian_blur(images: Bytes, severity: int, streams: Streams) -> Bytes:  # noqa: ARG001
    """Return images filtered with a Gaussian."""
    return _gaussian(images, GAUSSIAN_DEVIATION[severity - 1])


def glass_blur(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return images blurred, each pixel replaced by itself or a neighbour above, left or upper left, and blurred again.

    The official generator intends to swap the two pixels, from the lower right to the upper left, but assigning one NumPy
    view to another copies only one of them. The published sets were generated this way, which is reproduced here. Each
    pixel is thus taken from pixels that have not changed yet, so that a round of shuffling is a single gather. The first
    two rows and columns do not change. From the fourth severity on it shuffles more but blurs less, so the distance to the
    clean image need not increase with the severity.
    """
    deviation, rounds = GLASS[severity - 1]
    shuffled = _gaussian(images, deviation)
    side = images.shape[1]
    places = np.arange(shuffled[..., 0].size).reshape(shuffled.shape[:3])[:, 2:, 2:]
    for _ in range(rounds):
        step = streams.integers(4, side - 2, side - 2)
        taken = shuffled.reshape(-1, 3).take(places - step // 2 * side - step % 2, axis=0)
        shuffled[:, 2:, 2:] = taken
    return _gaussian(shuffled, deviation)


def motion_blur(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return images blurred along a random direction between −45° and 45°, in the 8 bits that ImageMagick returns.

    Severities 3 and 4 have the same deviation, for which either radius is large enough, so they differ only by chance.
    """
    radius, deviation = MOTION[severity - 1]
    low, high = MOTION_ANGLES
    angles = low + (high - low) * streams.uniform().astype(np.float64)
    return to_bytes(blur_along(to_unit(images), radius, deviation, angles), HALF_A_STEP)


def zoom_blur(images: Bytes, severity: int, streams: Streams) -> Bytes:  # noqa: ARG001
    """Return the mean of each image and its zooms."""
    blurred = apply_map(_mean_zoom_map(severity, images.shape[1]), images)
    blurred *= np.float32(1 / 255)
    return to_bytes(blurred)


def _gaussian(images: Bytes, deviation: float) -> Bytes:
    blurred = apply_map(gaussian_map(deviation, images.shape[1]), images)
    blurred *= np.float32(1 / 255)
    return to_bytes(blurred)


@lru_cache(maxsize=8)
def _disk_map(severity: int, side: int) -> sparse.csr_array:
    return filter_map(disk_kernel(*DISK[severity - 1]), side, "reflect")


@lru_cache(maxsize=8)
def _mean_zoom_map(severity: int, side: int) -> sparse.csr_array:
    factors = zoom_factors(severity)
    total = sparse.eye_array(side * side, format="csr", dtype=np.float32)
    for factor in factors:
        total = total + zoom_map(factor, side)
    return (total / np.float32(len(factors) + 1)).tocsr()
