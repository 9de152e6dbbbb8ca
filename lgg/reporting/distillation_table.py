"""Table 1: teacher, baseline and distilled students."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lgg.reporting.statistics import paired_difference, summarize
from lgg.reporting.tables import equal_note, interval_cells, number_cell, summary_columns, without_empty, write_forms

TEACHER = "teacher"
PAPER = "Paper: Lassance, Gripon, Ortega 2021, Table 1: CIFAR-10, WideResNet28-1 and 28-0.5, 10 seeds."


def table1(rows: Sequence[Mapping[str, Any]], evaluations: Mapping[str, pd.DataFrame], baseline: str) -> pd.DataFrame:
    """Return Table 1 (Section 4.1): error of teacher and students, gain over the baseline, size, agreement.

    Args:
        rows: in order; each with `name`, `label`, and `paper_error` and `paper_gain` in percent or None.
        evaluations: by name, a row a seed with `seed` (the teacher needs none), `error` and `agreement` in percent, `images`,
            `parameters`, `operations`.
        baseline: name of the row that gains are measured against, paired by seed.

    Each of `error`, `gain` and `agreement` gives columns _mean, _std, _ci95_low and _ci95_high; the gain also _p_value.
    Sizes are in percent of the teacher's, or of the baseline's where there is no teacher.
    """
    reference = evaluations[TEACHER if TEACHER in evaluations else baseline].iloc[0]
    baseline_errors = _by_seed(evaluations[baseline], "error")
    table = []
    for row in rows:
        evaluation = evaluations[row["name"]]
        is_student = row["name"] != TEACHER
        gain = paired_difference(baseline_errors, _by_seed(evaluation, "error")) if is_student else None
        has_agreement = is_student and evaluation["agreement"].notna().all()
        table.append(
            {
                "name": row["name"],
                "label": row["label"],
                "seeds": len(evaluation),
                "test_images": int(evaluation["images"].iloc[0]),
                **summary_columns("error", summarize(evaluation["error"])),
                "paper_error": row["paper_error"],
                **summary_columns("gain", gain if row["name"] != baseline else None),
                "gain_p_value": gain.p_value if gain and row["name"] != baseline else math.nan,
                "paper_gain": row["paper_gain"],
                **summary_columns("agreement", summarize(evaluation["agreement"]) if has_agreement else None),
                "operations": int(evaluation["operations"].iloc[0]),
                "operations_percent": 100.0 * evaluation["operations"].iloc[0] / reference["operations"],
                "parameters": int(evaluation["parameters"].iloc[0]),
                "parameters_percent": 100.0 * evaluation["parameters"].iloc[0] / reference["parameters"],
            }
        )
    return pd.DataFrame(table)


def _by_seed(evaluation: pd.DataFrame, column: str) -> dict[int, float]:
    return {int(seed): float(value) for seed, value in zip(evaluation["seed"], evaluation[column], strict=True)}


def write_table1(table: pd.DataFrame, notes: Sequence[str], files: Mapping[str, Path]) -> None:
    """Write Table 1 to `files`, by form, each atomically; `notes` tell of the data."""
    shown = pd.DataFrame(
        {
            "": table["label"],
            "Error (%) ↓": interval_cells(table, "error"),
            "Paper": [number_cell(value) for value in table["paper_error"]],
            "Gain (points) ↑": interval_cells(table, "gain", signed=True),
            "Paper's gain": [number_cell(value) for value in table["paper_gain"]],
            "p": [number_cell(value, "{:.2g}") for value in table["gain_p_value"]],
            "Agreement with teacher (%)": interval_cells(table, "agreement"),
            "Operations (%)": [number_cell(value, "{:.1f}") for value in table["operations_percent"]],
            "Parameters (%)": [number_cell(value, "{:.1f}") for value in table["parameters_percent"]],
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
