import math
import re
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lgg.reporting.comparison_table import Comparison, comparison_table, write_table
from lgg.reporting.measures import Measure
from lgg.reporting.tables import FORMS

CLEAN, FGSM = Measure("clean_error", "Clean error"), Measure("fgsm_error", "FGSM error")
ACCURACY = Measure("accuracy", "Accuracy", better="higher", digits=1)
MARGIN = Measure("margin", "Margin", unit="", better="higher")
ROWS = [
    {"name": "baseline", "label": "Baseline", "paper": {"clean_error": 11.1, "fgsm_error": 66.3}},
    {"name": "parseval", "label": "Parseval & co_1", "paper": {"clean_error": 10.3, "fgsm_error": 55.0}},
    {"name": "regularizer", "label": "Regularizer", "paper": {"clean_error": None}},
]


@pytest.fixture
def values():
    return {
        "baseline": {"clean_error": {0: 11.0, 1: 13.0, 2: 12.0}, "fgsm_error": {0: 60.0, 1: 70.0, 2: 65.0}},
        # other order of seeds: pairing must go by seed
        "parseval": {"clean_error": {2: 11.5, 1: 12.5, 0: 9.0}, "fgsm_error": {0: 50.0, 1: 61.0, 2: 54.0}},
        "regularizer": {"clean_error": {0: 13.0, 1: 14.0, 2: 15.0}},
    }


def build(values, measures=(CLEAN, FGSM), rows=ROWS):
    return comparison_table(rows, values, measures, "baseline", images={measure.name: 10_000 for measure in measures})


def write(tmp_path, table, measures=(CLEAN, FGSM), legend=()):
    paths = {form: tmp_path / f"t.{form}" for form in FORMS}
    write_table(Comparison(table, measures), legend, title="Table 3", files=paths)
    return tuple(paths[form].read_text(encoding="utf-8") for form in ("csv", "md", "tex"))


def tables_of(markdown):
    """Return each Markdown table as a list of rows, each a list of cells."""
    tables = []
    for block in markdown.split("\n\n"):
        if block.startswith("|"):
            lines = block.splitlines()
            tables.append([[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])])
    return tables


def test_every_row_has_its_summary_and_its_difference(values):
    table = build(values).set_index("name")
    assert table["clean_error_mean"].to_dict() == {"baseline": 12.0, "parseval": 11.0, "regularizer": 14.0}
    assert table["clean_error_std"]["baseline"] == 1.0
    # Student's t for two degrees of freedom: 4.302653; 1 / sqrt(3) = 0.577350
    assert table["clean_error_ci95_low"]["baseline"] == pytest.approx(12.0 - 4.302653 * 0.577350, abs=1e-5)
    assert table["clean_error_ci95_high"]["baseline"] == pytest.approx(12.0 + 4.302653 * 0.577350, abs=1e-5)
    # seed by seed −2.0, −0.5, −0.5
    parseval = table.loc["parseval"]
    assert parseval["clean_error_difference_mean"] == pytest.approx(-1.0)
    assert parseval["clean_error_difference_std"] == pytest.approx(math.sqrt(0.75))
    test = stats.ttest_rel([9.0, 12.5, 11.5], [11.0, 13.0, 12.0])
    assert parseval["clean_error_p_value"] == pytest.approx(test.pvalue)
    interval = test.confidence_interval(0.95)
    assert parseval["clean_error_difference_ci95_low"] == pytest.approx(interval.low)
    assert parseval["clean_error_difference_ci95_high"] == pytest.approx(interval.high)
    assert table["paper_clean_error"]["parseval"] == 10.3
    assert set(table["seeds"]) == {3}
    assert set(table["clean_error_images"]) == {10_000}


def test_the_baseline_is_not_compared_with_itself(values):
    baseline = build(values).set_index("name").loc["baseline"]
    compared = [column for column in baseline.index if "difference" in column or column.endswith("p_value")]
    assert len(compared) == 12
    assert all(
        baseline[column] == 0 if column.endswith("_seeds") else math.isnan(baseline[column]) for column in compared
    )


def test_a_row_may_lack_a_measure_and_a_published_figure(values):
    regularizer = build(values).set_index("name").loc["regularizer"]
    assert regularizer["fgsm_error_seeds"] == 0
    assert all(math.isnan(regularizer[f"fgsm_error_{part}"]) for part in ("mean", "difference_mean", "p_value"))
    assert math.isnan(regularizer["paper_clean_error"])
    assert math.isnan(regularizer["paper_fgsm_error"])


@given(st.dictionaries(st.integers(0, 9), st.floats(0, 100), min_size=1), st.floats(-20, 20))
def test_a_constant_shift_is_the_difference_at_every_number_of_seeds(errors, shift):
    shifted = {seed: error + shift for seed, error in errors.items()}
    values = {"baseline": {"clean_error": errors}, "parseval": {"clean_error": shifted}}
    row = build(values, (CLEAN,), ROWS[:2]).set_index("name").loc["parseval"]
    assert row["clean_error_difference_mean"] == pytest.approx(shift, abs=1e-9)
    assert row["clean_error_difference_seeds"] == row["clean_error_seeds"] == row["seeds"] == len(errors)


