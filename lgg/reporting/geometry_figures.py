"""Figures 1 and 2: the reference network, and latent geometry graphs at three depths."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as MatplotlibPath

from lgg.reporting.figures import CLASS_WIDTH, MARKERS, PAGE_WIDTH, PALETTE, as_text, columns_for, set_style


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
        axis.set_title(f"{depth} ({graph['dimensions']:,} dimensions)")
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
    frame = pd.DataFrame(label_variation)
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


def draw_blocks(steps: Sequence[tuple[str, Sequence[int]]]) -> Figure:
    """Return Figure 1: a residual network step by step, as `lgg.evaluation.size.block_shapes` gives it.

    `steps` holds (name, output shape); those whose name begins with "block" are residual blocks.
    """
    set_style()
    figure, axis = plt.subplots(figsize=(PAGE_WIDTH, 1.35))
    width, gap, height = 1.0, 0.5, 1.0
    for index, (name, shape) in enumerate(steps):
        left = index * (width + gap)
        residual = name.startswith("block")
        color = PALETTE[0] if residual else PALETTE[7]
        box = "round,pad=0.02,rounding_size=0.1"
        axis.add_patch(
            FancyBboxPatch((left, 0), width, height, boxstyle=box, facecolor=(*color, 0.25), edgecolor=color)
        )
        axis.text(left + width / 2, 0.66, name, ha="center", va="center", fontsize=6.5, weight="bold")
        channels, *size = map(str, shape)
        text = "\n".join([channels + " ×" if size else channels, *(["×".join(size)] if size else [])])
        axis.text(left + width / 2, 0.3, text, ha="center", va="center", fontsize=6)
        if index:
            _arrow(axis, [(left - gap, 0.5), (left, 0.5)])
        if residual:
            before, after = left - 0.35 * gap, left + width + 0.35 * gap
            _arrow(axis, [(before, 0.5), (before, 1.3), (after, 1.3), (after, 0.5)])
    axis.set(xlim=(-0.1, len(steps) * (width + gap) - gap + 0.1), ylim=(-0.15, 1.45))
    axis.set_axis_off()
    return figure


def _arrow(axis: Axes, corners: Sequence[tuple[float, float]]) -> None:
    path = MatplotlibPath(list(corners))
    axis.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=6, linewidth=0.8, color="0.35"))
