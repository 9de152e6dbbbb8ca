"""Procedural pictures of frost on glass, in place of the photographs of the official generator."""

import math
import threading
from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

COUNT = 5  # the official generator has six photographs and draws from the first five
SIDES = 5  # side of a texture, in sides of the image that is cut from it
CANVAS = 640  # side in pixels of the drawing, which is then reduced; twice that for larger textures
FERNS = (34, 46, 26, 58, 40)  # number of large crystals of each texture
HAZE = (0.25, 0.16, 0.36, 0.2, 0.3)  # share of white between them
ICE = ((0.86, 0.94, 1.0), (0.95, 0.98, 1.0), (0.78, 0.9, 1.0), (0.92, 0.96, 0.98), (0.84, 0.95, 0.97))  # RGB of ice
BRANCHING = math.radians(60)  # ice grows on a hexagonal lattice

_ONE_AT_A_TIME = threading.Lock()  # several workers need the textures at once; only one draws them


def frost_textures(side: int) -> NDArray[np.uint8]:
    """Return COUNT textures (COUNT, W, W, 3) for images of `side` pixels, W = 5 · side, the same on every call.

    W is at most 1,280 pixels, so that images of more than 256 have textures of fewer pixels than they should.

    Feathery ice crystals are drawn over a haze of varying density. The pictures scale with `side`, so the size of crystals
    relative to the image is constant. Their mean is about 100 of 255 and their deviation about 40, a guess at photographs
    of frost that does not claim the statistics of the official ones. Drawing takes seconds, once per process.
    """
    with _ONE_AT_A_TIME:
        return _textures(side)


@lru_cache(maxsize=2)
def _textures(side: int) -> NDArray[np.uint8]:
    scale = 1 if SIDES * side <= CANVAS else 2
    size = (min(SIDES * side, scale * CANVAS),) * 2
    pictures = (Image.fromarray(_texture(index, scale)) for index in range(COUNT))
    textures = np.stack([np.asarray(picture.resize(size, Image.Resampling.LANCZOS)) for picture in pictures])
    textures.flags.writeable = False
    return textures


@lru_cache(maxsize=COUNT)
def _texture(index: int, scale: int) -> NDArray[np.uint8]:
    side = scale * CANVAS
    chance, random = Random(index), np.random.Generator(np.random.Philox(key=index))
    canvas = Image.new("L", (side, side))
    draw = ImageDraw.Draw(canvas)
    for _ in range(FERNS[index]):
        root = (side * chance.random(), side * chance.random())
        _grow(draw, chance, root, 2 * math.pi * chance.random(), (0.2 + 0.35 * chance.random()) * side, 2, scale)
    crystals = ndimage.gaussian_filter(np.asarray(canvas, dtype=np.float32) / 255, 0.7 * scale)
    halo = ndimage.gaussian_filter(crystals, 6 * scale)
    cloud = ndimage.zoom(random.standard_normal((12, 12)), side / 12, order=3, mode="nearest", grid_mode=True)
    haze = HAZE[index] * (1 + 0.5 * np.tanh(cloud))
    # smoothing normal noise divides its deviation by the smoothing's, so that the grain is equally strong at each scale
    grain = ndimage.gaussian_filter(random.standard_normal((side, side)), scale) * (0.25 * scale)
    ice = np.clip(haze * (1 + grain) + 0.75 * crystals + 0.55 * halo, 0, 1)
    return np.asarray(255 * ice[..., None] * np.array(ICE[index]), dtype=np.uint8)


def _grow(
    draw: ImageDraw.ImageDraw,
    chance: Random,
    root: tuple[float, float],
    angle: float,
    length: float,
    order: int,
    scale: int,
) -> None:
    """Draw a crystal from `root` in the direction `angle` (radians), with branches on both sides down to order 0.

    Lengths are in pixels, of which a line has `scale` times as many.
    """
    steps = (1, 8, 16)[order]
    x, y = root
    for step in range(steps):
        left = 1 - step / steps
        angle += 0.1 * (chance.random() - 0.5)
        tip = (x + length / steps * math.cos(angle), y + length / steps * math.sin(angle))
        brightness = (140 + 50 * order) * (0.55 + 0.45 * left) * (0.7 + 0.3 * chance.random())
        width = scale * max(1, round(1.2 * (order + 1) * left))
        draw.line([(x, y), tip], fill=min(255, int(brightness)), width=width)
        x, y = tip
        if order and step:
            for sign in (-1, 1):
                reach = length * left * (0.2 + 0.25 * chance.random())
                _grow(draw, chance, tip, angle + sign * BRANCHING, reach, order - 1, scale)
