"""Noise, independent for every pixel and channel."""

import numpy as np

from lgg.data.corruptions.constants import constants_of
from lgg.data.corruptions.pixels import Bytes, to_bytes, to_unit
from lgg.data.corruptions.randomness import Streams


def gaussian_noise(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return x + c · n with n standard normal."""
    noisy = streams.normal(*images.shape[1:])
    noisy *= np.float32(constants_of(images.shape[1]).gaussian_noise[severity - 1])
    noisy += to_unit(images)
    return to_bytes(noisy)


def shot_noise(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return Poisson(c · x) / c."""
    photons = constants_of(images.shape[1]).shot_noise[severity - 1]
    counts = streams.poisson(images * (photons / 255))
    counts /= np.float32(photons)
    return to_bytes(counts)


def impulse_noise(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return images in which a share c of the values is set to black or white, equally likely."""
    share = constants_of(images.shape[1]).impulse_noise[severity - 1]
    chance = streams.uniform(*images.shape[1:])
    noisy = np.where(chance < share / 2, np.uint8(0), images)
    noisy[chance >= 1 - share / 2] = 255
    return noisy


def speckle_noise(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return x + x · c · n with n standard normal."""
    noisy = streams.normal(*images.shape[1:])
    noisy *= np.float32(constants_of(images.shape[1]).speckle_noise[severity - 1])
    noisy += 1
    noisy *= to_unit(images)
    return to_bytes(noisy)
