"""Conversion between bytes and intensities, and resampling and filtering shared by several corruptions.

Images are (N, S, S, C); intensities are from 0 to 1. All functions process each image separately and sum in a fixed order,
so the result for an image is identical, bit for bit, in any batch.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, sparse

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

# rounding in single precision may give slightly less than an integer grey level, which truncation would reduce by one
MARGIN = 1e-3  # grey levels
# ImageMagick rounds to 16 bits, 257 steps per grey level, and its 8-bit PNG truncates them
HALF_A_STEP = 0.5 / 257  # grey levels
# pixels; up to this side many images are filtered at once, by sparse matrices of all pixels. Those of larger images do not
# fit a core's cache, so that separate maps of rows and columns, or a Fourier transform, of one image after another are faster
SMALL_SIDE = 64


def to_unit(images: Bytes) -> Floats:
    """Return intensities from 0 to 1 for grey levels from 0 to 255."""
    return images * np.float32(1 / 255)


def to_bytes(values: Floats, margin: float = MARGIN) -> Bytes:
    """Return grey levels for intensities, clipped and truncated as in the official generator; overwrites `values`.

    Values less than `margin` grey levels below the next level are rounded up to it.
    """
    values *= np.float32(255)
    values += np.float32(margin)
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8)


def value_of(values: Floats) -> Floats:
    """Return V of HSV (N, S, S), the largest of the three channels."""
    largest: Floats = np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])
    return largest


def grey(values: Floats) -> Floats:
    """Return the luma of RGB (N, S, S) by ITU-R BT.601."""
    red, green, blue = (values[..., channel] for channel in range(3))
    luma: Floats = red * np.float32(0.299) + green * np.float32(0.587) + blue * np.float32(0.114)
    return luma


# --- linear maps of the pixels --------------------------------------------------------------------------------------


def apply_map(matrix: sparse.csr_array, images: NDArray[np.generic]) -> Floats:
    """Return images (N, S, S, C) after the linear map `matrix` (S², S²) of their pixels.

    A sparse product sums in the order of the matrix's entries for any number of images; a dense one need not.
    """
    count, side, _, channels = images.shape
    columns = images.reshape(count, side * side, channels).transpose(1, 0, 2).astype(np.float32, order="C")
    mapped = matrix @ columns.reshape(side * side, count * channels)
    return np.ascontiguousarray(mapped.reshape(side * side, count, channels).transpose(1, 0, 2)).reshape(images.shape)


def filter_map(kernel: NDArray[np.float64], side: int, border: Literal["edge", "reflect"]) -> sparse.csr_array:
    """Return the map (S², S²) that correlates an image with `kernel` (odd, odd).

    Beyond the border, the outermost pixels are repeated (`edge`) or the image is mirrored (`reflect`).
    """
    reach = [length // 2 for length in kernel.shape]
    source = np.pad(np.arange(side * side).reshape(side, side), [(length, length) for length in reach], mode=border)
    entries = [
        (weight, source[row : row + side, column : column + side].ravel())
        for (row, column), weight in np.ndenumerate(kernel)
        if weight
    ]
    weights = np.concatenate([np.full(side * side, weight) for weight, _ in entries])
    columns = np.concatenate([taken for _, taken in entries])
    rows = np.tile(np.arange(side * side), len(entries))
    whole = sparse.coo_array((weights, (rows, columns)), shape=(side * side, side * side))
    return whole.tocsr().astype(np.float32)


def gaussian_kernel(sigma: float) -> NDArray[np.float64]:
    """Return a two-dimensional Gaussian of standard deviation `sigma` pixels, truncated at 4 σ and normalised to sum one."""
    reach = int(4 * sigma + 0.5)
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    square: NDArray[np.float64] = np.outer(line, line) / line.sum() ** 2
    return square


@lru_cache(maxsize=16)
def gaussian_map(sigma: float, side: int) -> sparse.csr_array:
    """Return the map (S², S²) that blurs with `gaussian_kernel`; the outermost pixels are repeated beyond the border."""
    return filter_map(gaussian_kernel(sigma), side, "edge")


def zoom_map(factor: float, side: int) -> sparse.csr_array:
    """Return the map (S², S²) that enlarges the centre of an image by `factor` ≥ 1 with linear interpolation.

    The centre is ⌈S / factor⌉ pixels wide; its enlargement is cropped to S pixels.
    """
    line = zoom_line(factor, side)
    return sparse.kron(line, line, format="csr").astype(np.float32)


# --- linear maps of rows and columns --------------------------------------------------------------------------------


def apply_line(line: sparse.csr_array, images: NDArray[np.generic]) -> Floats:
    """Return images (N, S, S, C) after the linear map `line` (S, S) of their columns and of their rows."""
    return sum_lines(line, line, images)


def sum_lines(columns: sparse.csr_array, rows: sparse.csr_array, images: NDArray[np.generic]) -> Floats:
    """Return the sum of images (N, S, S, C) after each of several maps of their columns and of their rows.

    `columns` (K · S, S) are K maps one below the other, `rows` (S, K · S) the same side by side.
    """
    count, side, _, channels = images.shape
    planes = np.moveaxis(images, 3, 1).astype(np.float32, order="C").reshape(count * channels, side, side)
    for plane in planes:
        mapped = (columns @ plane).reshape(-1, side, side)
        turned = np.ascontiguousarray(mapped.transpose(0, 2, 1)).reshape(-1, side)
        plane[...] = (rows @ turned).T
    return np.ascontiguousarray(np.moveaxis(planes.reshape(count, channels, side, side), 1, 3))


@lru_cache(maxsize=16)
def gaussian_line(
    sigma: float, side: int, border: Literal["nearest", "reflect"] = "nearest", reach: float = 4.0
) -> sparse.csr_array:
    """Return the map (S, S) that blurs a line with a Gaussian of `sigma` pixels, truncated at `reach` · σ.

    Beyond the ends the outermost pixels are repeated (`nearest`) or the line is mirrored at them, `b a | a b` (`reflect`).
    """
    blurred = ndimage.gaussian_filter1d(np.eye(side), sigma, axis=0, mode=border, truncate=reach)
    return sparse.csr_array(blurred).astype(np.float32)


def zoom_line(factor: float, side: int) -> sparse.csr_array:
    """Return the map (S, S) of which `zoom_map` is made, in double precision."""
    width = int(np.ceil(side / factor))
    start = (side - width) // 2
    enlarged = ndimage.zoom(np.eye(width), (factor, 1), order=1)
    trim = (len(enlarged) - side) // 2
    return sparse.csr_array(np.pad(enlarged[trim : trim + side], ((0, 0), (start, side - width - start))))


# --- filters by Fourier transform -----------------------------------------------------------------------------------


def apply_filter(kernel: NDArray[np.float64], images: NDArray[np.generic]) -> Floats:
    """Return images (N, S, S, C) correlated with `kernel` (odd, odd), mirrored at the centres of their outermost pixels.

    Each image is transformed on its own, so that its result does not depend on the others.
    """
    side, margin = images.shape[1], [(length // 2, length // 2) for length in kernel.shape]
    shape = [fft.next_fast_len(side + 2 * before, real=True) for before, _ in margin]
    response = np.conj(fft.rfft2(kernel.astype(np.float32), shape))
    filtered = np.empty(images.shape, dtype=np.float32)
    for image, result in zip(images, filtered, strict=True):
        planes = np.pad(np.moveaxis(image, 2, 0).astype(np.float32), [(0, 0), *margin], mode="reflect")
        planes = fft.irfft2(fft.rfft2(planes, shape) * response, shape)
        result[...] = np.moveaxis(planes[:, :side, :side], 0, 2)
    return filtered


# --- motion blur ----------------------------------------------------------------------------------------------------


def motion_kernel(radius: int, sigma: float) -> NDArray[np.float64]:
    """Return the weights (2 · radius + 1,) of ImageMagick's motion blur: half a Gaussian, starting at its peak."""
    weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def motion_offsets(radius: int, angles: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the row and column offsets (N, 2 · radius + 1, 2) of pixels on lines at `angles` (N,), in degrees.

    An angle of 0 takes pixels to the right, 90 takes pixels below.
    """
    steps = np.arange(2 * radius + 1)
    directions = np.stack([np.sin(np.deg2rad(angles)), np.cos(np.deg2rad(angles))], axis=-1)
    lines: NDArray[np.int64] = np.ceil(steps[None, :, None] * directions[:, None, :] - 0.5).astype(np.int64)
    return lines


def motion_blur(images: Floats, radius: int, sigma: float, angles: NDArray[np.float64]) -> Floats:
    """Return images (N, S, S, C), each blurred along its own direction in `angles` (N,), in degrees.

    Weights and lengths are those of ImageMagick's MotionBlurImage, with `radius` and `sigma` in pixels; the outermost pixels
    are repeated beyond the border. `to_bytes` with the margin HALF_A_STEP gives the 8 bits that the official generator
    reads back from ImageMagick.
    """
    weights = motion_kernel(radius, sigma)
    weights = weights[weights > 1e-7]  # smaller ones have no effect in single precision
    offsets = motion_offsets(radius, angles)[:, : len(weights)]
    lowest, highest = offsets.min(axis=(0, 1)), offsets.max(axis=(0, 1))
    padded = np.pad(images, ((0, 0), *zip(-lowest, highest, strict=True), (0, 0)), mode="edge")
    along = _gather_along if images.shape[1] <= SMALL_SIDE else _add_along
    return along(padded, images.shape, weights.astype(np.float32), offsets, lowest)


def _add_along(
    padded: Floats, shape: tuple[int, ...], weights: Floats, offsets: NDArray[np.int64], lowest: NDArray[np.int64]
) -> Floats:
    """Return the blurred images of `motion_blur`, one after another, as sums of shifted images."""
    side = shape[1]
    blurred, taken = np.zeros(shape, dtype=np.float32), np.empty(shape[1:], dtype=np.float32)
    for around, steps, total in zip(padded, (offsets - lowest).tolist(), blurred, strict=True):
        for weight, (row, column) in zip(weights, steps, strict=True):
            np.multiply(around[row : row + side, column : column + side], weight, out=taken)
            total += taken
    return blurred


def _gather_along(
    padded: Floats, shape: tuple[int, ...], weights: Floats, offsets: NDArray[np.int64], lowest: NDArray[np.int64]
) -> Floats:
    """Return the blurred images of `motion_blur`, all at once, which threads do not slow down; the same bits."""
    count, side, _, channels = shape
    planes = [np.ascontiguousarray(padded[..., channel]).ravel() for channel in range(channels)]
    index = np.arange(padded[..., 0].size).reshape(padded.shape[:3])
    unmoved = index[:, -lowest[0] : side - lowest[0], -lowest[1] : side - lowest[1]]
    steps = offsets @ np.array([padded.shape[2], 1])
    blurred = np.zeros((channels, count, side, side), dtype=np.float32)
    places, taken = np.empty_like(unmoved, order="C"), np.empty_like(blurred[0])
    for number, weight in enumerate(weights):
        np.add(unmoved, steps[:, number, None, None], out=places)
        for plane, total in zip(planes, blurred, strict=True):
            plane.take(places, out=taken, mode="clip")  # no index is out of bounds; this mode avoids a copy
            np.multiply(taken, weight, out=taken)
            total += taken
    return np.ascontiguousarray(np.moveaxis(blurred, 0, 3))


# --- sampling -------------------------------------------------------------------------------------------------------


def mirror_at_centre(indices: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Return indices folded into 0 … S − 1 by reflection at the centres of the outermost pixels: c b | a b c | b a."""
    folded = np.abs(indices) % (2 * side - 2)
    return np.asarray(np.minimum(folded, 2 * side - 2 - folded))


def mirror_at_edge(indices: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Return indices folded into 0 … S − 1 by reflection at the edges of the outermost pixels: b a | a b c | c b."""
    folded = indices % (2 * side)
    return np.asarray(np.minimum(folded, 2 * side - 1 - folded))


def sample(
    images: Floats, rows: Floats, columns: Floats, mirror: Callable[[NDArray[np.int64], int], NDArray[np.int64]]
) -> Floats:
    """Return images (N, S, S, C) sampled at `rows` and `columns` (N, S, S), in pixels, with linear interpolation."""
    count, side, _, channels = images.shape
    first = (np.arange(count) * side * side)[:, None, None]
    upper, left = np.floor(rows), np.floor(columns)
    down, right = rows - upper, columns - left
    top, start = upper.astype(np.int64), left.astype(np.int64)
    lines = [first + mirror(top + step, side) * side for step in (0, 1)]
    places = [mirror(start + step, side) for step in (0, 1)]
    corners = [[line + place for place in places] for line in lines]
    sampled = np.empty_like(images)
    for channel in range(channels):
        plane = np.ascontiguousarray(images[..., channel]).ravel()
        above, below = (
            (from_left := plane.take(at_left)) + (plane.take(at_right) - from_left) * right
            for at_left, at_right in corners
        )
        sampled[..., channel] = above + (below - above) * down
    return sampled
