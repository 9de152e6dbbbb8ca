"""Blurs. Lengths are in pixels, except those of the zoom, which is relative."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lgg.data.corruptions.constants import constants_of
from lgg.data.corruptions.pixels import (
    HALF_A_STEP,
    SMALL_SIDE,
    Bytes,
    Floats,
    apply_filter,
    apply_line,
    apply_map,
    filter_map,
    gaussian_line,
    gaussian_map,
    sum_lines,
    to_bytes,
    to_unit,
    zoom_line,
    zoom_map,
)
from lgg.data.corruptions.pixels import (
    motion_blur as blur_along,
)
from lgg.data.corruptions.randomness import Streams

MOTION_ANGLES = (-45.0, 45.0)  # degrees
LARGEST_DISK = (
    8  # radius up to which the official generator draws disks on 17 × 17 pixels and smooths them by 3 × 3 weights
)


def disk_kernel(radius: float, deviation: float) -> NDArray[np.float64]:
    """Return a disk of pixels whose centres are within `radius`, of sum one, smoothed by a Gaussian of 3 × 3 weights.

    Disks of more than 8 pixels are smoothed by 5 × 5 weights. As in the official generator, the kernel ends where the grid of
    17 × 17 pixels or the larger disk does, and is mirrored there when it is smoothed: a disk that reaches the end gets
    weights of a sum above one (1.013 for a radius of 8 and a deviation of 0.5), which brightens images.
    """
    end, width = (LARGEST_DISK, 1) if radius <= LARGEST_DISK else (int(radius), 2)
    across = np.arange(-end, end + 1)
    disk = (across[:, None] ** 2 + across[None, :] ** 2 <= radius**2).astype(np.float64)
    line = np.exp(-0.5 * (np.arange(-width, width + 1) / deviation) ** 2)
    line /= line.sum()
    mirrored = np.pad(disk, width, mode="reflect")
    smooth = sum(
        weight * mirrored[row : row + len(disk), column : column + len(disk)]
        for (row, column), weight in np.ndenumerate(np.outer(line, line))
    )
    unused = max(0, end - int(radius) - 1)
    return np.asarray(smooth / disk.sum())[unused : len(disk) - unused, unused : len(disk) - unused]


def zoom_factors(end: float, step: float) -> NDArray[np.float64]:
    """Return the averaged zoom factors; as in the official generator, NumPy's `arange` decides whether `end` is included."""
    return np.arange(1, end, step)


def defocus_blur(images: Bytes, severity: int, streams: Streams) -> Bytes:  # noqa: ARG001 — one signature for all
    """Return images filtered with a smoothed disk, mirrored at the border."""
    side = images.shape[1]
    disk = constants_of(side).defocus_blur[severity - 1]
    if side <= SMALL_SIDE:
        return _to_bytes(apply_map(_disk_map(*disk, side), images))
    return _to_bytes(apply_filter(disk_kernel(*disk), images))


def gaussian_blur(images: Bytes, severity: int, streams: Streams) -> Bytes:  # noqa: ARG001
    """Return images filtered with a Gaussian."""
    return _gaussian(images, constants_of(images.shape[1]).gaussian_blur[severity - 1])


