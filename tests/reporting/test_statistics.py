import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lgg.reporting.statistics import paired_difference, seeds_to_decide, summarize

SAMPLES = st.lists(st.floats(-100, 100).map(lambda value: round(value, 3)), min_size=2, max_size=12)


@given(SAMPLES.filter(lambda values: len(set(values)) > 1))
def test_summary_agrees_with_scipy(values):
    summary = summarize(values)
    expected = stats.ttest_1samp(values, 0.0)
    interval = expected.confidence_interval(0.95)
    assert summary.n == len(values)
    assert summary.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert summary.std == pytest.approx(stats.tstd(values), rel=1e-9)
    assert summary.ci95_low == pytest.approx(interval.low, rel=1e-6, abs=1e-6)
    assert summary.ci95_high == pytest.approx(interval.high, rel=1e-6, abs=1e-6)
    assert summary.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)


def test_the_interval_covers_the_mean_in_95_of_100_samples():
    random = np.random.default_rng(0)
    trials = 2000
    covered = sum(
        summary.ci95_low <= 3.0 <= summary.ci95_high
        for summary in (summarize(random.normal(3.0, 2.0, size=5)) for _ in range(trials))
    )
    # four standard errors of a proportion of 0.95
    assert abs(covered / trials - 0.95) < 4 * math.sqrt(0.95 * 0.05 / trials)


def test_one_value_has_no_spread():
    summary = summarize([7.0])
    assert (summary.n, summary.mean) == (1, 7.0)
    assert all(math.isnan(value) for value in (summary.std, summary.ci95_low, summary.ci95_high, summary.p_value))


@pytest.mark.parametrize("values", [[2.0, 2.0], [0.0, 0.0], [14.0 - 10.3, 15.5 - 11.8]])
def test_equal_values_have_no_spread_to_test_against(values):
    summary = summarize(values)
    assert summary.std == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(summary.p_value)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_nothing_to_summarise_is_refused(values):
    with pytest.raises(ValueError, match="at least one value, all finite"):
        summarize(values)


def test_differences_are_paired_by_seed():
    first, second = {0: 10.0, 1: 12.0, 2: 50.0}, {1: 11.0, 0: 8.0, 7: 0.0}
    difference = paired_difference(first, second)
    assert (difference.n, difference.mean) == (2, 1.5)
    with pytest.raises(ValueError, match="no seed is shared"):
        paired_difference({0: 1.0}, {1: 1.0})


@pytest.mark.parametrize(("size", "n"), [(0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_to_decide_are_those_of_published_tables_of_power(size, n):
    """Of the one-sample t-test, two-sided at 5 %, power 80 %; the effect is the mean in standard deviations."""
    assert seeds_to_decide(3 * size, 3.0) == seeds_to_decide(-size, 1.0) == n


def test_with_that_many_seeds_the_test_is_significant_four_times_in_five():
    n = seeds_to_decide(1.2, 1.0)
    draws = np.random.default_rng(0).normal(1.2, 1.0, size=(4000, n))
    significant = np.mean([summarize(values).p_value < 0.05 for values in draws])
    fewer = np.mean([summarize(values[:-1]).p_value < 0.05 for values in draws])
    assert fewer < 0.82
    assert significant > 0.78


def test_seeds_that_would_decide_nothing():
    assert seeds_to_decide(0.0, 1.0) is None
    assert seeds_to_decide(0.01, 1.0) is None
    assert seeds_to_decide(1.0, math.nan) is None
    assert seeds_to_decide(0.0, 0.0) is None
    assert seeds_to_decide(1.0, 0.0) == 2
