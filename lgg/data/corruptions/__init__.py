"""The corruptions of Hendrycks and Dietterich 2019, reimplemented with seeds, for many images at once and of any size."""

from typing import TYPE_CHECKING

from lgg._lazy import lazy_attributes
from lgg.data.corruption_names import EXTRA_NAMES, NAMES, SEVERITIES

_EXPORTS = {"corrupt": ".generate"}
__all__ = ["EXTRA_NAMES", "NAMES", "SEVERITIES", "corrupt"]

if TYPE_CHECKING:
    from lgg.data.corruptions.generate import corrupt

__getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)
