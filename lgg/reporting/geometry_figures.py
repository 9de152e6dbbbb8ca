"""Figures 1 and 2: the reference network, and latent geometry graphs at three depths."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as MatplotlibPath

from lgg.reporting.figures import CLASS_WIDTH, MARKERS, PAGE_WIDTH, PALETTE, as_text, columns_for, set_style

# of Figure 1: sizes of a step, in the axis' units and inches, and how many are side by side
BOX, GAP, BETWEEN_ROWS, ROW_HEIGHT = 1.0, 0.5, 1.6, 1.35
STEPS_ABREAST, LONG_NAMES_ABREAST, MOST_STEPS = 12, 7, 48
SHORT_NAME, LONG_NAME = 7, 11  # characters of a line


def draw_graphs(shown: Mapping[str, Any]) -> Figure:
    """Return Figure 2 (Appendix C): one graph per panel, vertices placed by Laplacian eigenmaps, only edges between classes.

    `shown` has `classes` (a name for each vertex) and `graphs`, by depth, as returned by
    `lgg.evaluation.geometry.describe_graph`.
    """
    set_style()
    graphs = shown["graphs"]
    figure, axes = plt.subplots(1, len(graphs), figsize=(PAGE_WIDTH, 2.9))
    names = list(dict.fromkeys(shown["classes"]))
    for axis, (depth, graph) in zip(axes, graphs.items(), strict=True):
        _draw_graph(axis, graph, [names.index(name) for name in shown["classes"]])
        axis.set_title(as_text(f"{depth} ({graph['dimensions']:,} dimensions)"))
        axis.set_xlabel(f"label variation {graph['label_variation']:.2f}")
    written = [as_text(name, CLASS_WIDTH, lines=1) for name in names]
    handles = [
        Line2D([], [], linestyle="", marker=MARKERS[i % len(MARKERS)], color=PALETTE[i % len(PALETTE)], label=name)
        for i, name in enumerate(written)
    ]
    handles.append(Line2D([], [], color="0.6", linewidth=1, label="edge between classes"))
    columns = columns_for([str(handle.get_label()) for handle in handles])
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _draw_graph(axis: Axes, graph: Mapping[str, Any], classes: Sequence[int]) -> None:
    coordinates = graph["coordinates"]
    lines = [(coordinates[i], coordinates[j]) for i, j, _ in graph["edges"]]
    axis.add_collection(LineCollection(lines, colors="0.6", linewidths=[0.3 + w for *_, w in graph["edges"]], zorder=1))
    for number in sorted(set(classes)):
        x, y = zip(*(point for point, own in zip(coordinates, classes, strict=True) if own == number), strict=True)
        color, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
        axis.scatter(x, y, color=color, marker=marker, s=36, edgecolor="white", linewidth=0.5, zorder=2)
    axis.margins(0.12)
    axis.set_xticks([])
    axis.set_yticks([])


def draw_label_variation(label_variation: Mapping[str, Sequence[float]]) -> Figure:
    """Return the distribution of normalised label variation over many draws, by depth (the keys, in order)."""
    set_style()
    draws = len(next(iter(label_variation.values())))
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE_WIDTH, 2.8))
    frame = pd.DataFrame({as_text(depth, 16): values for depth, values in label_variation.items()})
    sns.boxplot(frame, ax=left, color="0.9", width=0.5, showfliers=False, linewidth=0.8)
    sns.stripplot(frame, ax=left, size=2.5, alpha=0.6, jitter=0.2, palette=PALETTE[: frame.shape[1]])
    left.set_ylabel("normalised label variation")
    left.set_ylim(bottom=0)
    left.set_title(f"{draws} draws of images")
    first, last = frame.columns[0], frame.columns[-1]
    smaller = int((frame[last] < frame[first]).sum())
    limit = 1.05 * max(frame[first].max(), frame[last].max())
    right.plot([0, limit], [0, limit], color="0.6", linewidth=0.8)
    right.scatter(frame[first], frame[last], s=10, color=PALETTE[0], alpha=0.7, linewidth=0)
    right.set(xlim=(0, limit), ylim=(0, limit), xlabel=f"{first}", ylabel=f"{last}", aspect="equal")
    right.set_title(f"smaller at {last} than at {first} in {smaller} of {draws}")
    sns.despine(figure)
    return figure


def draw_steps(steps: Sequence[tuple[str, Sequence[int]]]) -> Figure:
    """Return Figure 1: a network step by step, as `lgg.evaluation.size.step_shapes` gives it.

    `steps` holds (name, output shape); "block 1", "block 2" … are residual blocks. Of more than 48 steps some are drawn, at
    equal distances, the first and the last among them.
    """
    set_style()
    shown = [steps[place] for place in np.linspace(0, len(steps) - 1, min(len(steps), MOST_STEPS)).round().astype(int)]
    titles = [_in_lines(name) for name, _ in shown]
    longest = max(len(line) for title in titles for line in title.split("\n"))
    columns = min(len(shown), STEPS_ABREAST if longest <= SHORT_NAME else LONG_NAMES_ABREAST)
    rows = -(-len(shown) // columns)
    figure, axis = plt.subplots(figsize=(PAGE_WIDTH, ROW_HEIGHT * rows))
    for index, ((name, shape), title) in enumerate(zip(shown, titles, strict=True)):
        row, column = divmod(index, columns)
        left, bottom = column * (BOX + GAP), -row * BETWEEN_ROWS
        residual = re.fullmatch(r"block \d+", name) is not None
        _draw_step(axis, left, bottom, title, shape, PALETTE[0] if residual else PALETTE[7])
        middle = bottom + 0.5
        if column:
            _arrow(axis, [(left - GAP, middle), (left, middle)])
        elif row:
            _arrow(axis, _to_next_row((columns - 1) * (BOX + GAP) + BOX, middle + BETWEEN_ROWS, middle))
        if residual:
            before, after = left - 0.35 * GAP, left + BOX + 0.35 * GAP
            _arrow(axis, [(before, middle), (before, bottom + 1.3), (after, bottom + 1.3), (after, middle)])
    margin = 0.1 if rows == 1 else 0.4 * GAP
    top, bottom = 1.45, -0.15 - (rows - 1) * BETWEEN_ROWS
    axis.set(xlim=(-margin, columns * (BOX + GAP) - GAP + margin), ylim=(bottom, top))
    axis.set_axis_off()
    return figure


def _in_lines(name: str) -> str:
    """Return a layer's name on lines that fit into a box, broken at dots where it is too long; its last three lines."""
    if len(name) <= LONG_NAME:
        return as_text(name, LONG_NAME, lines=1)
    lines = [""]
    for part in name.split("."):
        joined = f"{lines[-1]}.{part}" if lines[-1] else part
        lines = [*lines[:-1], joined] if len(joined) <= LONG_NAME else [*lines, part]
    lines = [line for line in lines if line]
    # the end of a name distinguishes layers more than its beginning
    return "\n".join(as_text(line, LONG_NAME, lines=1) for line in lines[-3:])


