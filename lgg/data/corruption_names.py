"""Names, severities and published sets of the corruptions, without further imports, so that planning can check them."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

# in the order of Hendrycks and Dietterich 2019, Section 3: noise, blur, weather, digital
NAMES = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
EXTRA_NAMES = ("speckle_noise", "gaussian_blur", "spatter", "saturate")  # not in the paper's mean
SEVERITIES = (1, 2, 3, 4, 5)
# side in pixels of the images for which Hendrycks and Dietterich 2019 published constants
BENCHMARKS = {"CIFAR-10-C": 32, "Tiny-ImageNet-C": 64, "ImageNet-C": 224}


class Benchmark(NamedTuple):
    """A published set of corrupted images.

    Attributes:
        name: of the set.
        side: of its images, in pixels.
        exact: whether the images for which it was chosen have that side.
    """

    name: str
    side: int
    exact: bool


def benchmark_of(side: int) -> Benchmark:
    """Return the benchmark whose constants are used for images of `side` pixels.

    It is the one of that side, otherwise the nearest by ratio: CIFAR-10-C up to 45, Tiny-ImageNet-C up to 119.
    """
    name = min(BENCHMARKS, key=lambda one: max(side / BENCHMARKS[one], BENCHMARKS[one] / side))
    return Benchmark(name, BENCHMARKS[name], BENCHMARKS[name] == side)


def constants_note(side: int) -> str:
    """Return words for a legend: whose constants the corruptions of images of `side` pixels have."""
    name, own, exact = benchmark_of(side)
    return (
        f"constants of {name} ({own} pixels)" if exact else f"constants of {name} ({own} pixels), the nearest to {side}"
    )


def unknown_name(name: object, valid: Sequence[str]) -> str:
    """Return the message for a corruption `name` that is not one of `valid`."""
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    meant = f"; did you mean {close[0]!r}?" if close else "."
    return f"there is no corruption {name!r}{meant} Valid: {', '.join(valid)}"


def unknown_severity(severity: object) -> str:
    """Return the message for a severity that does not exist."""
    return f"there is no severity {severity!r}; severities are the integers {SEVERITIES[0]} to {SEVERITIES[-1]}"
