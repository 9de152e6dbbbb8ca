"""Noise, independent for every pixel and channel. Nothing here depends on the size of the image."""

import numpy as np

from lgg.data.corruptions.pixels import Bytes, to_bytes, to_unit
from lgg.data.corruptions.randomness import Streams

GAUSSIAN_DEVIATION = (0.04, 0.06, 0.08, 0.09, 0.10)  # of intensities from 0 to 1
PHOTONS_AT_WHITE = (500, 250, 100, 75, 50)
IMPULSE_SHARE = (0.01, 0.02, 0.03, 0.05, 0.07)
SPECKLE_DEVIATION = (0.06, 0.1, 0.12, 0.16, 0.2)  # relative to the intensity


def gaussian_noise(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return x + c · n with n standard normal."""
    noisy = streams.normal(*images.shape[1:])
    noisy *= np.float32(GAUSSIAN_DEVIATION[severity - 1])
    noisy += to_unit(images)
    return to_bytes(noisy)


def shot_noise(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return Poisson(c · x) / c."""
    photons = PHOTONS_AT_WHITE[severity - 1]
    counts = streams.poisson(images * (photons / 255))
    counts /= np.float32(photons)
    return to_bytes(counts)


def impulse_noise(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return images in which a share c of the values is set to black or white, equally likely."""
    share = IMPULSE_SHARE[severity - 1]
    chance = streams.uniform(*images.shape[1:])
    noisy = np.where(chance < share / 2, np.uint8(0), images)
    noisy[chance >= 1 - share / 2] = 255
    return noisy


def speckle_noise(images: Bytes, severity: int, streams: Streams) -> Bytes:
    """Return x + x · c · n with n standard normal."""
    noisy = streams.normal(*images.shape[1:])
    noisy *= np.float32(SPECKLE_DEVIATION[severity - 1])
    noisy += 1
    noisy *= to_unit(images)
    return to_bytes(noisy)
