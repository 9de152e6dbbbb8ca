"""Tables of methods by measures, each method compared with a baseline: Tables 2, 3 and the further robustness tests."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from lgg.reporting.measures import Measure
from lgg.reporting.statistics import Summary, paired_difference, summarize
from lgg.reporting.tables import ABSENT, bold, equal_note, interval_cells, number_cell, summary_columns, write_forms

UNDEFINED = "undefined"
MEASURES_ABREAST = 4  # beyond that a line of "mean ± std [low, high]" no longer fits a page


@dataclass(frozen=True)
class Comparison:
    """A table with what is needed to write it.

    Attributes:
        table: as `comparison_table` returns it.
        measures: its columns, in order.
        notes: paragraphs of the legend on how the measures were taken.
    """

    table: pd.DataFrame
    measures: Sequence[Measure]
    notes: Sequence[str] = ()


def comparison_table(
    rows: Sequence[Mapping[str, Any]],
    values: Mapping[str, Mapping[str, Mapping[int, float]]],
    measures: Sequence[Measure],
    baseline: str,
    *,
    images: Mapping[str, int],
) -> pd.DataFrame:
    """Return one row per method with, for each measure, its summary, its difference to the baseline and the paper's figure.

    Args:
        rows: in order; each with `name`, `label` and `paper`, the paper's figures by measure.
        values: by row, measure and seed. A row may lack a measure; a measure with a value that is not finite is undefined
            for that row, since a mean over the remaining seeds would describe another population.
        measures: in order.
        baseline: name of the row that the others are compared with.
        images: number of test images behind each value, by measure.

    For each measure the columns _mean, _std, _ci95_low, _ci95_high and _seeds (how many have a value), the same after
    {measure}_difference (row − baseline over the seeds that both have; NaN for the baseline itself), {measure}_p_value
    (two-sided paired t-test; NaN with one seed), {measure}_images and paper_{measure}. Raises ValueError if a row or the
    baseline has no values, or if a measure has no value in any row or no number of images.
    """
    names = [row["name"] for row in rows]
    if missing := [name for name in (*names, baseline) if name not in values or name not in names]:
        raise ValueError(f"rows {names} need values each, and the baseline is one of them: nothing for {missing}")
    available = {name for own in values.values() for name, by_seed in own.items() if by_seed}
    if unmeasured := [measure.name for measure in measures if measure.name not in available]:
        raise ValueError(f"no row has a value of {unmeasured}; there are {sorted(available)}")
    if uncounted := [measure.name for measure in measures if measure.name not in images]:
        raise ValueError(f"how many images {uncounted} were measured on must be given; images has {sorted(images)}")
    table = []
    for row in rows:
        own = values[row["name"]]
        columns: dict[str, Any] = {
            "name": row["name"],
            "label": row["label"],
            "baseline": baseline,
            "seeds": len({seed for measure in measures for seed in own.get(measure.name, {})}),
        }
        for measure in measures:
            measured, reference = own.get(measure.name, {}), values[baseline].get(measure.name, {})
            difference = _difference(measured, reference) if row["name"] != baseline else None
            columns |= summary_columns(measure.name, summarize(measured.values()) if _is_defined(measured) else None)
            columns[f"{measure.name}_seeds"] = len(measured)
            columns |= summary_columns(f"{measure.name}_difference", difference)
            columns[f"{measure.name}_difference_seeds"] = difference.n if difference else 0
            columns[f"{measure.name}_p_value"] = difference.p_value if difference else math.nan
            columns[f"{measure.name}_images"] = images[measure.name]
            columns[measure.paper_column] = measure.paper_figure(row)
        table.append(columns)
    return pd.DataFrame(table)


def shows_paper(table: pd.DataFrame) -> bool:
    """Return whether a table of `comparison_table` has any of the paper's figures."""
    return bool(table.filter(like="paper_").notna().any(axis=None))


def _is_defined(measured: Mapping[int, float]) -> bool:
    return bool(measured) and all(math.isfinite(value) for value in measured.values())


def _difference(measured: Mapping[int, float], reference: Mapping[int, float]) -> Summary | None:
    if not (_is_defined(measured) and _is_defined(reference) and measured.keys() & reference.keys()):
        return None
    return paired_difference(dict(measured), dict(reference))


def write_table(comparison: Comparison, legend: Sequence[str], *, title: str, files: Mapping[str, Path]) -> None:
    """Write a comparison to `files`, by form, each atomically.

    All forms but the CSV show the means with the paper's figures, at most four measures side by side, and the differences to
    the baseline below. The table's legend starts with the meaning of the columns, followed by `legend`: the paper's source,
    what was trained for how long, how it was measured, and notes about the data.
    """
    table, measures = comparison.table, comparison.measures
    groups = _abreast(measures)
    heading = "Difference to the baseline, paired by seed"
    shown: list[tuple[str | None, pd.DataFrame]] = [(None, _means(table, group)) for group in groups]
    if (table["name"] != table["baseline"]).any():
        differences = [_differences(table, group) for group in groups]
        shown += [(heading if index == 0 else None, cells) for index, cells in enumerate(differences)]
    write_forms(table, shown, [_explain(table, measures, shown), *legend], title=title, files=files)


def _abreast(measures: Sequence[Measure]) -> list[Sequence[Measure]]:
    """Split into as few groups as possible, of about the same size."""
    count = math.ceil(len(measures) / MEASURES_ABREAST)
    size, longer = divmod(len(measures), count)
    starts = [index * size + min(index, longer) for index in range(count + 1)]
    return [measures[start:stop] for start, stop in pairwise(starts)]