def _draw_step(
    axis: Axes, left: float, bottom: float, title: str, shape: Sequence[int], color: tuple[float, float, float]
) -> None:
    box = "round,pad=0.02,rounding_size=0.1"
    axis.add_patch(FancyBboxPatch((left, bottom), BOX, 1.0, boxstyle=box, facecolor=(*color, 0.25), edgecolor=color))
    lines = title.count("\n") + 1
    at: dict[str, Any] = {"ha": "center", "va": "center"}
    axis.text(left + BOX / 2, bottom + (0.66 if lines == 1 else 0.7), title, fontsize=6.5, weight="bold", **at)
    channels, *size = map(str, shape)
    text = "\n".join([channels + " ×" if size else channels, *(["×".join(size)] if size else [])])
    axis.text(left + BOX / 2, bottom + (0.3 if lines == 1 else 0.22), text, fontsize=6, **at)


def _to_next_row(right: float, above: float, below: float) -> list[tuple[float, float]]:
    """Return the corners of the arrow from the right end of a row, whose middle is at `above`, to the start of the next."""
    between = (above + below) / 2
    aside = 0.3 * GAP
    return [
        (right, above),
        (right + aside, above),
        (right + aside, between),
        (-aside, between),
        (-aside, below),
        (0, below),
    ]


def _arrow(axis: Axes, corners: Sequence[tuple[float, float]]) -> None:
    path = MatplotlibPath(list(corners))
    axis.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=6, linewidth=0.8, color="0.35"))
