"""Labels and class names are plain text: every table and figure shows them literally, whatever they contain."""

import html.parser
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import cbook

from lgg.reporting.comparison_table import Comparison, comparison_table, write_table
from lgg.reporting.depth_figures import animate_depths, draw_depths
from lgg.reporting.distillation_figure import draw_agreement
from lgg.reporting.distillation_table import table1, write_table1
from lgg.reporting.embedding_figures import draw_embeddings
from lgg.reporting.figures import LABEL_WIDTH, as_text, columns_for
from lgg.reporting.geometry_figures import draw_graphs
from lgg.reporting.measures import Measure
from lgg.reporting.robustness_figures import (
    draw_accuracy_against_snr,
    draw_corruption_heatmap,
    draw_error_against_severity,
)
from lgg.reporting.tables import FORMS, bold, write_forms
from lgg.reporting.time_table import time_table, write_time_table
from lgg.reporting.times_figure import draw_times
from lgg.reporting.training_figures import draw_layer_variation, draw_training_curves

NAMES = [
    r"GKD with $\lambda_$",
    "$x$ and $",
    r"\$5",
    "_hidden",
    "__dunder__",
    "100 % & #1",
    "back\\slash\\",
    "one|two",
    "<b>bold</b> & &amp;",
    "**bold** *slanted* ~~gone~~",
    "[link](somewhere)",
    "* star",
    "`code`",
    "- item -- --- dash",
    "1. first",
    "# heading",
    "{brace}_{i}^2",
    "'quoted\" “so”",
    "גרף של תוויות",
    "🙂 👩\u200d🔬",
    "long " * 60 + "end",
    "w" * 300,
]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


# --- tables -----------------------------------------------------------------------------------------------------------


def write_of(names):
    """Return functions that write each kind of table with such labels."""
    rows = [{"name": f"m{place}", "label": name} for place, name in enumerate(names)]
    evaluation = pd.DataFrame(
        {"seed": [0, 1], "images": 10, "error": [1.0, 2.0], "agreement": [90.0, 91.0], "parameters": 5, "operations": 7}
    )
    times = pd.DataFrame(
        {"name": row["name"], "round": number, "seconds_per_step": 1.0} for row in rows for number in (0, 1)
    )

    def distillation(files):
        given = [row | {"paper": {"error": 1.0}} for row in rows]
        write_table1(table1(given, {row["name"]: evaluation for row in rows}, "m0", None), [], files)

    def comparison(files):
        values = {row["name"]: {"error": {0: 1.0 + place, 1: 2.0}} for place, row in enumerate(rows)}
        measures = [Measure("error", "Error")]
        table = comparison_table([row | {"paper": {}} for row in rows], values, measures, "m0", images={"error": 10})
        write_table(Comparison(table, measures), [f"{names[0]}: a note"], title=names[0], files=files)

    def timing(files):
        network = {"name": "other", "kind": names[0]}
        more = {"network": network, "baseline": "m0", "batch_size": 2, "epochs": 1, "paper": {}}
        write_time_table(time_table([row | more for row in rows], times, 10), [], files)

    return {"distillation": distillation, "comparison": comparison, "timing": timing}