def glass_blur(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return images blurred, each pixel replaced by one at most d away, in rounds, and blurred again.

    The pixel that replaces it is −d to d − 1 rows and columns away, so that with d = 1 it is the pixel itself or a neighbour
    above, left or upper left. The first d + 1 and the last d − 1 rows and columns do not change. With CIFAR's constants it
    shuffles more but blurs less from the fourth severity on, so the distance to the clean image need not increase with the
    severity.
    """
    side = images.shape[1]
    deviation, farthest, rounds = constants_of(side).glass_blur[severity - 1]
    shuffled = _gaussian(images, deviation)
    inner = slice(farthest + 1, side - farthest + 1)
    for _ in range(rounds):
        taken = shuffled.reshape(-1, 3).take(shuffled_places(side, farthest, streams), axis=0)
        shuffled[:, inner, inner] = taken
    return _gaussian(shuffled, deviation)


def shuffled_places(side: int, farthest: int, streams: Streams) -> NDArray[np.int64]:
    """Return from where each inner pixel is taken in a round of shuffling, (N, S − 2d, S − 2d), numbered through all images.

    The official generator intends to swap a pixel with another, from the lower right to the upper left, but assigning one
    NumPy view to another copies only one of them. The published sets were generated this way, which is reproduced here. A
    pixel taken from above or from the left has not changed yet. One from below or from the right, which d = 1 has none of,
    was replaced before, so that what it was taken from is looked up.
    """
    count = side - 2 * farthest
    step = streams.integers(4 * farthest**2, count, count)
    places = np.arange(len(step) * side * side).reshape(len(step), side, side)
    inner = places[:, farthest + 1 : farthest + 1 + count, farthest + 1 : farthest + 1 + count]
    taken = inner + (farthest - 1 - step // (2 * farthest)) * side + (farthest - 1 - step % (2 * farthest))
    replaced = np.flatnonzero(taken > inner)
    if len(replaced):
        now, looked_up = taken.ravel(), places.ravel().copy()
        looked_up[inner.ravel()] = now
        while len(replaced):
            before = now[replaced]
            now[replaced] = looked_up[before]
            replaced = replaced[now[replaced] > before]
    return np.asarray(taken)


def motion_blur(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return images blurred along a random direction between −45° and 45°, in the 8 bits that ImageMagick returns.

    CIFAR's severities 3 and 4 have the same deviation, for which either radius is large enough, so they differ only by chance.
    """
    radius, deviation = constants_of(images.shape[1]).motion_blur[severity - 1]
    low, high = MOTION_ANGLES
    angles = low + (high - low) * streams.uniform().astype(np.float64)
    return to_bytes(blur_along(to_unit(images), radius, deviation, angles), HALF_A_STEP)


def zoom_blur(images: Bytes, severity: int, streams: Streams) -> Bytes:  # noqa: ARG001
    """Return the mean of each image and its zooms."""
    side = images.shape[1]
    zooms = constants_of(side).zoom_blur[severity - 1]
    if side <= SMALL_SIDE:
        return _to_bytes(apply_map(_mean_zoom_map(*zooms, side), images))
    return _to_bytes(sum_lines(*_zoom_lines(*zooms, side), images))


def _gaussian(images: Bytes, deviation: float) -> Bytes:
    side = images.shape[1]
    if side <= SMALL_SIDE:
        return _to_bytes(apply_map(gaussian_map(deviation, side), images))
    return _to_bytes(apply_line(gaussian_line(deviation, side), images))


def _to_bytes(levels: Floats) -> Bytes:
    levels *= np.float32(1 / 255)
    return to_bytes(levels)


@lru_cache(maxsize=8)
def _disk_map(radius: float, deviation: float, side: int) -> sparse.csr_array:
    return filter_map(disk_kernel(radius, deviation), side, "reflect")


@lru_cache(maxsize=8)
def _mean_zoom_map(end: float, step: float, side: int) -> sparse.csr_array:
    factors = zoom_factors(end, step)
    total = sparse.eye_array(side * side, format="csr", dtype=np.float32)
    for factor in factors:
        total = total + zoom_map(factor, side)
    return (total / np.float32(len(factors) + 1)).tocsr()


@lru_cache(maxsize=8)
def _zoom_lines(end: float, step: float, side: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    factors = zoom_factors(end, step)
    lines = [sparse.eye_array(side, format="csr"), *(zoom_line(factor, side) for factor in factors)]
    columns, rows = sparse.vstack(lines, format="csr"), sparse.hstack(lines, format="csr") / (len(factors) + 1)
    return columns.astype(np.float32), rows.tocsr().astype(np.float32)
