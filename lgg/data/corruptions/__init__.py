"""The corruptions of CIFAR-10-C (Hendrycks and Dietterich 2019), reimplemented with seeds and for many images at once."""

from typing import TYPE_CHECKING

from lgg._lazy import lazy_attributes
from lgg.data.corruption_names import EXTRA_NAMES, NAMES, SEVERITIES

_EXPORTS = {"corrupt": ".generate"}
__all__ = ["EXTRA_NAMES", "NAMES", "SEVERITIES", "corrupt"]

if TYPE_CHECKING:
    from lgg.data.corruptions.generate import corrupt

__getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)
