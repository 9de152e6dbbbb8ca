"""Relative and plain MCE compared with explicit arithmetic."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lgg.reporting.corruption_error import (
    faint_corruptions,
    mean_corruption_error,
    plain_mce,
    relative_mce,
    undefined_corruptions,
)

COLUMNS = ["seed", "corruption", "severity", "error"]


def table(errors):
    """A table from {seed: {corruption: errors at severity 1, 2, ...}}, the clean error under "none"."""
    rows = []
    for seed, by_corruption in errors.items():
        for corruption, values in by_corruption.items():
            first = 0 if corruption == "none" else 1
            rows += [(seed, corruption, severity, value) for severity, value in enumerate(values, start=first)]
    return pd.DataFrame(rows, columns=COLUMNS)


BASELINE = table(
    {
        0: {"none": [4.0], "fog": [6.0, 10.0], "snow": [10.0, 16.0]},
        1: {"none": [6.0], "fog": [10.0, 14.0], "snow": [12.0, 22.0]},
    }
)
ERRORS = table({7: {"none": [6.0], "fog": [9.0, 12.0], "snow": [11.0, 13.0]}})


def test_worked_example():
    # the baseline's means over seeds: clean 5, fog 8 and 12, snow 11 and 19
    # its rises: fog 3 + 7 = 10, snow 6 + 14 = 20
    # ours: fog 3 + 6 = 9, snow 5 + 7 = 12
    assert relative_mce(ERRORS, BASELINE) == {7: pytest.approx(100 * (9 / 10 + 12 / 20) / 2)}
    # sums: the baseline's fog 20, snow 30; ours fog 21, snow 24
    assert plain_mce(ERRORS, BASELINE) == {7: pytest.approx(100 * (21 / 20 + 24 / 30) / 2)}
    # means: fog 10.5, snow 12
    assert mean_corruption_error(ERRORS) == {7: pytest.approx((10.5 + 12) / 2)}
    assert undefined_corruptions(BASELINE) == []


def test_corruptions_have_equal_weight_for_any_number_of_severities():
    errors = table({0: {"none": [1.0], "fog": [4.0, 6.0, 8.0], "snow": [10.0]}})
    assert mean_corruption_error(errors) == {0: pytest.approx((6 + 10) / 2)}
    assert relative_mce(errors, table({0: {"none": [1.0], "fog": [2.0, 3.0, 4.0], "snow": [4.0]}})) == {
        # fog 3 + 5 + 7 over 1 + 2 + 3, snow 9 over 3
        0: pytest.approx(100 * (15 / 6 + 9 / 3) / 2)
    }


def test_results_are_plain_numbers_by_seed():
    for function in (relative_mce, plain_mce):
        values = function(BASELINE, BASELINE)
        assert [type(seed) for seed in values] == [int, int]
        assert [type(value) for value in values.values()] == [float, float]
    assert list(mean_corruption_error(BASELINE)) == [0, 1]


def test_order_of_rows_and_columns_does_not_matter():
    expected = relative_mce(BASELINE, ERRORS)
    shuffled = BASELINE.sample(frac=1, random_state=0)[["error", "severity", "seed", "corruption"]]
    assert relative_mce(shuffled, ERRORS.iloc[::-1]) == {seed: pytest.approx(v) for seed, v in expected.items()}


@st.composite
def tables(draw):
    """Errors and a baseline with the same corruptions and severities but different seeds.

    The baseline's errors on corrupted images exceed its clean errors.
    """
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    names = ["fog", "snow", "frost"][: draw(st.integers(1, 3))]
    severities = draw(st.integers(1, 4))
    made = []
    for clean, lowest in ((100, 0), (10, 11)):
        seeds = random.choice(99, draw(st.integers(1, 4)), replace=False).tolist()
        made.append(
            table(
                {
                    seed: {"none": [random.uniform(0, clean)]}
                    | {name: random.uniform(lowest, 100, severities).tolist() for name in names}
                    for seed in seeds
                }
            )
        )
    return made


def averaged_over_seeds(errors):
    return errors.groupby(["corruption", "severity"], as_index=False)["error"].mean().assign(seed=0)[COLUMNS]


def by_definition(errors, baseline, relative):
    """The measure of one network relative to another, computed from dictionaries."""
    ours, theirs = (
        {(row.corruption, row.severity): row.error for row in frame.itertuples()} for frame in (errors, baseline)
    )
    ratios = []
    for name in {corruption for corruption, _ in ours if corruption != "none"}:
        keys = [key for key in ours if key[0] == name]
        numerator = sum(ours[key] - relative * ours["none", 0] for key in keys)
        denominator = sum(theirs[key] - relative * theirs["none", 0] for key in keys)
        ratios.append(numerator / denominator)
    return 100 * sum(ratios) / len(ratios)


@given(made=tables(), relative=st.booleans())
@settings(max_examples=25, deadline=None)
def test_mean_over_seeds_is_the_definition_for_errors_averaged_first(made, relative):
    errors, baseline = made
    values = (relative_mce if relative else plain_mce)(errors, baseline)
    assert set(values) == set(errors["seed"])
    expected = by_definition(averaged_over_seeds(errors), averaged_over_seeds(baseline), relative)
    # rises can cancel, so values can be hundreds of percent
    assert sum(values.values()) / len(values) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    for seed, value in values.items():
        alone = by_definition(errors[errors["seed"] == seed], averaged_over_seeds(baseline), relative)
        assert value == pytest.approx(alone, rel=1e-9, abs=1e-9)


@given(made=tables())
@settings(max_examples=25, deadline=None)
def test_baseline_against_itself_has_a_mean_of_100(made):
    _, baseline = made
    for function in (relative_mce, plain_mce):
        values = function(baseline, baseline)
        assert sum(values.values()) / len(values) == pytest.approx(100)


@given(made=tables(), share=st.floats(0, 1))
@settings(max_examples=15, deadline=None)
def test_measures_are_linear_in_the_errors(made, share):
    errors, baseline = made
    one, two = averaged_over_seeds(errors), averaged_over_seeds(baseline)
    mixed = one.assign(error=share * one["error"] + (1 - share) * two["error"])
    for function in (relative_mce, plain_mce, lambda frame, _: mean_corruption_error(frame)):
        first, second, both = (function(frame, baseline)[0] for frame in (one, two, mixed))
        assert both == pytest.approx(share * first + (1 - share) * second, rel=1e-9, abs=1e-9)


def test_relative_measure_is_invariant_to_a_constant_added_to_all_errors():
    more = ERRORS.assign(error=ERRORS["error"] + 20)
    assert relative_mce(more, BASELINE)[7] == pytest.approx(relative_mce(ERRORS, BASELINE)[7])
    assert plain_mce(more, BASELINE)[7] > plain_mce(ERRORS, BASELINE)[7] + 1


def test_no_rise_of_the_baseline_makes_the_relative_measure_undefined():
    # brightness falls by 1 and rises by 1, up to rounding
    flat = table({0: {"none": [0.3], "brightness": [0.1 + 0.1, 0.2 + 0.2], "fog": [3.0, 4.0], "snow": [0.1, 0.2]}})
    errors = table(
        {3: {"none": [1.0], "brightness": [2.0, 3.0], "fog": [3.0, 4.0], "snow": [3.0, 4.0]}}
        | {4: {"none": [1.0], "brightness": [2.0, 3.0], "fog": [3.0, 4.0], "snow": [3.0, 4.0]}}
    )
    assert undefined_corruptions(flat) == ["brightness", "snow"]
    values = relative_mce(errors, flat)
    assert list(values) == [3, 4]
    assert all(math.isnan(value) for value in values.values())
    assert plain_mce(errors, flat)[3] == pytest.approx(100 * (5 / 0.6 + 7 / 7 + 7 / 0.3) / 3)


def test_no_error_of_the_baseline_makes_the_plain_measure_undefined():
    perfect = table({0: {"none": [0.0], "fog": [0.0, 0.0], "snow": [1.0, 2.0]}})
    errors = table({0: {"none": [0.0], "fog": [0.0, 1.0], "snow": [1.0, 2.0]}})
    assert math.isnan(plain_mce(errors, perfect)[0])
    assert undefined_corruptions(perfect) == ["fog"]


CALLS = [
    (lambda frame: relative_mce(frame, BASELINE), "errors"),
    (lambda frame: plain_mce(ERRORS, frame), "baseline"),
    (mean_corruption_error, "errors"),
    (undefined_corruptions, "baseline"),
]


@pytest.mark.parametrize(("call", "name"), CALLS)
@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (BASELINE.drop(columns=["severity", "error"]), "missing column severity, error"),
        (pd.concat([BASELINE, BASELINE.iloc[[3]]]), "duplicate row for seed 0, corruption snow, severity 1"),
        (BASELINE.drop(index=5), r'seed 1 has no clean error \(corruption "none", severity 0\)'),
        (BASELINE.drop(index=7), "seed 1, corruption fog, severity 2 is missing"),
        (BASELINE.assign(error=math.nan), "seed 0, corruption fog, severity 1 is missing or not a number"),
        (BASELINE[BASELINE["corruption"] == "none"], "there are no errors on corrupted images"),
        (BASELINE[:0], "there are no errors on corrupted images"),
        (BASELINE.replace({"severity": {0: 1}}), "seed 0, corruption none, severity 1 is neither clean"),
        (BASELINE.replace({"severity": {2: 0}}), "seed 0, corruption fog, severity 0 is neither clean"),
    ],
)
def test_incomplete_tables_are_refused(call, name, frame, message):
    with pytest.raises(ValueError, match=f"^{name}: {message}"):
        call(frame)


@pytest.mark.parametrize("function", [relative_mce, plain_mce])
def test_tables_that_differ_in_corruptions_or_severities_are_refused(function):
    fewer = BASELINE[BASELINE["corruption"] != "snow"]
    with pytest.raises(ValueError, match="corruption snow, severity 1 is missing from the baseline"):
        function(ERRORS, fewer)
    with pytest.raises(ValueError, match="corruption snow, severity 1 is missing from the errors"):
        function(fewer, ERRORS)
    with pytest.raises(ValueError, match="corruption fog, severity 2 is missing from the baseline"):
        function(ERRORS, BASELINE[BASELINE["severity"] < 2])


def test_a_rise_of_less_than_an_image_in_a_set_is_faint():
    """Means over two seeds and two severities: fog rises by 0.4 points, snow by 1.6, frost not at all."""
    baseline = table(
        {
            0: {"none": [4.0], "fog": [4.2, 4.8], "snow": [5.0, 6.0], "frost": [4.0, 4.0]},
            1: {"none": [6.0], "fog": [6.0, 6.6], "snow": [7.0, 8.4], "frost": [5.0, 6.0]},
        }
    )
    assert faint_corruptions(baseline, images=100) == ["fog"]
    assert faint_corruptions(baseline, images=50) == ["fog", "snow"]
    assert faint_corruptions(baseline, images=1000) == []
    assert undefined_corruptions(baseline) == ["frost"]
