"""Contrast, elastic transform, pixelate, JPEG compression and saturation."""

from io import BytesIO

import numpy as np
from PIL import Image
from scipy import ndimage

from lgg.data.corruptions.constants import constants_of
from lgg.data.corruptions.pixels import (
    SMALL_SIDE,
    Bytes,
    Floats,
    apply_line,
    gaussian_line,
    mirror_at_centre,
    mirror_at_edge,
    sample,
    to_bytes,
    to_unit,
    value_of,
)
from lgg.data.corruptions.randomness import Streams


def contrast(images: Bytes, severity: int, streams: Streams) -> Bytes:  # noqa: ARG001 — one signature for all
    """Return m + c · (x − m), with m the mean of each channel of each image x."""
    factor = constants_of(images.shape[1]).contrast[severity - 1]
    pixels = images.shape[1] * images.shape[2]
    # sums of integers do not depend on the order
    means = images.sum(axis=(1, 2), keepdims=True, dtype=np.int64) / (255 * pixels)
    flatter = images * np.float32(factor / 255)
    flatter += ((1 - factor) * means).astype(np.float32)
    return to_bytes(flatter)


def elastic_transform(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return images displaced by a random affine map, then by a smooth random field; all lengths scale with the image.

    The affine part decreases with the severity while the other increases, and smoothing a field also reduces it, so the
    distance to the clean image does not always increase with the severity.
    """
    side = images.shape[1]
    strength, smoothness, shift = (side * length for length in constants_of(side).elastic_transform[severity - 1])
    down, across = np.meshgrid(*[np.arange(side, dtype=np.float32)] * 2, indexing="ij")
    columns, rows = affine_sources(shift, side, streams)
    moved = sample(to_unit(images), rows, columns, mirror_at_centre)
    if strength:
        fields = displacements(strength, smoothness, side, streams)
        moved = sample(moved, down + fields[:, 1], across + fields[:, 0], mirror_at_edge)
    return to_bytes(moved)


def affine_sources(shift: float, side: int, streams: Streams) -> tuple[Floats, Floats]:
    """Return the source x and y (N, S, S) of each pixel under a map that moves three points by up to `shift` pixels each way.

    The points are a third of the side to the lower right, upper right and upper left of the centre.
    """
    middle, arm = side // 2, side // 3
    points = middle + arm * np.array([[1, 1], [1, -1], [-1, -1]], dtype=np.float64)
    moved = points + shift * (2 * streams.uniform(3, 2).astype(np.float64) - 1)
    # p − moved[1] = s · left + t · below gives the coordinates of a pixel p along the two sides of the moved triangle
    below, left = (moved[:, corner] - moved[:, 1] for corner in (0, 2))
    x = np.arange(side)[None, None, :] - moved[:, 1, 0, None, None]
    y = np.arange(side)[None, :, None] - moved[:, 1, 1, None, None]
    scale = (2 * arm / (left[:, 0] * below[:, 1] - left[:, 1] * below[:, 0]))[:, None, None]
    columns = points[1, 0] - scale * (x * below[:, 1, None, None] - y * below[:, 0, None, None])
    rows = points[1, 1] + scale * (y * left[:, 0, None, None] - x * left[:, 1, None, None])
    return columns.astype(np.float32), rows.astype(np.float32)


def displacements(strength: float, smoothness: float, side: int, streams: Streams) -> Floats:
    """Return fields (N, 2, S, S) in pixels, across and down: uniform in (−1, 1), smoothed by a Gaussian, times `strength`."""
    fields = 2 * streams.uniform(2, side, side) - 1
    if side <= SMALL_SIDE:
        smooth = ndimage.gaussian_filter(fields, (0, 0, smoothness, smoothness), mode="reflect", truncate=3)
    else:
        lines = gaussian_line(smoothness, side, "reflect", 3.0)
        smooth = np.moveaxis(apply_line(lines, np.moveaxis(fields, 1, 3)), 3, 1)
    return np.asarray(smooth * np.float32(strength))


def pixelate(images: Bytes, severity: int, streams: Streams) -> Bytes:  # noqa: ARG001
    """Return images reduced to ⌊c · S⌋ pixels per side and enlarged again, both by Pillow's box filter."""
    side = images.shape[1]
    small = (int(side * constants_of(side).pixelate[severity - 1]),) * 2
    box = Image.Resampling.BOX
    coarse = np.empty_like(images)
    for index, image in enumerate(images):
        coarse[index] = np.asarray(Image.fromarray(image).resize(small, box).resize((side, side), box))
    return coarse


def jpeg_compression(images: Bytes, severity: int, streams: Streams) -> Bytes:  # noqa: ARG001
    """Return images after JPEG compression of quality c, by Pillow."""
    quality = constants_of(images.shape[1]).jpeg_compression[severity - 1]
    compressed = np.empty_like(images)
    for index, image in enumerate(images):
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        compressed[index] = np.asarray(Image.open(file, formats=("JPEG",)))
    return compressed


def saturate(images: Bytes, severity: int, streams: Streams) -> Bytes:  # noqa: ARG001
    """Return images whose S of HSV is a · S + b, at most 1, with the same H and V; H of grey pixels is red.

    The first two severities reduce saturation, the others increase it.
    """
    factor, summand = constants_of(images.shape[1]).saturate[severity - 1]
    clean = to_unit(images)
    value = value_of(clean)
    spread = value - -value_of(-clean)
    saturation = spread / np.where(value == 0, np.float32(1), value)
    wanted = np.minimum(saturation * np.float32(factor) + np.float32(summand), np.float32(1))
    grey = spread == 0
    # at fixed H and V the distance to V is proportional to S
    scale = wanted / np.where(grey, np.float32(1), saturation)
    colour = value[..., None] - (value[..., None] - clean) * scale[..., None]
    colour[grey, 1:] = (value * (1 - wanted))[grey][:, None]
    return to_bytes(colour.astype(np.float32, copy=False))
