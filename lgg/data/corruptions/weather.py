"""Snow, frost, fog, brightness and spatter."""

from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage, sparse

from lgg.data.corruptions.constants import constants_of
from lgg.data.corruptions.edges import canny, equalize
from lgg.data.corruptions.frost_textures import COUNT, SIDES, frost_textures
from lgg.data.corruptions.pixels import (
    HALF_A_STEP,
    SMALL_SIDE,
    Bytes,
    Floats,
    apply_line,
    apply_map,
    grey,
    motion_blur,
    to_bytes,
    to_unit,
    value_of,
    zoom_line,
    zoom_map,
)
from lgg.data.corruptions.randomness import Streams

SNOW_ANGLES = (-135.0, -45.0)  # degrees
WATER: Floats = np.array([175 / 255, 238 / 255, 238 / 255], dtype=np.float32)  # pale turquoise
MUD: Floats = np.array([63 / 255, 42 / 255, 20 / 255], dtype=np.float32)  # brown


def snow(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return w · x + (1 − w) · max(x, 1.5 · grey(x) + 0.5) + flakes + flakes rotated by 180°, with w the share not whitened.

    Flakes are enlarged normal noise without its small values, motion-blurred downwards.
    """
    *_, share = constants_of(images.shape[1]).snow[severity - 1]
    clean = to_unit(images)
    flakes = snow_flakes(severity, images.shape[1], streams)
    whitened = np.maximum(clean, grey(clean)[..., None] * np.float32(1.5) + np.float32(0.5))
    snowy: Floats = clean * np.float32(share) + whitened * np.float32(1 - share)
    snowy += flakes[..., None]
    snowy += flakes[:, ::-1, ::-1, None]
    return to_bytes(snowy)


def snow_flakes(severity: int, side: int, streams: Streams) -> Floats:
    """Return the layer of flakes (N, S, S), from 0 to 1 in steps of 1/255."""
    mean, deviation, zoom, least, radius, blur, _ = constants_of(side).snow[severity - 1]
    noise = np.float32(mean) + np.float32(deviation) * streams.normal(side, side)
    low, high = SNOW_ANGLES
    angles = low + (high - low) * streams.uniform().astype(np.float64)
    flakes = _enlarged(noise[..., None], zoom)
    flakes[flakes < least] = 0
    # the official generator passes 8 bits to ImageMagick and gets 8 bits back
    blurred = motion_blur(to_unit(to_bytes(flakes)), radius, blur, angles)[..., 0]
    return to_unit(to_bytes(blurred, HALF_A_STEP))


def frost(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return a · x + b · frost, with frost a random crop of a random texture of `frost_textures`.

    From the third severity on, a decreases too, so images get darker as they are covered more: the ratio b / a increases,
    but the distance to the clean image need not.
    """
    side = images.shape[1]
    of_image, of_frost = constants_of(side).frost[severity - 1]
    textures = frost_textures(side)
    width = textures.shape[1] // SIDES  # less than the side only for images of more than 256 pixels
    choice = streams.integers(COUNT)
    corner = streams.integers(textures.shape[1] - width, 2)
    pieces = np.empty_like(images)
    for piece, texture, (top, left) in zip(pieces, choice, corner, strict=True):
        cut = textures[texture, top : top + width, left : left + width]
        piece[...] = cut if width == side else np.asarray(Image.fromarray(cut).resize((side, side)))
    frosted = images * np.float32(of_image / 255)
    frosted += pieces * np.float32(of_frost / 255)
    return to_bytes(frosted)


def fog(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return (x + a · fractal) · max(x) / (max(x) + a), with max(x) the largest value of the image."""
    side = images.shape[1]
    thickness, decay = constants_of(side).fog[severity - 1]
    foggy = to_unit(images)
    brightest = foggy.max(axis=(1, 2, 3), keepdims=True)
    foggy += np.float32(thickness) * plasma_fractal(side, decay, streams)[..., None]
    foggy *= brightest / (brightest + np.float32(thickness))
    return to_bytes(foggy)


def plasma_fractal(side: int, decay: float, streams: Streams) -> Floats:
    """Return the upper left part (N, S, S) of height maps by the diamond-square algorithm, each scaled to 0 to 1.

    The side of a map is the next power of two, and it is periodic. The centres of squares, then those of their sides, are
    the mean of their four neighbours plus a uniform step; the square root of the step's size decreases by the factor
    `decay` at each scale.
    """
    size = 1 << (side - 1).bit_length()
    noise = 2 * streams.uniform(size * size) - 1
    heights = np.zeros((len(noise), size, size), dtype=np.float32)
    used, wibble, step = 0, 100.0, size

    def steps(like: Floats) -> Floats:
        nonlocal used
        number = like[0].size
        used += number
        return noise[:, used - number : used].reshape(like.shape) * np.float32(wibble**2)

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=1)
        squares = heights[:, half::step, half::step]
        squares[...] = (pairs + np.roll(pairs, -1, axis=2)) / 4 + steps(squares)
        rows, columns = heights[:, ::step, half::step], heights[:, half::step, ::step]
        rows[...] = (squares + np.roll(squares, 1, axis=1) + corners + np.roll(corners, -1, axis=2)) / 4 + steps(rows)
        columns[...] = (squares + np.roll(squares, 1, axis=2) + corners + np.roll(corners, -1, axis=1)) / 4 + steps(
            columns
        )
        step, wibble = half, wibble / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    heights /= heights.max(axis=(1, 2), keepdims=True)
    return heights[:, :side, :side]


def brightness(images: Bytes, severity: int, streams: Streams) -> Bytes:  # noqa: ARG001 — one signature for all
    """Return images whose V of HSV is increased by c, up to 1, with the same H and S.

    At fixed H and S the colour is proportional to V; black, which has neither, becomes grey.
    """
    clean = to_unit(images)
    value = value_of(clean)
    brighter = np.minimum(value + np.float32(constants_of(images.shape[1]).brightness[severity - 1]), 1)
    black = value == 0
    clean *= (brighter / np.where(black, 1, value))[..., None]
    clean[black] = brighter[black][:, None]
    return to_bytes(clean)


def spatter(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return images with water drops (severities 1 to 3) or mud stains (4, 5); lengths are in pixels.

    Edges and distances are computed by `lgg.data.corruptions.edges` and SciPy in place of OpenCV; distances are exact,
    whereas OpenCV approximates them. The liquid depends on the severity, so the distance to the clean image need not
    increase with it.
    """
    side = images.shape[1]
    mean, deviation, blur, least, strength, mud = constants_of(side).spatter[severity - 1]
    liquid = np.float32(mean) + np.float32(deviation) * streams.normal(side, side)
    liquid = _blurred(liquid, blur)
    liquid[liquid < least] = 0
    clean = to_unit(images)
    if mud:
        stain = _blurred((liquid > least).astype(np.float32), strength)
        stain[stain < 0.8] = 0
        clean += stain[..., None] * (MUD - clean)
        return to_bytes(clean)
    drops = _water(to_bytes(liquid))
    thickest = drops.max(axis=(1, 2), keepdims=True)
    drops *= np.float32(strength) / np.where(thickest == 0, 1, thickest)
    clean += drops[..., None] * WATER
    return to_bytes(clean)


def _water(liquid: Bytes) -> Floats:
    """Return the thickness of drops (N, S, S): the liquid times a relief based on the distance to its edges."""
    distance = ndimage.distance_transform_edt(~canny(liquid, 50, 150), sampling=(1e6, 1, 1))
    relief = equalize(_box(np.minimum(distance, 20).astype(np.float32)).astype(np.uint8)).astype(np.float32)
    slope = np.array([[[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]], dtype=np.float32)
    relief = np.clip(ndimage.correlate(relief, slope, mode="mirror"), 0, 255)
    return np.asarray(liquid * np.rint(_box(relief)), dtype=np.float32)


def _box(images: Floats) -> Floats:
    return np.asarray(ndimage.uniform_filter(images, (1, 3, 3), mode="mirror"))


def _blurred(images: Floats, deviation: float) -> Floats:
    return np.asarray(ndimage.gaussian_filter(images, (0, deviation, deviation), mode="nearest"))


def _enlarged(images: Floats, factor: float) -> Floats:
    side = images.shape[1]
    zoom = _zoom(factor, side)
    return apply_map(zoom, images) if side <= SMALL_SIDE else apply_line(zoom, images)


@lru_cache(maxsize=8)
def _zoom(factor: float, side: int) -> sparse.csr_array:
    return zoom_map(factor, side) if side <= SMALL_SIDE else zoom_line(factor, side).astype(np.float32)
