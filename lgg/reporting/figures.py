"""Shared by all figures: style, colours that colour-blind readers can distinguish, lines with their spread, files."""

import os
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

# Figures are files and need no screen. Set before Matplotlib is imported: its import fails if the backend is missing, such as
# the one that a notebook passes on to programs started from it.
os.environ["MPLBACKEND"] = "Agg"

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from lgg.files import atomic_path
from lgg.reporting.statistics import summarize

PALETTE = sns.color_palette("colorblind")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
# for ten classes of small points: Petroff 2021, arXiv 2107.02270, optimised for colour-blind readers
CLASS_COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
PAGE_WIDTH = 7.0  # inches: the text width of a page
SEEDS_OF_A_BAND = 3
MOST_MARKERS = 12  # on a line
ONE_SEED = "one seed"
LABEL_WIDTH = 36  # characters of a line of a legend
CLASS_WIDTH = 40
POINTS_A_CHARACTER, POINTS_A_HANDLE = 3.7, 22.0  # of a legend in its size, about

T = TypeVar("T")


def set_style() -> None:
    """Set the style of all figures made from now on, and the seed of what seaborn draws at random.

    Sizes are those on paper.
    """
    np.random.seed(0)  # seaborn uses NumPy's global generator
    sizes = {
        "font.size": 8,
        "axes.labelsize": 8,
        "axes.titlesize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.title_fontsize": 7,
        "axes.linewidth": 0.8,
        "lines.linewidth": 1.2,
        "lines.markersize": 4,
        "xtick.major.pad": 2,
        "ytick.major.pad": 2,
    }
    sns.set_theme(context="paper", style="white", palette="colorblind", rc=sizes)
    # TrueType fonts, so that text in the PDF can be edited and selected
    plt.rcParams.update({"pdf.fonttype": 42, "figure.constrained_layout.use": True, "legend.frameon": False})


def save_figure(figure: Figure, pdf: Path, png: Path) -> None:
    """Write a figure as PDF (fonts embedded, without a date) and as PNG at 200 dots per inch, each atomically."""
    for path, metadata in ((pdf, {"CreationDate": None}), (png, None)):
        with atomic_path(path) as temporary:
            # in a PDF only images, and points drawn as an image, have a resolution
            figure.savefig(temporary, dpi=200, metadata=metadata)
    plt.close(figure)


def save_animation(figure: Figure, draw: Callable[[T], None], moments: Sequence[tuple[T, int]], gif: Path) -> None:
    """Write the frames that `draw` makes of `figure`, one per moment and its milliseconds, as a GIF, atomically."""
    frames = []
    for moment, _ in moments:
        draw(moment)
        figure.canvas.draw()
        image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])  # type: ignore[attr-defined]
        # by the range of colours: counting pixels would drop the colours of small points
        frames.append(image.quantize(128, method=Image.Quantize.MAXCOVERAGE))
    durations = [milliseconds for _, milliseconds in moments]
    with atomic_path(gif) as temporary:
        frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=durations, loop=0)
    plt.close(figure)


# --- names from a configuration or a data set ---------------------------------------------------------------------


def as_text(name: str, width: int = LABEL_WIDTH, lines: int = 2) -> str:
    """Return a name escaped so that Matplotlib prints it literally, on at most `lines` lines.

    Matplotlib reads text between dollar signs as mathematics, and omits labels that begin with an underscore from legends.
    Characters without a shape become replacement characters; long names are cut.
    """
    shown = "".join("\ufffd" if unicodedata.category(one) in ("Cs", "Co", "Cn") else one for one in name)
    shown = "".join("\ufffd" if not one.isspace() and unicodedata.category(one) == "Cc" else one for one in shown)
    wrapped = textwrap.wrap(shown, width)
    if len(wrapped) > lines:  # textwrap's own truncation would drop a single long word
        wrapped = [*wrapped[: lines - 1], wrapped[lines - 1][: width - 1].rstrip() + "…"]
    text = "\n".join(wrapped).replace("$", r"\$")
    return f"\u2060{text}" if text.startswith("_") else text  # a joiner, which has no width