def test_a_difference_is_over_the_seeds_that_both_have(values, tmp_path):
    del values["baseline"]["fgsm_error"][2]
    table = build(values)
    parseval = table.set_index("name").loc["parseval"]
    assert parseval["fgsm_error_difference_mean"] == pytest.approx((-10.0 - 9.0) / 2)
    assert (parseval["fgsm_error_seeds"], parseval["fgsm_error_difference_seeds"]) == (3, 2)
    _, markdown, _ = write(tmp_path, table)
    means, differences = tables_of(markdown)
    assert means[1][3].endswith("(n = 2)")
    assert not means[2][3].endswith(")")
    assert differences[1][3].endswith("(n = 2)")
    assert "n: seeds of a cell that has fewer than its row." in markdown


def test_without_a_shared_seed_there_is_no_difference(values):
    values["parseval"]["fgsm_error"] = {7: 50.0}
    parseval = build(values).set_index("name").loc["parseval"]
    assert parseval["fgsm_error_mean"] == 50.0
    assert math.isnan(parseval["fgsm_error_difference_mean"])


@pytest.mark.parametrize("undefined", [math.nan, math.inf])
def test_what_is_not_a_number_is_undefined_and_never_best(values, tmp_path, undefined):
    values["parseval"]["fgsm_error"][1] = undefined
    values["regularizer"]["fgsm_error"] = {0: 40.0, 1: 41.0, 2: 42.0}
    table = build(values)
    assert math.isnan(table["fgsm_error_mean"][1])
    csv, markdown, latex = write(tmp_path, table)
    means, differences = tables_of(markdown)
    assert [row[3].partition(" ")[0] for row in means[1:]] == ["65.00", "undefined", "**41.00**"]
    assert differences[1][3:] == ["undefined", "–"]
    assert "undefined: a seed's value" in markdown
    for text in (csv, markdown, latex):
        assert "nan" not in text.lower()
        assert "inf" not in text.lower()


def test_an_undefined_baseline_leaves_no_difference(values):
    values["baseline"]["fgsm_error"][0] = math.nan
    table = build(values)
    assert table["fgsm_error_difference_mean"].isna().all()
    assert table["fgsm_error_mean"].notna().tolist() == [False, True, False]


def test_differences_to_an_undefined_baseline_are_undefined(values, tmp_path):
    values["baseline"]["fgsm_error"][0] = math.nan
    _, markdown, _ = write(tmp_path, build(values))
    _, differences = tables_of(markdown)
    assert differences[1][3:] == ["undefined", "–"]


def test_seeds_that_agree_have_no_interval(values, tmp_path):
    values["parseval"]["clean_error"] = {seed: error + 2 for seed, error in values["baseline"]["clean_error"].items()}
    _, markdown, _ = write(tmp_path, build(values))
    _, differences = tables_of(markdown)
    assert differences[1][1:3] == ["+2.00 (equal)", "–"]
    assert "equal: all seeds have the same value" in markdown


def test_a_measure_that_means_little_has_no_best(values, tmp_path):
    table = build(values)
    _, markdown, _ = write(tmp_path, table, measures=(replace(CLEAN, bold=False), FGSM))
    means, _ = tables_of(markdown)
    assert not any(row[1].startswith("**") for row in means)
    # the paper's own figures are compared all the same
    assert any(row[2].startswith("**") for row in means)


def test_means_above_differences_below(values, tmp_path):
    _, markdown, latex = write(tmp_path, build(values), legend=["Paper: Table 3.", "A note."])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), build(values), check_dtype=False, rtol=1e-5)
    assert markdown.startswith("|")
    means, differences = tables_of(markdown)
    assert means[0] == ["", "Clean error (%) ↓", "Paper", "FGSM error (%) ↓", "Paper", "Seeds"]
    # 95 % interval of 9.0, 12.5, 11.5: 11 ± 4.302653 · 1.802776 / sqrt(3)
    assert means[2] == [
        "Parseval & co_1",
        "**11.00** ± 1.80 [6.52, 15.48]",
        "**10.3**",
        "**55.00** ± 5.57 [41.17, 68.83]",
        "**55.0**",
        "3",
    ]
    assert means[3][2:5] == ["–", "–", "–"]
    assert "**Difference to the baseline, paired by seed**" in markdown
    assert differences[0] == ["", "Clean error (points) ↓", "p", "FGSM error (points) ↓", "p"]
    assert [row[0] for row in differences[1:]] == ["Parseval & co_1", "Regularizer"]
    assert differences[1][1:3] == ["-1.00 ± 0.87 [-3.15, +1.15]", "0.18"]
    assert markdown.endswith("Paper: Table 3.\n\nA note.\n")
    for part in ("10,000 test images", "minus “Baseline”", "two-sided paired t-test"):
        assert part in markdown
    assert latex.count(r"\begin{tabular}") == 2
    assert r"Parseval \& co\_1 & \textbf{11.00} $\pm$ 1.80 [6.52, 15.48] & \textbf{10.3}" in latex
    assert "% A note." in latex.splitlines()


