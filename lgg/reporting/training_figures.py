"""Losses and errors by epoch, and the label variation of every layer during training (Section 4.3)."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lgg.reporting.figures import PAGE_WIDTH, as_text, by_method, draw_line, look_of, seeds_in_words, set_style, spread

#: columns of a history whose panels come first, in this order: the title, and whether the scale is logarithmic
PANELS = {
    "train_error": ("error on training images (%)", False),
    "task": ("cross-entropy", True),
    "distillation": ("distillation term", True),
    "regularizer": ("regularizer, without γ", True),
    "embedding": ("loss of embeddings", True),
}
NOT_DRAWN = {"method", "seed", "epoch", "learning_rate", "loss", "seconds"}
#: columns of the label variation of layers, and their titles
SCALES = {"label_variation": "σ, p = 2", "share": "share of weights\nbetween classes"}
MOST_PANELS = 4  # beside one another
MOST_EPOCHS = 7  # largest number of epochs drawn as lines


class Levels(Protocol):
    """Reference levels of an embedding's loss, those of `lgg.evaluation.reference_levels`."""

    @property
    def even(self) -> float:
        """Of outputs spread evenly, whatever their class."""

    @property
    def apart(self) -> float:
        """Of classes that are perfectly apart."""


def draw_training_curves(
    histories: pd.DataFrame, methods: Sequence[str], *, levels: Mapping[str, Levels] | None = None
) -> Figure:
    """Return one panel for each part of the loss and one for the error, by epoch, with one line per method.

    Args:
        histories: `method` (label), `seed`, `epoch`, and the columns of histories, NaN if a method lacks one.
        methods: labels in the order of the tables, which gives the colours.
        levels: by label, of the loss of embeddings; each of these methods has a panel of its own with the two levels, since
            their losses are not comparable.
    """
    set_style()
    histories, headings = _apart(histories, levels or {})
    of_levels = {name: (name, False) for name in headings}
    own = {
        str(name): (str(name), True) for name in histories if name not in NOT_DRAWN
    }  # terms of your own losses and defences
    panels = {name: look for name, look in (PANELS | own | PANELS | of_levels).items() if name in histories}
    columns = [name for name in panels if histories[name].notna().any()]
    rows = math.ceil(len(columns) / MOST_PANELS)
    across = math.ceil(len(columns) / rows)
    figure, axes = plt.subplots(rows, across, figsize=(PAGE_WIDTH, 1.1 + 1.8 * rows), squeeze=False)
    for axis in axes.flat[len(columns) :]:
        axis.remove()
    for axis, name in zip(axes.flat, columns, strict=False):
        heading, logarithmic = panels[name]
        for method, frame in by_method(histories[histories[name].notna()], methods):
            draw_line(axis, frame, "epoch", name, **look_of(methods, method))
        if name in headings:
            _draw_levels(axis, headings[name])
        elif logarithmic and (histories[name].dropna() > 0).all():
            axis.set_yscale("log")
        elif (histories[name].dropna() >= 0).all():
            axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set(xlabel="epoch", title=as_text(heading, 84 // across))
    looks = [look_of(methods, method) for method in methods if method in set(histories["method"])]
    figure.legend(
        handles=[Line2D([], [], markersize=4, linewidth=1.2, **look) for look in looks],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        title=spread(histories, "method"),
    )
    sns.despine(figure)
    return figure


def _apart(histories: pd.DataFrame, levels: Mapping[str, Levels]) -> tuple[pd.DataFrame, dict[str, Levels]]:
    """Return histories in which each loss with reference levels is a column of its own, and the levels by its name."""
    parts, named = histories.copy(), {}
    for method, one in levels.items():
        name = f"loss of {method}"  # unlike the name of any other column
        own = parts["method"] == method
        parts[name] = parts["embedding"].where(own)
        parts.loc[own, "embedding"] = np.nan
        named[name] = one
    return parts, named


def _draw_levels(axis: Axes, levels: Levels) -> None:
    """Draw the two levels as lines across an axis, each with its name at the right end."""
    axis.margins(y=0.12)  # room for the name of the upper one
    for value, name, style in ((levels.even, "spread evenly", "--"), (levels.apart, "classes apart", ":")):
        axis.axhline(value, color="0.35", linewidth=0.9, linestyle=style)
        axis.annotate(
            name,
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 2),
            textcoords="offset points",
            ha="right",
            fontsize=7,
            color="0.35",
        )


def draw_layer_variation(variation: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Return the label variation of every layer: one column per method, one line per epoch, mean over seeds.

    At the top is σ with p = 2, whose change from layer to layer the regularizer penalises; below it the share of the
    graph's weights between classes, which does not depend on their scale. If there are many epochs, the first, the last and
    some in between are drawn, more of them at the start, where more happens. A method that was trained elsewhere, of which
    there is epoch 0 alone, is left out, unless all are: then the one line of each is of the trained network.

    Args:
        variation: `method` (label), `seed`, `epoch` (0 for the initialisation), `layer` from 1, and the columns of `SCALES`.
        methods: labels in the order of the tables.
    """
    set_style()
    trained_here = variation.groupby("method")["epoch"].transform("max") > 0
    elsewhere = not trained_here.any()
    variation = variation if elsewhere else variation[trained_here]
    present = [method for method in methods if method in set(variation["method"])]
    epochs = _some(sorted(variation["epoch"].unique()))
    colors = dict(zip(epochs, sns.color_palette("viridis_r", len(epochs)), strict=True))
    figure, axes = plt.subplots(
        len(SCALES), len(present), figsize=(PAGE_WIDTH, 4.2), sharex=True, sharey="row", squeeze=False
    )
    for column, method in enumerate(present):
        means = variation[variation["method"] == method].groupby(["epoch", "layer"])[list(SCALES)].mean()
        for row, name in enumerate(SCALES):
            for epoch in epochs:
                line = means[name].xs(epoch, level="epoch")
                axes[row, column].plot(line.index, line, color=colors[epoch], linewidth=1.2, marker=".", markersize=3)
        axes[0, column].set_title(as_text(method, max(10, 75 // len(present)), lines=4))
        axes[-1, column].set_xlabel("layer, from the input")
    for row, heading in enumerate(SCALES.values()):
        axes[row, 0].set_ylabel(heading)
    axes[0, 0].set_yscale("log")
    figure.legend(
        handles=[Line2D([], [], color=colors[epoch], label=_epoch(epoch, elsewhere)) for epoch in epochs],
        loc="outside lower center",
        ncols=len(epochs),
        frameon=False,
        title=f"mean over {seeds_in_words(variation, 'method')}" + ("" if elsewhere else "; epochs trained"),
    )
    sns.despine(figure)
    return figure


def _some(epochs: Sequence[int]) -> list[int]:
    """Return at most `MOST_EPOCHS` of the sorted `epochs`, the ends among them, spaced geometrically."""
    if len(epochs) <= MOST_EPOCHS:
        return list(epochs)
    places = np.geomspace(1, len(epochs), MOST_EPOCHS).round().astype(int) - 1
    return [epochs[place] for place in np.unique(places)]


def _epoch(number: int, elsewhere: bool) -> str:
    if elsewhere:
        return "trained elsewhere"
    return str(number) if number else "none"
