"""Edge detection and histogram equalisation as in OpenCV, for many grey images (N, S, S) at once."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lgg.data.corruptions.pixels import Bytes

STEEP = np.tan(np.pi / 8)  # a gradient within 22.5° of an axis is compared along that axis


def canny(images: Bytes, low: int, high: int) -> NDArray[np.bool_]:
    """Return the edges of images (N, S, S) by Canny (1986), as in OpenCV: no smoothing, |∂x| + |∂y| as magnitude.

    An edge pixel is a maximum along its gradient, is above `low`, and is connected to one above `high`.
    """
    values = images.astype(np.int32)
    across, down = _sobel(values)
    magnitude = np.abs(across) + np.abs(down)
    around = np.pad(magnitude, ((0, 0), (1, 1), (1, 1)))

    def neighbour(row: int, column: int) -> NDArray[np.int32]:
        height, width = magnitude.shape[1:]
        return around[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]

    flat = np.abs(down) < STEEP * np.abs(across)
    upright = np.abs(across) < STEEP * np.abs(down)
    rising = (across < 0) != (down < 0)
    before = np.where(rising, neighbour(-1, 1), neighbour(-1, -1))
    after = np.where(rising, neighbour(1, -1), neighbour(1, 1))
    peak = np.select(
        [flat, upright],
        [
            (magnitude > neighbour(0, -1)) & (magnitude >= neighbour(0, 1)),
            (magnitude > neighbour(-1, 0)) & (magnitude >= neighbour(1, 0)),
        ],
        (magnitude > before) & (magnitude > after),
    )
    weak = peak & (magnitude > low)
    within_image = np.zeros((3, 3, 3), dtype=bool)
    within_image[1] = True
    labels, count = ndimage.label(weak, within_image)
    strong = np.zeros(count + 1, dtype=bool)
    strong[labels[weak & (magnitude > high)]] = True
    strong[0] = False
    return np.asarray(strong[labels])


def equalize(images: Bytes) -> Bytes:
    """Return images (N, S, S) with equalised histograms; the darkest level becomes 0, the brightest 255.

    An image of a single level is not changed.
    """
    count, size = len(images), images[0].size if len(images) else 0
    flat = images.reshape(count, -1)
    histogram = np.stack([np.bincount(row, minlength=256) for row in flat]) if count else np.zeros((0, 256), int)
    darkest = np.take_along_axis(histogram, flat.min(axis=1, initial=255)[:, None].astype(np.int64), axis=1)
    rest = np.maximum(size - darkest, 1)
    table = np.rint((histogram.cumsum(axis=1) - darkest) * (255 / rest)).clip(0, 255).astype(np.uint8)
    spread = np.take_along_axis(table, flat.astype(np.int64), axis=1)
    return np.where(darkest == size, flat, spread).reshape(images.shape)


def _sobel(values: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the derivatives across and down by Sobel's 3 × 3 filters, with the outermost pixels repeated."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), mode="edge")
    sums = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    sums_across = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    return sums[:, :, 2:] - sums[:, :, :-2], sums_across[:, 2:] - sums_across[:, :-2]
