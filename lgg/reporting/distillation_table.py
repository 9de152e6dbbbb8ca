"""Table 1: teacher, baseline and distilled students."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lgg.reporting.measures import AGREEMENT, ERROR, GAIN, OPERATIONS, PARAMETERS, Measure
from lgg.reporting.statistics import paired_difference, summarize
from lgg.reporting.tables import equal_note, interval_cells, number_cell, summary_columns, without_empty, write_forms

PAPER = "Paper: Lassance, Gripon, Ortega 2021, Table 1: CIFAR-10, WideResNet28-1 and 28-0.5, 10 seeds."


def table1(
    rows: Sequence[Mapping[str, Any]], evaluations: Mapping[str, pd.DataFrame], baseline: str, teacher: str | None
) -> pd.DataFrame:
    """Return Table 1 (Section 4.1): error of teacher and students, gain over the baseline, size, agreement.

    Args:
        rows: in order; each with `name`, `label`, and `paper`: the paper's figures by measure.
        evaluations: by name, one row per seed with `seed` (the teacher needs none), `error` and `agreement` in percent,
            `images`, `parameters`, `operations`.
        baseline: name of the row that gains are measured against, paired by seed.
        teacher: name of the teacher's row; None if there is no teacher.

    Each of `error`, `gain` and `agreement` gives columns _mean, _std, _ci95_low and _ci95_high; the gain also _p_value.
    Sizes are in percent of the teacher's, or of the baseline's if there is no teacher.
    """
    reference = evaluations[baseline if teacher is None else teacher].iloc[0]
    baseline_errors = _by_seed(evaluations[baseline])
    table = []
    for row in rows:
        evaluation = evaluations[row["name"]]
        is_student = row["name"] != teacher
        has_gain = is_student and row["name"] != baseline
        gain = paired_difference(baseline_errors, _by_seed(evaluation)) if has_gain else None
        has_agreement = is_student and evaluation[AGREEMENT.name].notna().all()
        table.append(
            {
                "name": row["name"],
                "label": row["label"],
                "seeds": len(evaluation),
                "test_images": int(evaluation["images"].iloc[0]),
                **summary_columns(ERROR.name, summarize(evaluation[ERROR.name])),
                ERROR.paper_column: ERROR.paper_figure(row),
                **summary_columns(GAIN.name, gain),
                f"{GAIN.name}_p_value": gain.p_value if gain else math.nan,
                GAIN.paper_column: GAIN.paper_figure(row),
                **summary_columns(AGREEMENT.name, summarize(evaluation[AGREEMENT.name]) if has_agreement else None),
                **_size(OPERATIONS, evaluation, reference),
                **_size(PARAMETERS, evaluation, reference),
            }
        )
    return pd.DataFrame(table)


def _size(measure: Measure, evaluation: pd.DataFrame, reference: "pd.Series[float]") -> dict[str, float]:
    size = int(evaluation[measure.name].iloc[0])
    return {measure.name: size, f"{measure.name}_percent": 100.0 * size / reference[measure.name]}


def _by_seed(evaluation: pd.DataFrame) -> dict[int, float]:
    return {int(seed): float(error) for seed, error in zip(evaluation["seed"], evaluation[ERROR.name], strict=True)}


def write_table1(table: pd.DataFrame, notes: Sequence[str], files: Mapping[str, Path]) -> None:
    """Write Table 1 to `files`, by form, each atomically; `notes` are about the data."""
    shown = pd.DataFrame(
        {
            "": table["label"],
            ERROR.column: interval_cells(table, ERROR.name, digits=ERROR.digits),
            "Paper": [number_cell(value) for value in table[ERROR.paper_column]],
            GAIN.column: interval_cells(table, GAIN.name, digits=GAIN.digits, signed=True),
            "Paper's gain": [number_cell(value) for value in table[GAIN.paper_column]],
            "p": [number_cell(value, "{:.2g}") for value in table[f"{GAIN.name}_p_value"]],
            AGREEMENT.column: interval_cells(table, AGREEMENT.name, digits=AGREEMENT.digits),
            OPERATIONS.column: _percents(table, OPERATIONS),
            PARAMETERS.column: _percents(table, PARAMETERS),
            "Seeds": table["seeds"],
        }
    )
    shown = without_empty(shown, "Paper", "Paper's gain")
    legend = [
        f"Errors on {table['test_images'].iloc[0]:,} test images: mean over seeds ± standard deviation, 95 % confidence "
        "interval of the mean by Student's t in brackets; ↓: lower is better, ↑: higher. Gain: error of the baseline minus "
        "error of the row, paired by seed; p: two-sided paired t-test. One seed has no spread and no interval. Sizes in "
        "percent of the teacher's, or of the baseline's where there is no teacher.",
        *equal_note(map(str, shown.to_numpy().ravel())),
        *([PAPER] if "Paper" in shown else []),
        *notes,
    ]
    write_forms(table, [(None, shown)], legend, title="Table 1: distillation", files=files)


def _percents(table: pd.DataFrame, measure: Measure) -> list[str]:
    return [number_cell(value, f"{{:.{measure.digits}f}}") for value in table[f"{measure.name}_percent"]]
