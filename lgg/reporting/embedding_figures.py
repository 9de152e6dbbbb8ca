"""Figure A1: two-dimensional embeddings of the training set during training."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from lgg.reporting.figures import CLASS_COLORS, CLASS_WIDTH, MARKERS, PAGE_WIDTH, as_text, columns_for, set_style


def draw_embeddings(
    rows: Mapping[str, Mapping[int, NDArray[np.floating[Any]]]],
    labels: NDArray[np.integer[Any]],
    class_names: Sequence[str],
    *,
    directional: Collection[str] = (),
    errors: Mapping[str, Mapping[int, float]] | None = None,
    most_points: int = 5000,
) -> Figure:
    """Return Figure A1 (Appendix E): one row per objective, one panel per epoch, the same axes within a row.

    Args:
        rows: by objective and number of epochs trained (0 is the initialisation), the coordinates (N, 2).
        labels: (N,), places in `class_names`.
        class_names: one for each class; after ten the colours repeat with another marker.
        directional: objectives that depend only on the direction of an embedding: these are drawn on a ring around the marked
            origin, at a random distance, so that points in one direction do not hide each other.
        errors: by objective and epoch, of 10 nearest neighbours on test images (%), printed below the panels.
        most_points: largest number of points; of more images, a random subset is drawn, the same in every panel.

    Raises ValueError if coordinates and labels do not match, or if the rows have different numbers of epochs.
    """
    if len({len(panels) for panels in rows.values()}) != 1:
        raise ValueError(
            f"every row needs the same number of epochs, not { ({name: list(panels) for name, panels in rows.items()}) }"
        )
    for name, panels in rows.items():
        for epoch, coordinates in panels.items():
            if coordinates.shape != (len(labels), 2):
                raise ValueError(f"{name}, epoch {epoch}: {len(labels)} labels, but points {coordinates.shape}")
    set_style()
    columns = len(next(iter(rows.values())))
    # in random order, so that no class covers the others
    drawn = np.random.default_rng(0).permutation(len(labels))[:most_points]
    side = (PAGE_WIDTH - 0.3) / columns
    size = (PAGE_WIDTH, len(rows) * (side + (0.4 if errors else 0.25)) + 0.7)
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False)
    for axes_row, (name, panels) in zip(axes, rows.items(), strict=True):
        shown = [coordinates[drawn] for coordinates in panels.values()]
        if name in directional:
            shown = [_on_a_ring(points) for points in shown]
        low, high = _limits(shown)
        for axis, epoch, points in zip(axes_row, panels, shown, strict=True):
            _draw_points(axis, points, labels[drawn])
            axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=[], yticks=[], aspect="equal")
            axis.set_title(_title(epoch, last=epoch == max(panels)))
            if errors:
                axis.set_xlabel(f"10-NN error {errors[name][epoch]:.1f} %", fontsize=7)
            if name in directional:
                axis.plot(0, 0, "+", color="black", markersize=9, zorder=3)
        written = as_text(name, width=24)
        axes_row[0].set_ylabel(f"{written}\n(directions only)" if name in directional else written)
    names = [as_text(name, CLASS_WIDTH, lines=1) for name in class_names]
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=color, label=name, markersize=5)
        for name, (color, marker) in zip(names, map(_look, range(len(names))), strict=True)
    ]
    extract = f"{len(drawn):,} of {len(labels):,} images, drawn at random" if len(drawn) < len(labels) else None
    rows_of_names = -(-len(handles) // columns_for(names))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=-(-len(handles) // rows_of_names),
        frameon=False,
        title=extract,
        title_fontsize=7,
        fontsize=7,
        handletextpad=0.1,
        columnspacing=1.0,
    )
    return figure


def _title(epoch: int, *, last: bool) -> str:
    if epoch == 0:
        return "initialisation"
    return f"end (epoch {epoch})" if last else f"epoch {epoch}"


def _on_a_ring(points: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return (N, 2) points in the directions of the given ones, at distances of 0.75 to 1 drawn at random."""
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    distances = np.random.default_rng(0).uniform(0.75, 1, lengths.shape)
    ring: NDArray[np.floating[Any]] = points / np.maximum(lengths, np.finfo(lengths.dtype).tiny) * distances
    return ring


def _limits(
    panels: Sequence[NDArray[np.floating[Any]]],
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Return the lower left and upper right corner of the square around the points of all panels.

    One point in a hundred at either end of an axis can lie outside: a few far ones would squeeze the others.
    """
    points = np.concatenate(panels)
    low, high = np.quantile(points, (0.01, 0.99), axis=0)
    half = 0.55 * max(float((high - low).max()), 1e-12)
    centre = (low + high) / 2
    return centre - half, centre + half


def _look(number: int) -> tuple[str, str]:
    return CLASS_COLORS[number % len(CLASS_COLORS)], MARKERS[number // len(CLASS_COLORS) % len(MARKERS)]


def _draw_points(axis: Axes, points: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> None:
    looks = [_look(int(label)) for label in labels]
    for marker in dict.fromkeys(marker for _, marker in looks):
        own = [index for index, (_, other) in enumerate(looks) if other == marker]
        colors = [looks[index][0] for index in own]
        # thousands of points as vectors would make a file of many megabytes
        x, y = points[own].T
        axis.scatter(x, y, c=colors, marker=marker, s=3, linewidth=0, alpha=0.7, rasterized=True)
