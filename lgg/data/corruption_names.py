"""Names and severities of the corruptions of CIFAR-10-C, without further imports, so that planning can check them."""

import difflib
from collections.abc import Sequence

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


def unknown_name(name: object, valid: Sequence[str]) -> str:
    """Return the message for a corruption `name` that is not one of `valid`."""
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    meant = f"; did you mean {close[0]!r}?" if close else "."
    return f"there is no corruption {name!r}{meant} Valid: {', '.join(valid)}"


def unknown_severity(severity: object) -> str:
    """Return the message for a severity that does not exist."""
    return f"there is no severity {severity!r}; severities are the integers {SEVERITIES[0]} to {SEVERITIES[-1]}"