def _baseline_label(table: pd.DataFrame) -> str:
    return str(table.loc[table["name"] == table["baseline"], "label"].iloc[0])


def _means(table: pd.DataFrame, measures: Sequence[Measure]) -> pd.DataFrame:
    columns: list[tuple[str, Sequence[object]]] = [("", list(table["label"]))]
    for measure in measures:
        cells = interval_cells(table, measure.name, digits=measure.digits)
        cells = _with_seeds(cells, table[f"{measure.name}_seeds"], table["seeds"])
        cells = [UNDEFINED if row else cell for row, cell in zip(_undefined(table, measure), cells, strict=True)]
        columns.append((measure.column, _best_in_bold(cells, measure)))
        if table[measure.paper_column].notna().any():
            published = _published(table[measure.paper_column])
            columns.append(("Paper", _best_in_bold(published, replace(measure, bold=True))))
    columns.append(("Seeds", list(table["seeds"])))
    return _frame(columns)


def _undefined(table: pd.DataFrame, measure: Measure) -> pd.Series:
    """Return for each row whether it has values of the measure but no mean, because one of them is not finite."""
    return (table[f"{measure.name}_seeds"] > 0) & table[f"{measure.name}_mean"].isna()


def _published(figures: pd.Series) -> list[str]:
    """Return published figures with as many digits as the longest in the column, the precision of the publication."""
    digits = max(len(f"{figure:.10g}".partition(".")[2]) for figure in figures.dropna())
    return [number_cell(figure, f"{{:.{digits}f}}") for figure in figures]


def _differences(table: pd.DataFrame, measures: Sequence[Measure]) -> pd.DataFrame:
    others = table[table["name"] != table["baseline"]]
    columns: list[tuple[str, Sequence[object]]] = [("", list(others["label"]))]
    for measure in measures:
        name = f"{measure.name}_difference"
        cells = interval_cells(others, name, digits=measure.digits, signed=True)
        cells = _with_seeds(cells, others[f"{name}_seeds"], others["seeds"])
        reference = bool(_undefined(table[table["name"] == table["baseline"]], measure).any())
        undefined = _undefined(others, measure) | ((others[f"{measure.name}_seeds"] > 0) & reference)
        cells = [UNDEFINED if row else cell for row, cell in zip(undefined, cells, strict=True)]
        columns.append((measure.difference_column, cells))
        columns.append(("p", [number_cell(value, "{:.2g}") for value in others[f"{measure.name}_p_value"]]))
    return _frame(columns)


def _frame(columns: Sequence[tuple[str, Sequence[object]]]) -> pd.DataFrame:
    # several columns can have the heading "Paper"
    headings, contents = zip(*columns, strict=True)
    return pd.DataFrame(list(zip(*contents, strict=True)), columns=list(headings))


def _with_seeds(cells: Sequence[str], counts: pd.Series, usual: pd.Series) -> list[str]:
    """Add the number of seeds to cells that have fewer than their row."""
    return [
        f"{cell} (n = {count})" if 0 < count != seeds else cell
        for cell, count, seeds in zip(cells, counts, usual, strict=True)
    ]


def _best_in_bold(cells: Sequence[str], measure: Measure) -> list[str]:
    """Put the first number of the best cells in bold: all that print the same, none if all cells do."""
    numbers = pd.to_numeric(pd.Series([cell.partition(" ")[0] for cell in cells]), errors="coerce")
    if numbers.nunique() < 2 or not measure.bold or measure.better is None:
        return list(cells)
    best = numbers.min() if measure.better == "lower" else numbers.max()
    marked = []
    for cell, number in zip(cells, numbers, strict=True):
        first, space, rest = cell.partition(" ")
        marked.append(f"{bold(first)}{space}{rest}" if number == best else cell)
    return marked


def _images(table: pd.DataFrame, measures: Sequence[Measure]) -> str:
    """Return on how many test images each measure was measured, the largest number first."""
    headings: dict[int, list[str]] = {}
    for measure in measures:
        headings.setdefault(int(table[f"{measure.name}_images"].iloc[0]), []).append(measure.heading)
    if len(headings) == 1:
        return f"{next(iter(headings)):,} test images"
    parts = [f"{count:,} test images ({'; '.join(headings[count])})" for count in sorted(headings, reverse=True)]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _explain(table: pd.DataFrame, measures: Sequence[Measure], shown: Sequence[tuple[str | None, pd.DataFrame]]) -> str:
    printed = {str(cell) for _, cells in shown for cell in cells.to_numpy().ravel()}
    sentences = [
        f"Measured on {_images(table, measures)}: mean over seeds ± standard deviation, 95 % confidence interval of the "
        "mean by Student's t in brackets; the best mean in bold; ↓: lower is better, ↑: higher.",
        f"Difference: the row minus “{_baseline_label(table)}”, paired by seed; p: two-sided paired t-test, not "
        "corrected for the number of comparisons.",
        "One seed has no spread, no interval and no p.",
    ]
    if any("n = " in cell for cell in printed):
        sentences.append("n: seeds of a cell that has fewer than its row.")
    if ABSENT in printed:
        sentences.append(f"{ABSENT}: not measured, not published, or, of p, differences that have no spread.")
    if UNDEFINED in printed:
        sentences.append(f"{UNDEFINED}: a seed's value is not a finite number.")
    return " ".join([*sentences, *equal_note(printed)])
