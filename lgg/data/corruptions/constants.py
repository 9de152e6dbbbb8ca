"""The constants of the three published sets of corrupted images, each for severities 1 to 5.

They are those of the generators by Hendrycks and Dietterich 2019. Fields are named after corruptions; the module of each
corruption explains how its constants are used. Lengths are in pixels and do not change with the image, except those of
elastic_transform and pixelate, which are relative to its side, and zoom factors.
"""

from dataclasses import dataclass
from typing import TypeVar

from lgg.data.corruption_names import benchmark_of

T = TypeVar("T")
Five = tuple[T, T, T, T, T]
Pair = tuple[float, float]
Drops = tuple[float, float, float, float, float, bool]
Flakes = tuple[float, float, float, float, int, float, float]


@dataclass(frozen=True, kw_only=True)
class Constants:
    """The constants of one set.

    Attributes:
        gaussian_noise: deviation of the noise; intensities are from 0 to 1.
        shot_noise: photons at white.
        impulse_noise: share of the values that become black or white.
        speckle_noise: deviation of the noise, relative to the intensity.
        defocus_blur: radius of the disk, deviation of the smoothing of its edge.
        glass_blur: deviation of the blur, farthest shift of a pixel, rounds of shuffling.
        motion_blur: radius, deviation.
        zoom_blur: end of the averaged zoom factors, their step; the first is 1.
        gaussian_blur: deviation.
        snow: mean and deviation of the flakes, their enlargement, smallest value of a flake, radius and deviation of their
            motion, weight of the image that is not whitened.
        frost: weight of the image, weight of the frost.
        fog: thickness, decay of the fractal's steps.
        brightness: summand.
        spatter: mean and deviation of the liquid, deviation of its blur, smallest value, strength (water) or blur (mud), and
            whether it is mud.
        contrast: factor.
        elastic_transform: strength and smoothness of the displacement, size of the affine displacement, all relative to the
            side of the image.
        pixelate: side of the small image, relative.
        jpeg_compression: quality.
        saturate: factor, summand.
    """

    gaussian_noise: Five[float]
    shot_noise: Five[int]
    impulse_noise: Five[float]
    speckle_noise: Five[float]
    defocus_blur: Five[Pair]
    glass_blur: Five[tuple[float, int, int]]
    motion_blur: Five[tuple[int, float]]
    zoom_blur: Five[Pair]
    gaussian_blur: Five[float]
    snow: Five[Flakes]
    frost: Five[Pair]
    fog: Five[Pair]
    brightness: Five[float]
    spatter: Five[Drops]
    contrast: Five[float]
    elastic_transform: Five[tuple[float, float, float]]
    pixelate: Five[float]
    jpeg_compression: Five[int]
    saturate: Five[Pair]


CIFAR_10_C = Constants(
    gaussian_noise=(0.04, 0.06, 0.08, 0.09, 0.10),
    shot_noise=(500, 250, 100, 75, 50),
    impulse_noise=(0.01, 0.02, 0.03, 0.05, 0.07),
    speckle_noise=(0.06, 0.1, 0.12, 0.16, 0.2),
    defocus_blur=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    glass_blur=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    motion_blur=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    zoom_blur=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    gaussian_blur=(0.4, 0.6, 0.7, 0.8, 1),
    snow=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    frost=((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    fog=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    brightness=(0.05, 0.1, 0.15, 0.2, 0.3),
    spatter=(
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
    contrast=(0.75, 0.5, 0.4, 0.3, 0.15),
    elastic_transform=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    pixelate=(0.95, 0.9, 0.85, 0.75, 0.65),
    jpeg_compression=(80, 65, 58, 50, 40),
    saturate=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
)

TINY_IMAGENET_C = Constants(
    gaussian_noise=(0.04, 0.08, 0.12, 0.15, 0.18),
    shot_noise=(250, 100, 50, 30, 15),
    impulse_noise=(0.01, 0.02, 0.05, 0.08, 0.14),
    speckle_noise=(0.15, 0.2, 0.25, 0.3, 0.35),
    defocus_blur=((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    glass_blur=((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    motion_blur=((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    zoom_blur=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    gaussian_blur=(0.5, 0.75, 1, 1.25, 1.5),
    snow=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    frost=((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    fog=((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    brightness=(0.1, 0.2, 0.3, 0.4, 0.5),
    spatter=(
        (0.62, 0.1, 0.7, 0.7, 0.6, False),
        (0.65, 0.1, 0.8, 0.7, 0.6, False),
        (0.65, 0.3, 1, 0.69, 0.6, False),
        (0.65, 0.1, 0.7, 0.68, 0.6, True),
        (0.65, 0.1, 0.5, 0.67, 0.6, True),
    ),
    contrast=(0.4, 0.3, 0.2, 0.1, 0.05),
    elastic_transform=((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
    pixelate=(0.9, 0.8, 0.7, 0.6, 0.5),
    jpeg_compression=(65, 58, 50, 40, 25),
    saturate=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
)

_SIDE = 244 / 224  # the generator of ImageNet-C takes 244 for the side of its images of 224

IMAGENET_C = Constants(
    gaussian_noise=(0.08, 0.12, 0.18, 0.26, 0.38),
    shot_noise=(60, 25, 12, 5, 3),
    impulse_noise=(0.03, 0.06, 0.09, 0.17, 0.27),
    speckle_noise=(0.15, 0.2, 0.35, 0.45, 0.6),
    defocus_blur=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    glass_blur=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    motion_blur=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    zoom_blur=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    gaussian_blur=(1, 2, 3, 4, 6),
    snow=(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    frost=((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    fog=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    brightness=(0.1, 0.2, 0.3, 0.4, 0.5),
    spatter=(
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    ),
    contrast=(0.4, 0.3, 0.2, 0.1, 0.05),
    elastic_transform=(
        (_SIDE * 2, _SIDE * 0.7, _SIDE * 0.1),
        (_SIDE * 2, _SIDE * 0.08, _SIDE * 0.2),
        (_SIDE * 0.05, _SIDE * 0.01, _SIDE * 0.02),
        (_SIDE * 0.07, _SIDE * 0.01, _SIDE * 0.02),
        (_SIDE * 0.12, _SIDE * 0.01, _SIDE * 0.02),
    ),
    pixelate=(0.6, 0.5, 0.4, 0.3, 0.25),
    jpeg_compression=(25, 18, 15, 10, 7),
    saturate=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
)

_BY_NAME = {"CIFAR-10-C": CIFAR_10_C, "Tiny-ImageNet-C": TINY_IMAGENET_C, "ImageNet-C": IMAGENET_C}


def constants_of(side: int) -> Constants:
    """Return the constants for images of `side` pixels, those of the set of that or the nearest side (`benchmark_of`)."""
    return _BY_NAME[benchmark_of(side).name]