def columns_for(names: Sequence[str], most: int = 10, width: float = PAGE_WIDTH) -> int:
    """Return the number of columns, at most `most`, in which a legend with these names fits a width in inches."""
    for columns in range(min(most, len(names)), 1, -1):
        rows = -(-len(names) // columns)  # a legend is filled column by column
        longest = [max(map(len, names[start : start + rows])) for start in range(0, len(names), rows)]
        if sum(length * POINTS_A_CHARACTER + POINTS_A_HANDLE for length in longest) <= 72 * width:
            return columns
    return 1


# --- methods and their seeds -----------------------------------------------------------------------------------------


def by_method(frame: pd.DataFrame, methods: Sequence[str]) -> Iterable[tuple[str, pd.DataFrame]]:
    """Return the rows of each method (column `method`) in the order of `methods`; ValueError if there are other methods."""
    if unknown := sorted(set(frame["method"]) - set(methods)):
        raise ValueError(f"the methods {unknown} are not among those that have a colour: {list(methods)}")
    present = set(frame["method"])
    return [(method, frame[frame["method"] == method]) for method in methods if method in present]


def look_of(methods: Sequence[str], method: str) -> dict[str, Any]:
    """Return colour, marker and label of a method, by its position, so that it looks the same in all figures.

    After ten methods the colours repeat with other markers.
    """
    place = list(methods).index(method)
    return {
        "color": PALETTE[place % len(PALETTE)],
        "marker": MARKERS[(place + place // len(PALETTE)) % len(MARKERS)],
        "label": as_text(method),
    }


def draw_line(axis: Axes, frame: pd.DataFrame, by: str, column: str, **look: Any) -> None:
    """Draw the mean of `column` against `by`, and its spread over seeds.

    For three or more seeds the spread is a band, the 95 % confidence interval. For two seeds the interval would hide the rest,
    so each has a thin line.
    """
    groups = frame.groupby(by)[column]
    points = len(groups)
    step = -(-points // MOST_MARKERS)
    axis.plot(
        groups.mean().index, groups.mean(), markevery=((points - 1) % step, step), linewidth=1.2, markersize=4, **look
    )
    least = frame.groupby(by)["seed"].nunique().min()
    if least >= SEEDS_OF_A_BAND:
        summaries = [summarize(values) for _, values in groups]
        low, high = ([getattr(summary, end) for summary in summaries] for end in ("ci95_low", "ci95_high"))
        axis.fill_between(groups.mean().index, low, high, color=look["color"], alpha=0.2, linewidth=0)
    elif frame["seed"].nunique() > 1:
        for _, own in frame.sort_values(by).groupby("seed"):
            axis.plot(own[by], own[column], color=look["color"], linewidth=0.5, alpha=0.5)


def spread(frame: pd.DataFrame, *by: str) -> str:
    """Return the legend's text on the seeds of the lines of `draw_line`, for the groups of `by`."""
    seeds, least = seeds_in_words(frame, *by), _seeds(frame, *by).min()
    if seeds == ONE_SEED:
        return seeds
    return (
        f"mean and 95 % interval, {seeds}"
        if least >= SEEDS_OF_A_BAND
        else f"mean (markers) and each seed (thin lines), {seeds}"
    )


def seeds_in_words(frame: pd.DataFrame, *by: str) -> str:
    """Return the number of seeds of the groups of `by` in words: one seed, 3 seeds, or 2 to 3 seeds."""
    counts = _seeds(frame, *by)
    least, most = int(counts.min()), int(counts.max())
    if most == 1:
        return ONE_SEED
    return f"{most} seeds" if least == most else f"{least} to {most} seeds"


def _seeds(frame: pd.DataFrame, *by: str) -> "pd.Series[int]":
    return frame.groupby(list(by))["seed"].nunique()
