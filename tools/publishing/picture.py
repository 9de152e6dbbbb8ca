"""The picture of the front page: the paper's three results, its figures next to ours."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lgg.files import atomic_path
from lgg.reporting.figures import PAGE_WIDTH, as_text, look_of, set_style
from lgg.reporting.measures import CLEAN_ERROR, ERROR, FGSM_NORMALIZED, RELATIVE_MCE
from publishing.comparisons import Shown
from publishing.places import ROOT
from publishing.published_run import Published, PublishedRun, Row
from publishing.text import number

PICTURE = ROOT / "docs/assets/results.png"
#: the panels; names in braces are constants of the tests
SHOWN = (
    Shown("table1", ERROR, "Distillation (Table 1):\nerror of the student (%)", ("baseline", "rkd_d", "gkd")),
    Shown("table2", CLEAN_ERROR, "Embeddings (Table 2):\nclean error (%)", ()),
    Shown("table2", RELATIVE_MCE, "Embeddings (Table 2):\nrelative MCE", ()),
    Shown(
        "table3",
        FGSM_NORMALIZED,
        "Defences (Table 3):\nFGSM error at {fgsm_snr:g} dB (%)",
        ("baseline", "parseval", "regularizer"),
    ),
)
SECTION = {"table1": "distillation", "table2": "embedding", "table3": "robustness"}
FACTS = "Description"  # the key of the PNG's text that has the numbers drawn

#: where a row has its label, our mark and the paper's, in rows from its top
LABEL, HERE, PAPER = 0.2, 0.52, 0.8
FRAME, ROW_HEIGHT = 1.0, 0.48  # inches: titles, axis and legend together, and each row
LABEL_WIDTH, NUMBER_SIZE = 34, 6.5  # characters, points
MARGIN = 0.45  # of the range of values, on both sides, for the numbers next to marks


class Mark(NamedTuple):
    """A method in a panel: our mean, standard deviation (NaN for one seed) and number of seeds, the paper's figure or NaN."""

    label: str
    mean: float
    std: float
    seeds: int
    paper: float
    look: dict[str, Any]


class Panel(NamedTuple):
    """A measure of a table: its methods from top to bottom, of which `baseline` is one's label, and our epochs."""

    title: str
    epochs: float
    baseline: str
    marks: tuple[Mark, ...]


def write_picture(published: Published, path: Path = PICTURE) -> None:
    """Draw what is published of the main run; leave the picture as it is where none of it is."""
    if found := panels(published.main):
        figure = draw(found)
        with atomic_path(path) as temporary:
            # the numbers say whether the picture is up to date; its pixels differ with versions of Matplotlib
            figure.savefig(temporary, dpi=200, metadata={FACTS: facts(found), "Software": None})
        plt.close(figure)


def panels(run: PublishedRun) -> list[Panel]:
    """Return the panels whose table is published."""
    return [_panel(run, shown) for shown in SHOWN if run.exists and run.has(shown.table)]


def _panel(run: PublishedRun, shown: Shown) -> Panel:
    table, settings = run.table(shown.table), run.settings[SECTION[shown.table]]
    # a method looks as in the figures of its table, which have the teacher elsewhere
    labels = [row["label"] for name, row in table.items() if name != "teacher"]
    marks = tuple(
        _mark(row, shown, labels) for name, row in table.items() if not shown.methods or name in shown.methods
    )
    title = shown.title.format_map(settings.get("tests", {}))
    return Panel(title, run.epochs(SECTION[shown.table]), table[settings["baseline"]]["label"], marks)


def _mark(row: Row, shown: Shown, labels: Sequence[str]) -> Mark:
    name = shown.measure.name
    seeds = int(row[f"{name}_seeds"] if f"{name}_seeds" in row else row["seeds"])
    numbers = row[f"{name}_mean"], row[f"{name}_std"], seeds, row[shown.measure.paper_column]
    return Mark(row["label"], *numbers, look=look_of(labels, row["label"]))


def facts(found: Sequence[Panel]) -> str:
    """Return all that is drawn, as JSON."""
    return json.dumps(
        [
            {
                "title": panel.title.replace("\n", " "),
                "epochs": panel.epochs,
                "baseline": panel.baseline,
                "methods": {
                    mark.label: {
                        "mean": mark.mean,
                        "std": mark.std if math.isfinite(mark.std) else None,
                        "seeds": mark.seeds,
                        "paper": mark.paper if math.isfinite(mark.paper) else None,
                    }
                    for mark in panel.marks
                },
            }
            for panel in found
        ]
    )


# --- drawing ----------------------------------------------------------------------------------------------------------


def draw(found: Sequence[Panel]) -> Figure:
    """Return one panel next to the other, methods as rows: filled marks are ours, hollow ones the paper's."""
    set_style()
    rows = max(len(panel.marks) for panel in found)
    figure, axes = plt.subplots(1, len(found), figsize=(PAGE_WIDTH, FRAME + ROW_HEIGHT * rows), squeeze=False)
    figure.set_layout_engine("constrained", wspace=0.07)
    for axis, panel in zip(axes[0], found, strict=True):
        _draw_panel(axis, panel)
        axis.set_ylim(rows, 0)
    handles = [
        Line2D([], [], color="0.3", marker="o", label="here: mean ± standard deviation over seeds"),
        Line2D([], [], color="0.3", marker="o", linestyle="", markerfacecolor="white", label="the paper"),
        Line2D([], [], color="0.8", linewidth=1, label="difference to the baseline (left: better)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    sns.despine(figure, left=True)
    return figure


def _draw_panel(axis: Axes, panel: Panel) -> None:
    (baseline,) = [mark for mark in panel.marks if mark.label == panel.baseline]
    for row, mark in enumerate(panel.marks):
        label = as_text(mark.label, LABEL_WIDTH, lines=1)
        axis.text(0, row + LABEL, label, transform=axis.get_yaxis_transform(), fontsize=7, va="center_baseline")
        _draw_mark(axis, row + HERE, mark.mean, mark.std, baseline.mean, mark.look["color"], mark.look)
        _draw_mark(axis, row + PAPER, mark.paper, math.nan, baseline.paper, "white", mark.look)
    low, high = axis.dataLim.intervalx
    axis.set_xlim(low - MARGIN * (high - low), high + MARGIN * (high - low))
    axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axis.set_yticks([])
    axis.set_title(panel.title, loc="left")
    seeds = sorted({mark.seeds for mark in panel.marks})
    counted = f"{' or '.join(map(str, seeds))} seed{'s' if seeds != [1] else ''}"
    axis.set_xlabel(f"here: {counted}, {panel.epochs:g} epochs", fontsize=7)


def _draw_mark(
    axis: Axes, y: float, value: float, std: float, baseline: float, face: Any, look: dict[str, Any]
) -> None:
    """Draw a value, its spread, the line from the baseline's, and the number on the far side of that line."""
    if math.isnan(value):
        return
    axis.plot([baseline, value], [y, y], color="0.8", linewidth=1, zorder=1)
    spread = std if math.isfinite(std) else 0.0
    axis.errorbar(value, y, xerr=spread or None, color=look["color"], marker=look["marker"], markerfacecolor=face)
    side = -1 if value < baseline else 1
    axis.annotate(
        number(value), (value + side * spread, y), (5 * side, 0), textcoords="offset points",
        ha="right" if side < 0 else "left", va="center_baseline", fontsize=NUMBER_SIZE,
    )  # fmt: skip
