"""Shared by all tables: cells, and writing a table as CSV, Markdown, LaTeX and HTML."""

import html
import math
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from lgg.files import atomic_path, write_text
from lgg.reporting.statistics import Summary

FORMS = ("csv", "md", "tex", "html")
ABSENT = "–"
NO_SPREAD = 1e-9  # relative to the mean; below this, values are equal up to rounding
# marks around bold text: private-use characters, so that everything else in a cell is plain text
BOLD, END = "\ue000", "\ue001"

# characters that LaTeX reads as commands, or that some text fonts lack
LATEX = {
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    BOLD: r"\textbf{",
    END: "}",
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
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "ε": r"$\epsilon$",
    "λ": r"$\lambda$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
} | {character: f"\\{character}" for character in "&%$#_{}"}


# a self-contained page, with sorting
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; background: white; margin: 1.5rem; }}
h1 {{ font-size: 1.3rem; }} h2 {{ font-size: 1.05rem; margin-top: 1.6rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .7rem; text-align: right; vertical-align: top; }}
td {{ white-space: nowrap; }}
thead th {{ border-bottom: 1px solid; vertical-align: bottom; }}
tbody th, thead th:first-child {{ text-align: left; font-weight: normal; unicode-bidi: plaintext; }}
tbody tr:nth-child(even) {{ background: #f3f4f8; }}
small {{ display: block; color: #555; }}
button {{ all: unset; cursor: pointer; font-weight: 600; }}
button:focus-visible {{ outline: 2px solid #3f51b5; }}
th[aria-sort=ascending] button::after {{ content: " ▲"; }} th[aria-sort=descending] button::after {{ content: " ▼"; }}
p {{ max-width: 60rem; margin: .5rem 0; color: #333; font-size: .87rem; }}
@page {{ size: landscape; margin: 12mm; }}
@media print {{ body {{ margin: 0; font-size: 10px; }} .wide {{ overflow: visible; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}{legend}<script>
for (const head of document.querySelectorAll("thead th")) {{
  head.querySelector("button").addEventListener("click", () => {{
    const rows = head.closest("table").tBodies[0], column = head.cellIndex;
    const sign = head.ariaSort === "ascending" ? -1 : 1;
    for (const other of head.parentNode.cells) other.ariaSort = null;
    head.ariaSort = sign > 0 ? "ascending" : "descending";
    const value = row => parseFloat(row.cells[column].textContent.replace(/,/g, ""));
    const numbers = [...rows.rows].some(row => !isNaN(value(row)));
    [...rows.rows].sort((a, b) => {{
      if (!numbers) return sign * a.cells[column].textContent.localeCompare(b.cells[column].textContent);
      const x = value(a), y = value(b);
      return isNaN(x) - isNaN(y) || sign * (x - y);  // what has no number stays last
    }}).forEach(row => rows.append(row));
  }});
}}
</script>
</body>
</html>
"""


def bold(text: str) -> str:
    """Return `text` marked as bold, for cells and legends of `write_forms`."""
    return f"{BOLD}{text}{END}"


def summary_columns(name: str, summary: Summary | None) -> dict[str, float]:
    """Return the columns {name}_mean, _std, _ci95_low and _ci95_high; all NaN if there is no summary."""
    parts = ("mean", "std", "ci95_low", "ci95_high")
    return {f"{name}_{part}": getattr(summary, part) if summary else math.nan for part in parts}


def number_cell(value: float | None, form: str = "{:.2f}") -> str:
    """Return `value` in the given format, or a dash if it is missing."""
    return ABSENT if value is None or math.isnan(value) else form.format(value)


def interval_cells(table: pd.DataFrame, name: str, *, digits: int = 2, signed: bool = False) -> list[str]:
    """Return "mean ± std [low, high]" for each row, from the columns that `summary_columns` names.

    If all seeds have the same value it is "mean (equal)": an interval of width zero would suggest certainty.
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


def without_empty(cells: pd.DataFrame, *headings: str) -> pd.DataFrame:
    """Return a table without those of the named columns that contain only dashes."""
    return cells.drop(columns=[name for name in headings if (cells[name] == ABSENT).all()])


def equal_note(printed: Iterable[str]) -> list[str]:
    """Return the meaning of "(equal)", if a printed cell has it."""
    if not any(cell.endswith("(equal)") for cell in printed):
        return []
    return ["equal: all seeds have the same value, which says nothing about the spread of others; no interval."]


def write_forms(
    table: pd.DataFrame,
    shown: Sequence[tuple[str | None, pd.DataFrame]],
    legend: Sequence[str],
    *,
    title: str,
    files: Mapping[str, Path],
) -> None:
    """Write one table in its four forms, each atomically.

    Args:
        table: all columns, for the CSV.
        shown: the tables for readers, one below the other: a heading or None, and cells of plain text, except for the marks
            of `bold`.
        legend: paragraphs below the Markdown and HTML tables; comments above the LaTeX ones (booktabs).
        title: of the HTML page.
        files: where to write, by form.
    """
    with atomic_path(files["csv"]) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    legend = [_on_one_line(line) for line in legend]
    parts = [_markdown(heading, cells) for heading, cells in shown]
    write_text(files["md"], "\n\n".join([*parts, *map(_paragraph, legend)]) + "\n")
    comments = "".join(f"% {_without_marks(line)}\n" for line in legend)
    write_text(files["tex"], comments + "\n\\medskip\n\n".join(_latex(heading, cells) for heading, cells in shown))
    body = "".join(_html(heading, cells) for heading, cells in shown)
    paragraphs = "".join(f"<p>{_as_html(line)}</p>\n" for line in legend)
    write_text(files["html"], PAGE.format(title=html.escape(title), body=body, legend=paragraphs))


def files_of(arguments: Namespace, prefix: str = "") -> dict[str, Path]:
    """Return the files of a table by form, from a stage's arguments ``--out-PREFIXcsv`` and so on."""
    return {form: getattr(arguments, f"out_{prefix}{form}") for form in FORMS}


def _markdown(heading: str | None, cells: pd.DataFrame) -> str:
    text = cells.map(_as_markdown).rename(columns=_as_markdown)
    body: str = text.to_markdown(index=False, disable_numparse=True)
    return f"**{heading}**\n\n{body}" if heading else body


def _latex(heading: str | None, cells: pd.DataFrame) -> str:
    text = cells.map(_as_latex).rename(columns=_as_latex)
    body: str = text.to_latex(index=False, escape=False, column_format="l" + "r" * (cells.shape[1] - 1))
    return f"% {heading}\n{body}" if heading else body


def _html(heading: str | None, cells: pd.DataFrame) -> str:
    """Return a table whose columns sort by their first number, or as text, when their heading is clicked."""
    head = "".join(f'<th scope="col"><button>{_as_html(name) or "Method"}</button></th>' for name in cells.columns)
    rows = "".join(
        f'<tr><th scope="row">{_as_html(first)}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in others)}</tr>\n'
        for first, *others in cells.to_numpy()
    )
    title = f"<h2>{html.escape(heading)}</h2>\n" if heading else ""
    return f'{title}<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n'


def _cell(cell: object) -> str:
    """Return a cell, with the interval after a mean and its spread on a separate line."""
    number = r"^((?:<strong>)?[+−-]?\d\S*) (± [\d.]+)?( ?\[.+\])"
    return re.sub(number, r"\1 \2<small>\3</small>", _as_html(cell))


# --- plain text in each form -------------------------------------------------------------------------------------------


def _on_one_line(text: object) -> str:
    return re.sub(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", str(text))


def _without_marks(text: str) -> str:
    return text.replace(BOLD, "").replace(END, "")


def _as_html(text: object) -> str:
    return html.escape(_on_one_line(text)).replace(BOLD, "<strong>").replace(END, "</strong>")


def _as_markdown(text: object) -> str:
    """Return text with everything escaped that Markdown, including GitHub's mathematics, or HTML would interpret."""
    marks = r"[\\`*|$~]|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?])|\](?=[(\[:])|&(?=#?\w+;)"
    return re.sub(marks, r"\\\g<0>", _on_one_line(text)).replace(BOLD, "**").replace(END, "**")


def _paragraph(text: str) -> str:
    """Return a line of Markdown that does not start a heading, list or quotation."""
    return re.sub(r"^(\d*)([#>+.)-])(?=\s|#)", r"\1\\\2", _as_markdown(text))


def _as_latex(text: object) -> str:
    r"""Return text for a table cell. After a line break, \\, a star or bracket would be read as its argument."""
    escaped = re.sub(  # two hyphens would become a dash
        r"(-)(?=-)|.", lambda one: "-{}" if one[1] else LATEX.get(one[0], one[0]), _on_one_line(text), flags=re.DOTALL
    )
    return re.sub(r"^[\[*]", r"{\g<0>}", escaped)