def test_one_seed_claims_nothing(values, tmp_path):
    single = {name: {measure: {0: own[measure][0]} for measure in own} for name, own in values.items()}
    _, markdown, _ = write(tmp_path, build(single))
    means, differences = tables_of(markdown)
    assert [row[1] for row in means[1:]] == ["11.00", "**9.00**", "13.00"]
    assert differences[1:] == [
        ["Parseval & co_1", "-2.00", "–", "-10.00", "–"],
        ["Regularizer", "+2.00", "–", "–", "–"],
    ]


BEST = [
    (CLEAN, [3.0, 1.0, 2.0], [False, True, False]),
    (ACCURACY, [3.0, 1.0, 2.0], [True, False, False]),
    (CLEAN, [1.001, 1.004, 2.0], [True, True, False]),
    (ACCURACY, [2.04, 1.96, 2.06], [False, False, True]),
    (CLEAN, [1.0, 1.0, 1.0], [False, False, False]),
    (MARGIN, [-1.0, -2.0, math.nan], [True, False, False]),
    (CLEAN, [1.0, math.nan, math.nan], [False, False, False]),
]


@pytest.mark.parametrize(("measure", "means", "expected"), BEST)
def test_the_best_is_bold(tmp_path, measure, means, expected):
    values = {row["name"]: {measure.name: {0: mean}} for row, mean in zip(ROWS, means, strict=True)}
    rows = [row | {"paper": {measure.name: mean}} for row, mean in zip(ROWS, means, strict=True)]
    _, markdown, latex = write(tmp_path, build(values, (measure,), rows), (measure,))
    assert [row[1].startswith("**") for row in tables_of(markdown)[0][1:]] == expected
    lines = [re.split(r"(?<!\\) & ", line) for line in latex.splitlines() if line.endswith("& 1 \\\\")]
    assert [r"\textbf" in cells[1] for cells in lines] == expected


def test_published_figures_are_best_by_all_their_digits(tmp_path, values):
    measure = Measure("clean_error", "Clean error", digits=0)
    rows = [row | {"paper": {"clean_error": figure}} for row, figure in zip(ROWS, (90.33, 90.31, None), strict=True)]
    _, markdown, _ = write(tmp_path, build(values, (measure,), rows), (measure,))
    assert [row[2] for row in tables_of(markdown)[0][1:]] == ["90.33", "**90.31**", "–"]


def test_at_most_four_measures_are_abreast(tmp_path):
    measures = [Measure(f"m{place}", f"Measure {place}", unit="s") for place in range(9)]
    values = {row["name"]: {measure.name: {0: 1.0, 1: 2.0} for measure in measures} for row in ROWS}
    rows = [row | {"paper": {}} for row in ROWS]
    _, markdown, _ = write(tmp_path, build(values, measures, rows), measures)
    tables = tables_of(markdown)
    headings = [[cell for cell in table[0] if cell.startswith("Measure")] for table in tables]
    assert headings == [[f"Measure {place + step} (s) ↓" for step in range(3)] for place in (0, 3, 6)] * 2
    assert "Paper" not in markdown.split("Measured")[0], "no column without a single published figure"


def test_the_legend_states_what_was_measured_on_fewer_images(values, tmp_path):
    for own in values.values():
        own["margin"] = {0: 1.0}
    images = {"fgsm_error": 500, "clean_error": 10_000, "margin": 10_000}
    measures = (FGSM, CLEAN, MARGIN)
    _, markdown, _ = write(tmp_path, comparison_table(ROWS, values, measures, "baseline", images=images), measures)
    assert "Measured on 10,000 test images (Clean error; Margin) and 500 test images (FGSM error): " in markdown


def test_a_baseline_alone_has_no_differences(values, tmp_path):
    _, markdown, _ = write(tmp_path, build({"baseline": values["baseline"]}, rows=ROWS[:1]))
    assert len(tables_of(markdown)) == 1


def test_what_does_not_fit_together_is_refused(values):
    with pytest.raises(ValueError, match=r"nothing for \['regularizer'\]"):
        build({name: values[name] for name in ("baseline", "parseval")})
    with pytest.raises(ValueError, match=r"nothing for \['other'\]"):
        comparison_table(ROWS, values, (CLEAN,), "other", images={"clean_error": 1})
    with pytest.raises(ValueError, match=r"how many images \['fgsm_error'\]"):
        comparison_table(ROWS, values, (CLEAN, FGSM), "baseline", images={"clean_error": 1})
    with pytest.raises(ValueError, match=r"no row has a value of \['accuracy'\]; there are"):
        build(values, (CLEAN, ACCURACY))
