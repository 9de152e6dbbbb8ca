"""The paper's tables: ours and the paper's figures side by side, as CSV, Markdown and LaTeX."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lgg.files import atomic_path, write_text
from lgg.reporting.statistics import Summary, paired_difference, summarize

TEACHER = "teacher"
ABSENT = "–"


def table1(rows: Sequence[Mapping[str, Any]], evaluations: Mapping[str, pd.DataFrame], baseline: str) -> pd.DataFrame:
    """Return Table 1 (Section 4.1): error of teacher and students, gain over the baseline, size, agreement.

    Args:
        rows: in order; each with `name`, `label`, and `paper_error` and `paper_gain` in percent or None.
        evaluations: by name, a row a seed with `seed`, `error` and `agreement` in percent, `images`, `parameters`,
            `operations`.
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
                **_columns("error", summarize(evaluation["error"])),
                "paper_error": row["paper_error"],
                **_columns("gain", gain if row["name"] != baseline else None),
                "gain_p_value": gain.p_value if gain and row["name"] != baseline else math.nan,
                "paper_gain": row["paper_gain"],
                **_columns("agreement", summarize(evaluation["agreement"]) if has_agreement else None),
                "operations": int(evaluation["operations"].iloc[0]),
                "operations_percent": 100.0 * evaluation["operations"].iloc[0] / reference["operations"],
                "parameters": int(evaluation["parameters"].iloc[0]),
                "parameters_percent": 100.0 * evaluation["parameters"].iloc[0] / reference["parameters"],
            }
        )
    return pd.DataFrame(table)


def _by_seed(evaluation: pd.DataFrame, column: str) -> dict[int, float]:
    return {int(seed): float(value) for seed, value in zip(evaluation["seed"], evaluation[column], strict=True)}


def _columns(name: str, summary: Summary | None) -> dict[str, float]:
    names = ("mean", "std", "ci95_low", "ci95_high")
    return {f"{name}_{part}": getattr(summary, part) if summary else math.nan for part in names}


def write_table1(table: pd.DataFrame, notes: Sequence[str], *, csv: Path, markdown: Path, latex: Path) -> None:
    """Write Table 1 in its three forms, each atomically; `notes` tell of the data."""
    with atomic_path(csv) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    shown = pd.DataFrame(
        {
            "": table["label"],
            "Error (%)": _with_interval(table, "error"),
            "Paper": [_number(value) for value in table["paper_error"]],
            "Gain (points)": _with_interval(table, "gain", signed=True),
            "Paper's gain": [_number(value) for value in table["paper_gain"]],
            "p": [_number(value, "{:.2g}") for value in table["gain_p_value"]],
            "Agreement with teacher (%)": _with_interval(table, "agreement"),
            "Operations (%)": [_number(value, "{:.1f}") for value in table["operations_percent"]],
            "Parameters (%)": [_number(value, "{:.1f}") for value in table["parameters_percent"]],
            "Seeds": table["seeds"],
        }
    )
    legend = [
        f"Errors on {table['test_images'].iloc[0]:,} test images: mean over seeds ± standard deviation, 95 % confidence "
        "interval of the mean by Student's t in brackets. Gain: error of the baseline minus error of the row, paired by "
        "seed; p: two-sided paired t-test. One seed has no spread and no interval. "
        "Sizes in percent of the teacher's, or of the baseline's where there is no teacher.",
        "Paper: Lassance, Gripon, Ortega 2021, Table 1: CIFAR-10, WideResNet28-1 and 28-0.5, 10 seeds.",
        *notes,
    ]
    write_text(markdown, shown.to_markdown(index=False, disable_numparse=True) + "\n\n" + "\n\n".join(legend) + "\n")
    write_text(latex, _latex(shown, legend))


def _with_interval(table: pd.DataFrame, name: str, *, signed: bool = False) -> list[str]:
    form = "{:+.2f}" if signed else "{:.2f}"
    cells = []
    for _, row in table.iterrows():
        cell = _number(row[f"{name}_mean"], form)
        if math.isfinite(row[f"{name}_std"]):
            low, high = form.format(row[f"{name}_ci95_low"]), form.format(row[f"{name}_ci95_high"])
            cell += f" ± {row[f'{name}_std']:.2f} [{low}, {high}]"
        cells.append(cell)
    return cells


def _number(value: float | None, form: str = "{:.2f}") -> str:
    return ABSENT if value is None or math.isnan(value) else form.format(value)


def _latex(shown: pd.DataFrame, legend: Sequence[str]) -> str:
    """Return the table as a LaTeX tabular (booktabs) with the legend as comments."""
    escaped = shown.map(lambda cell: str(cell)).rename(columns=_escape)
    escaped = escaped.map(_escape)
    body: str = escaped.to_latex(index=False, escape=False, column_format="l" + "r" * (shown.shape[1] - 1))
    return "".join(f"% {line}\n" for line in legend) + body


def _escape(text: str) -> str:
    special = {
        "\\": r"\textbackslash{}",
        "±": r"$\pm$",
        "–": "--",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in text)
