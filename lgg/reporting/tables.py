"""What all tables share: cells, and one table in three forms, CSV, Markdown and LaTeX."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from lgg.files import atomic_path, write_text
from lgg.reporting.statistics import Summary

ABSENT = "–"
NO_SPREAD = 1e-9  # of the mean: values that are equal but for rounding

# what LaTeX would read as a command, or has no sign for in every text font
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "“": "``",
    "”": "''",
    "‖": r"$\|$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "ε": r"$\epsilon$",
    "λ": r"$\lambda$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
} | {character: f"\\{character}" for character in "&%$#_{}"}


def summary_columns(name: str, summary: Summary | None) -> dict[str, float]:
    """Return the columns {name}_mean, _std, _ci95_low and _ci95_high; all NaN where there is no summary."""
    parts = ("mean", "std", "ci95_low", "ci95_high")
    return {f"{name}_{part}": getattr(summary, part) if summary else math.nan for part in parts}


def number_cell(value: float | None, form: str = "{:.2f}") -> str:
    """Return `value` in the given form, or a dash where there is none."""
    return ABSENT if value is None or math.isnan(value) else form.format(value)


def interval_cells(table: pd.DataFrame, name: str, *, digits: int = 2, signed: bool = False) -> list[str]:
    """Return "mean ± std [low, high]" for each row, from the columns that `summary_columns` names.

    Where all seeds have one value it is "mean (equal)": an interval of no width would look like certainty.
    """
    form = f"{{:{'+' if signed else ''}.{digits}f}}"
    cells = []
    for _, row in table.iterrows():
        cell = number_cell(row[f"{name}_mean"], form)
        if row[f"{name}_std"] <= NO_SPREAD * abs(row[f"{name}_mean"]):
            cell += " (equal)"
        elif math.isfinite(row[f"{name}_std"]):
            low, high = form.format(row[f"{name}_ci95_low"]), form.format(row[f"{name}_ci95_high"])
            cell += f" ± {row[f'{name}_std']:.{digits}f} [{low}, {high}]"
        cells.append(cell)
    return cells


def equal_note(printed: Iterable[str]) -> list[str]:
    """Return what "(equal)" means where one of the cells printed says it."""
    if not any(cell.endswith("(equal)") for cell in printed):
        return []
    return ["equal: all seeds have the same value, which says nothing of the spread of others; no interval."]


def write_forms(
    table: pd.DataFrame,
    shown: Sequence[tuple[str | None, pd.DataFrame]],
    legend: Sequence[str],
    *,
    csv: Path,
    markdown: Path,
    latex: Path,
) -> None:
    """Write one table in its three forms, each atomically.

    Args:
        table: all columns, for the CSV.
        shown: what people read, one below the other: a heading or None, and cells of text; `**` around a part of a
            cell makes it bold in both forms.
        legend: paragraphs below the Markdown tables; comments above the LaTeX ones (booktabs).
        csv, markdown, latex: where to write.
    """
    with atomic_path(csv) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    parts = [_markdown(heading, cells) for heading, cells in shown]
    write_text(markdown, "\n\n".join([*parts, *legend]) + "\n")
    comments = "".join(f"% {line}\n" for line in legend)
    write_text(latex, comments + "\n\\medskip\n\n".join(_latex(heading, cells) for heading, cells in shown))


def _markdown(heading: str | None, cells: pd.DataFrame) -> str:
    text = cells.map(lambda cell: str(cell).replace("|", r"\|"))
    body: str = text.to_markdown(index=False, disable_numparse=True)
    return f"**{heading}**\n\n{body}" if heading else body


def _latex(heading: str | None, cells: pd.DataFrame) -> str:
    text = cells.map(lambda cell: _escape(str(cell))).rename(columns=_escape)
    body: str = text.to_latex(index=False, escape=False, column_format="l" + "r" * (cells.shape[1] - 1))
    return f"% {heading}\n{body}" if heading else body


def _escape(text: str) -> str:
    escaped = "".join(LATEX.get(character, character) for character in text)
    return re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", escaped)
