import math
import re

import pandas as pd
import pytest

from lgg.reporting.statistics import Summary, summarize
from lgg.reporting.tables import FORMS, bold, equal_note, interval_cells, number_cell, summary_columns, write_forms


@pytest.fixture
def paths(tmp_path):
    return {form: tmp_path / f"a.{form}" for form in FORMS}


def read(path):
    return path.read_text(encoding="utf-8")


def test_columns_hold_the_summary_or_nothing():
    assert summary_columns("error", Summary(3, 1.0, 2.0, 3.0, 4.0, 0.5)) == {
        "error_mean": 1.0,
        "error_std": 2.0,
        "error_ci95_low": 3.0,
        "error_ci95_high": 4.0,
    }
    nothing = summary_columns("error", None)
    assert list(nothing) == ["error_mean", "error_std", "error_ci95_low", "error_ci95_high"]
    assert all(math.isnan(value) for value in nothing.values())


def test_cells_show_known_values():
    rows = [
        summary_columns("gain", Summary(3, 1.25, 0.5, -0.04, 2.54, 0.06)),
        summary_columns("gain", summarize([7.0])),
    ]
    table = pd.DataFrame([*rows, summary_columns("gain", None)])
    assert interval_cells(table, "gain", digits=1) == ["1.2 ± 0.5 [-0.0, 2.5]", "7.0", "–"]
    assert interval_cells(table, "gain", signed=True) == ["+1.25 ± 0.50 [-0.04, +2.54]", "+7.00", "–"]
    equal = pd.DataFrame([summary_columns("gain", summarize([value] * 3)) for value in (2.0, 0.0)])
    assert interval_cells(equal, "gain", signed=True) == ["+2.00 (equal)", "+0.00 (equal)"]
    assert equal_note(["+2.00 (equal)", "–"])[0].startswith("equal: all seeds have the same value")
    assert equal_note(["+2.00 ± 0.10 [+1.00, +3.00]"]) == []
    assert [number_cell(value) for value in (1.0, None, math.nan)] == ["1.00", "–", "–"]


def test_several_tables_are_below_each_other(paths):
    first, second = pd.DataFrame({"": ["row"], "Error": ["1 | 2"]}), pd.DataFrame({"": ["row"], "Gain": ["3"]})
    write_forms(
        pd.DataFrame({"error": [1 / 3]}), [("First", first), (None, second)], ["One.", "Two."], title="T", files=paths
    )
    assert read(paths["csv"]) == "error\n0.333333\n"
    blocks = read(paths["md"]).split("\n\n")
    assert blocks[0] == "**First**"
    assert r"1 \| 2" in blocks[1], "a bar would begin another column"
    assert "Gain" in blocks[2]
    assert blocks[3:] == ["One.", "Two.\n"]
    latex = read(paths["tex"])
    assert latex.startswith("% One.\n% Two.\n% First\n\\begin{tabular}{lr}")
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2


def test_columns_may_share_a_heading(paths):
    shown = pd.DataFrame([["row", "1", "2"]], columns=["", "Paper", "Paper"])
    write_forms(shown, [(None, shown)], [], title="T", files=paths)
    assert read(paths["md"]).splitlines()[0].count("Paper") == 2
    assert r" & Paper & Paper \\" in read(paths["tex"])


SPECIAL = {
    "a & b": r"a \& b",
    "100 % of $5": r"100 \% of \$5",
    "x_1^2 {a}": r"x\_1\textasciicircum{}2 \{a\}",
    "C:\\temp~#1": r"C:\textbackslash{}temp\textasciitilde{}\#1",
    "σ = 0.1 ± ∞ – “quoted”": r"$\sigma$ = 0.1 $\pm$ $\infty$ -- ``quoted''",
    f"{bold('9.71')} ± 0.29": r"\textbf{9.71} $\pm$ 0.29",
    f"{bold('1')} and {bold('2_3')}": r"\textbf{1} and \textbf{2\_3}",
    "**not bold**": r"{*}*not bold**",
    "[a] --- b": r"{[}a] -{}-{}- b",
}


@pytest.mark.parametrize(("text", "expected"), SPECIAL.items(), ids=range(len(SPECIAL)))
def test_latex_prints_what_is_written(paths, text, expected):
    shown = pd.DataFrame({text: [text]})
    write_forms(shown, [(None, shown)], [], title="T", files=paths)
    lines = read(paths["tex"]).splitlines()
    assert [line for line in lines if line.endswith(r"\\")] == [rf"{expected} \\"] * 2


def test_the_page_holds_every_cell_and_note_and_needs_nothing_else(paths):
    cells = pd.DataFrame(
        {"": ["A & <b>", "C"], "Error (%) ↓": [f"{bold('1.50')} ± 0.20 [1.0, 2.0]", "–"], "Seeds": [2, 1]}
    )
    write_forms(cells, [("Part", cells)], [f"A {bold('bold')} note & **more**."], title="T < U", files=paths)
    page = read(paths["html"])
    for part in (
        "<title>T &lt; U</title>",
        "<h2>Part</h2>",
        '<th scope="row">A &amp; &lt;b&gt;</th>',
        "<td><strong>1.50</strong> ± 0.20<small> [1.0, 2.0]</small></td>",
        "<p>A <strong>bold</strong> note &amp; **more**.</p>",
        "Error (%) ↓</button>",
    ):
        assert part in page
    assert page.count("<tr>") == 3
    assert not re.search(r"(src|href)=|https?:|@import|url\(", page)
