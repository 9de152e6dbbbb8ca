"""Mean, spread and confidence interval over seeds, and differences paired by seed."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import nctdtr, stdtr, stdtrit


@dataclass(frozen=True)
class Summary:
    """Summary of n values.

    Attributes:
        n: number of values.
        mean: of the values.
        std: sample standard deviation (n − 1 in the denominator); NaN if n is 1.
        ci95_low, ci95_high: 95 % confidence interval of the mean by Student's t; NaN if n is 1.
        p_value: two-sided t-test of mean zero; NaN if n is 1 or the values are equal. Meaningful only
            for differences.
    """

    n: int
    mean: float
    std: float
    ci95_low: float
    ci95_high: float
    p_value: float


def summarize(values: Iterable[float]) -> Summary:
    """Return the summary of `values`; ValueError if there are none, or if one is not finite."""
    array = np.fromiter(values, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"a summary needs at least one value, all finite, not {array.tolist()}")
    n, mean = array.size, float(array.mean())
    if n == 1:
        return Summary(1, mean, math.nan, math.nan, math.nan, math.nan)
    std = float(array.std(ddof=1))
    error = std / math.sqrt(n)
    margin = float(stdtrit(n - 1, 0.975)) * error
    # values that are equal up to rounding have no spread to test against
    spread = std > 1e-9 * float(np.abs(array).max())
    p_value = 2.0 * float(stdtr(n - 1, -abs(mean) / error)) if spread else math.nan
    return Summary(n, mean, std, mean - margin, mean + margin, p_value)


def seeds_to_decide(mean: float, std: float, power: float = 0.8, most: int = 1000) -> int | None:
    """Return how many values make a two-sided t-test of mean zero at 5 % significant with probability `power`.

    The values are normal with this mean and standard deviation. None if it would take more than `most`, or if either is not
    finite. From a few values both are estimates, and so is this.
    """
    if not (math.isfinite(mean) and math.isfinite(std)):
        return None
    for n in range(2, most + 1):
        critical = float(stdtrit(n - 1, 0.975))
        shift = abs(mean) / std * math.sqrt(n) if std > 0 else math.inf if mean else 0.0
        # beyond the critical value on the side of the mean; the other side hardly adds
        if shift - critical > 38 or 1 - float(nctdtr(n - 1, shift, critical)) >= power:
            return n
    return None


def paired_difference(first: dict[int, float], second: dict[int, float]) -> Summary:
    """Return the summary of first − second over the seeds that both have; the keys are seeds.

    Raises ValueError if they share no seed.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise ValueError(f"no seed is shared by {sorted(first)} and {sorted(second)}")
    return summarize([first[seed] - second[seed] for seed in shared])