def first_cells_of_markdown(text):
    parser = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
    tokens = parser.MarkdownIt("commonmark").enable("table").parse(text)
    for place, token in enumerate(tokens):
        if token.type == "td_open" and tokens[place - 1].type == "tr_open":
            assert {child.type for child in tokens[place + 1].children} <= {"text", "text_special"}
            yield "".join(child.content for child in tokens[place + 1].children)


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.cells, self.is_cell = [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "th" and ("scope", "row") in attributes:
            self.cells.append("")
            self.is_cell = True
        assert tag not in ("b", "em")

    def handle_endtag(self, tag):
        self.is_cell = self.is_cell and tag != "th"

    def handle_data(self, data):
        if self.is_cell:
            self.cells[-1] += data


COMMANDS = {
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
    "textasciigrave": "`",
}


def read_latex(cell):
    """Return the characters that LaTeX prints for a cell; fail if a special character is not escaped."""
    assert not re.match(r"[\[*]", cell), "would belong to the line break before it"
    printed, rest = "", cell
    while rest:
        if match := re.match(r"\\([A-Za-z]+)\{\}", rest):
            printed += COMMANDS[match[1]]
        elif match := re.match(r"\\([&%$#_{}])|\{([\[*])\}|(-)\{\}", rest):
            printed += match[match.lastindex]
        elif match := re.match(r"``|''", rest):
            printed += "“" if match[0] == "``" else "”"
        else:
            match = re.match(r"[^\\&%$#_{}~^<>|`]", rest)
            assert match, f"{rest!r} in {cell!r}"
            assert not rest.startswith("--")
            printed += match[0]
        rest = rest[match.end() :]
    return printed


def first_cells_of_latex(text):
    for line in text.splitlines():
        if line.endswith(r" \\") and not line.startswith(" &"):
            yield read_latex(re.split(r"(?<!\\) & ", line)[0])


def normal(name):
    return " ".join(name.split())


@pytest.mark.parametrize("kind", ["distillation", "comparison", "timing"])
def test_tables_in_every_form_hold_the_labels_as_they_are(kind, tmp_path):
    files = {form: tmp_path / f"table.{form}" for form in FORMS}
    write_of(NAMES)[kind](files)
    texts = {form: path.read_text(encoding="utf-8") for form, path in files.items()}
    assert pd.read_csv(files["csv"])["label"].tolist() == NAMES
    expected = NAMES + (NAMES[1:] if kind == "comparison" else [])  # means, then differences to the baseline
    assert Page(texts["html"]).cells == expected
    assert [normal(cell) for cell in first_cells_of_latex(texts["tex"])] == [normal(name) for name in expected]
    assert [normal(cell) for cell in first_cells_of_markdown(texts["md"])] == [normal(name) for name in expected]


PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


@given(name=PRINTABLE)
@settings(max_examples=60, deadline=None)
def test_any_printable_text_is_shown_as_it_is(name, tmp_path_factory):
    files = {form: tmp_path_factory.getbasetemp() / f"any.{form}" for form in FORMS}
    cells = pd.DataFrame({"": [name], "Error": [bold("1.0")]})
    write_forms(cells, [(None, cells)], [name], title=name, files=files)
    texts = {form: path.read_text(encoding="utf-8") for form, path in files.items()}
    assert Page(texts["html"]).cells == [name]
    assert list(first_cells_of_markdown(texts["md"])) == [name]
    assert texts["md"].count("**1.0**") == texts["tex"].count(r"\textbf{1.0}") == 1
    (line,) = [line for line in texts["tex"].splitlines() if line.endswith(r"\textbf{1.0} \\")]
    symbols = r"\$(\\[a-z]+|-|\\\|)\$"  # Greek letters and the like, which the table of signs has
    assert re.sub(symbols, "x", line.removesuffix(r" & \textbf{1.0} \\"))


def test_a_line_break_ends_no_row_and_no_comment(tmp_path):
    files = {form: tmp_path / f"table.{form}" for form in FORMS}
    cells = pd.DataFrame({"": ["one\ntwo", "three\r\n four"], "Error": ["1", "2"]})
    write_forms(cells, [(None, cells)], ["a\u2028note"], title="T", files=files)
    texts = {form: path.read_text(encoding="utf-8") for form, path in files.items()}
    assert texts["tex"].startswith("% a note\n")
    assert list(first_cells_of_latex(texts["tex"])) == ["one two", "three four"]
    assert list(first_cells_of_markdown(texts["md"])) == ["one two", "three four"]


# --- figures ----------------------------------------------------------------------------------------------------------


def seeds(names, **columns):
    one = pd.DataFrame({"seed": [0, 1], "images": 10} | columns)
    return pd.concat([one.assign(method=name) for name in names], ignore_index=True)


def draw_of(names):
    """Return functions that draw each figure with such labels of methods, or names of classes."""
    rows = [{"name": f"m{place}", "label": name} for place, name in enumerate(names)]
    evaluation = pd.DataFrame({"seed": [0], "images": 10, "error": [1.0], "agreement": [90.0]})
    heat = pd.DataFrame({"clean": 1.0, "fog": 2.0}, index=names)
    more = {"network": {"name": "other"}, "baseline": "m0", "batch_size": 2, "epochs": 1, "paper": {}}
    times = pd.DataFrame({"name": row["name"], "round": 0, "seconds_per_step": 1.0} for row in rows)
    points = np.random.default_rng(0).normal(size=(len(names), 2))
    graph = {"coordinates": points, "edges": [[0, 1, 0.5]], "label_variation": 0.5, "dimensions": 3}
    depth = {"label_variation": 0.5, "edges": [[0, 1, 0.5]]}
    layers = {"epoch": 0, "layer": 1, "label_variation": 1.0, "share": 0.5}
    return {
        "agreement": lambda: draw_agreement(rows, {row["name"]: evaluation for row in rows}, None),
        "heat map": lambda: draw_corruption_heatmap(heat),
        "severity": lambda: draw_error_against_severity(seeds(names, severity=0, error=1.0), names),
        "snr": lambda: draw_accuracy_against_snr(seeds(names, test="fgsm_pixels", snr=30.0, accuracy=1.0), names, 33.0),
        "training": lambda: draw_training_curves(seeds(names, epoch=1, train_error=1.0), names),
        "layers": lambda: draw_layer_variation(seeds(names[:4], **layers), names[:4]),
        "times": lambda: draw_times(time_table([row | more for row in rows], times, 10)),
        "plane": lambda: draw_embeddings({names[0]: {0: points}}, np.arange(len(names)), names),
        "graphs": lambda: draw_graphs({"classes": names, "graphs": {"image": graph, "pooling": graph}}),
        "depths": lambda: draw_depths({"classes": names, "depths": {"image": depth, "pooling": depth}}),
        "animation": lambda: animate_depths({"classes": names, "depths": {"image": depth, "pooling": depth}})[0],
    }


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning", "ignore:constrained_layout:UserWarning")
@pytest.mark.parametrize("kind", draw_of(NAMES))
def test_figures_leave_no_name_out_and_read_no_mathematics(kind):
    figure = draw_of(NAMES)[kind]()
    figure.draw_without_rendering()
    shown = words_of(figure)
    for name in NAMES[:4] if kind == "layers" else NAMES:
        start = normal(name).replace("\u200d", "")[:14].split(" ")[0]
        assert any(start in word for word in shown), (start, shown)
    named = [text for text in figure.findobj(plt.Text) if any(normal(name)[:9] in letters(text) for name in NAMES)]
    assert named and not any(cbook.is_math_text(text.get_text()) for text in named)


def letters(text):
    """Return the characters that Matplotlib prints for a text without mathematics."""
    return text.get_text().replace(r"\$", "$").replace("\u2060", "").replace("\u200d", "").replace("\n", " ")


def words_of(figure):
    visible = [*figure.findobj(plt.Text)]
    for legend in (*figure.legends, *(axis.get_legend() for axis in figure.axes)):
        visible += legend.get_texts() if legend else []
    return [letters(text) for text in visible if text.get_text()]


def test_names_of_ordinary_length_are_as_they_are():
    for name in ("Label variation regularizer", "GKD (10 nearest neighbours)", "Parseval & co_1", "a" * LABEL_WIDTH):
        assert as_text(name) == name


def test_names_are_wrapped_and_cut():
    lines = as_text("word " * 50).split("\n")
    assert len(lines) == 2 and max(map(len, lines)) <= LABEL_WIDTH and lines[-1].endswith("…")
    assert as_text("a\nb\x00\ud800\ue000") == "a b\ufffd\ufffd\ufffd"


@given(st.lists(st.text("abc", min_size=1, max_size=40), min_size=1, max_size=12))
def test_a_legend_has_as_many_columns_as_fit(names):
    columns = columns_for(names)
    assert 1 <= columns <= min(10, len(names))
    assert columns_for(names, width=1000.0) == min(10, len(names))
