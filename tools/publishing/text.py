"""Numbers, intervals and tables as the pages have them."""

import math
from collections.abc import Iterable, Sequence

from lgg.reporting.measures import Measure
from lgg.reporting.statistics import Summary
from publishing.published_run import Row

NOT_YET = "*Not published yet.*\n"


def number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def signed(value: float, digits: int = 2) -> str:
    return "–" if math.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def mean_of(row: Row, measure: Measure) -> str:
    """Return a mean over seeds, with its standard deviation where there are several."""
    std = row[f"{measure.name}_std"]
    return number(row[f"{measure.name}_mean"]) + (f" ± {number(std)}" if math.isfinite(std) else "")


def interval(found: Summary) -> str:
    return "" if math.isnan(found.ci95_low) else f" [{signed(found.ci95_low)}, {signed(found.ci95_high)}]"


def with_interval(found: Summary) -> str:
    return signed(found.mean) + interval(found)


def outputs_of(normalization: bool | str, attraction: float) -> str:
    """Return how the outputs of label variation are normalised, and with how much attraction, in words."""
    normalized = {True: "unit length", "unit length": "unit length", "batch": "variance 1", False: "any length"}
    return normalized[normalization] + (f", attraction {attraction:g}" if attraction else "")


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
