"""Figures for Table 3: what the corruptions look like, and errors by corruption, severity, attack and weight."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lgg.reporting.figures import (
    MARKERS,
    PAGE_WIDTH,
    PALETTE,
    SEEDS_OF_A_BAND,
    as_text,
    by_method,
    draw_line,
    look_of,
    set_style,
    spread,
)
from lgg.reporting.measures import CLEAN, CLEAN_ATTACKED_IMAGES, FGSM_NORMALIZED, FGSM_PIXELS
from lgg.reporting.statistics import summarize

CLEAN_LABEL = "clean"  # of images as they are
#: the tests that give a curve, and the titles of their panels
CURVES = {FGSM_PIXELS.test: "noise on pixels", FGSM_NORMALIZED.test: "noise on normalised images"}
#: the tests of the sweep of the weight, and their labels
SWEPT = {CLEAN.test: "clean images", FGSM_NORMALIZED.test: "FGSM"}


def draw_corruption_examples(
    examples: Mapping[str, Mapping[int, NDArray[np.uint8]]], clean: NDArray[np.uint8]
) -> Figure:
    """Return one image under each corruption (rows) at each severity (columns), next to the clean image.

    Args:
        examples: by corruption and severity, the image, (H, W, 3); every corruption has the same severities.
        clean: (H, W, 3).
    """
    set_style()
    height, width = clean.shape[:2]
    gap = max(1, width // 16)
    severities = sorted(next(iter(examples.values())))
    # the clean image is a little apart
    lefts = [0, *(gap * 3 + place * (width + gap) for place in range(1, len(severities) + 1))]
    tops = [row * (height + gap) for row in range(len(examples))]
    mosaic = np.full((tops[-1] + height, lefts[-1] + width, 3), 255, dtype=np.uint8)
    for top, images in zip(tops, examples.values(), strict=True):
        for left, image in zip(lefts, (clean, *(images[severity] for severity in severities)), strict=True):
            mosaic[top : top + height, left : left + width] = image
    # inches a pixel: large enough for the eye, small enough for 15 corruptions on one page
    scale = min(0.7 / width, 9.0 / mosaic.shape[0])
    figure, axis = plt.subplots(figsize=(mosaic.shape[1] * scale + 1.4, mosaic.shape[0] * scale + 0.4))
    axis.imshow(mosaic, interpolation="nearest")
    columns = [left + (width - 1) / 2 for left in lefts]
    axis.set_xticks(columns, [CLEAN_LABEL, *map(str, severities)])
    axis.set_yticks([top + (height - 1) / 2 for top in tops], [_readable(name) for name in examples])
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    middle = (columns[1] + columns[-1]) / 2
    axis.annotate("severity", (middle, 1), (0, 18), ("data", "axes fraction"), "offset points", ha="center")
    sns.despine(figure, left=True, bottom=True)
    return figure


def _readable(name: str) -> str:
    return name.replace("_", " ")


def draw_corruption_heatmap(errors: pd.DataFrame) -> Figure:
    """Return the error in percent, mean over severities and seeds, by method (rows) and corruption (columns).

    The column "clean" comes first, apart from the corruptions.
    """
    set_style()
    if CLEAN_LABEL in errors:
        errors = errors[[CLEAN_LABEL, *errors.columns.drop(CLEAN_LABEL)]]
    figure, axis = plt.subplots(figsize=(PAGE_WIDTH, 1.5 + 0.3 * len(errors)))
    sns.heatmap(
        errors.rename(columns=_readable, index=as_text),
        ax=axis,
        annot=True,
        fmt=".1f",
        annot_kws={"fontsize": 6.5 if errors.shape[1] > 10 else 8},
        cmap="cividis",
        linewidths=0.5,
        cbar_kws={"label": "error (%)", "pad": 0.02, "aspect": 12},
    )
    if CLEAN_LABEL in errors:
        axis.axvline(1, color="white", linewidth=4)
    plt.setp(axis.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    plt.setp(axis.get_yticklabels(), rotation=0)
    axis.set(xlabel="", ylabel="")
    return figure


def draw_error_against_severity(errors: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Return the error by severity of corruption, one line per method.

    Args:
        errors: `method` (label), `severity` (0 for clean images), `seed` and `error`: percent, mean over corruptions.
        methods: labels in the order of the tables, which gives the colours.
    """
    set_style()
    figure, axis = plt.subplots(figsize=(0.65 * PAGE_WIDTH, 3.8))
    for method, frame in by_method(errors, methods):
        draw_line(axis, frame, "severity", "error", **look_of(methods, method))
    severities = sorted(errors["severity"].unique())
    axis.set_xticks(severities, [str(severity) if severity else CLEAN_LABEL for severity in severities])
    axis.set(xlabel="severity, mean over corruptions", ylabel="error (%)")
    _set_percent_limits(axis)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, title=spread(errors, "method", "severity"))
    sns.despine(figure)
    return figure


def snr_curves(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Return the curves for `draw_accuracy_against_snr`, from the rows of `lgg.evaluation.robustness_tests`.

    `evaluations` has `method`, `seed`, `test`, `level` and `value`.
    """
    parts = []
    for test in CURVES:
        curve = evaluations[evaluations["test"].isin([CLEAN_ATTACKED_IMAGES.test, test])]
        snr, accuracy = curve["level"].fillna(math.inf), 100.0 - curve["value"]
        parts.append(curve[["method", "seed"]].assign(test=test, snr=snr, accuracy=accuracy))
    return pd.concat(parts)


def draw_accuracy_against_snr(curves: pd.DataFrame, methods: Sequence[str], marked: float) -> Figure:
    """Return the accuracy under FGSM by signal-to-noise ratio: one panel for each form of the attack, one line per method.

    Args:
        curves: `method` (label), `test` (of `CURVES`), `snr` in decibels (infinity for clean images), `seed` and
            `accuracy` in percent.
        methods: labels in the order of the tables, which gives the colours.
        marked: the ratio used in the tables, in decibels; marked by a line if it is in the range of the curves.

    The attack gets stronger to the right.
    """
    set_style()
    tests = [test for test in CURVES if test in set(curves["test"])]
    figure, axes = plt.subplots(
        1, len(tests), figsize=(PAGE_WIDTH * (1.0 if len(tests) > 1 else 0.6), 3.3), sharey=True, squeeze=False
    )
    finite = sorted(snr for snr in curves["snr"].unique() if math.isfinite(snr))
    clean_at = finite[-1] + 0.15 * max(finite[-1] - finite[0], 1.0)
    for axis, test in zip(axes[0], tests, strict=True):
        for method, frame in by_method(curves[curves["test"] == test], methods):
            look, attacked = look_of(methods, method), frame[np.isfinite(frame["snr"])]
            draw_line(axis, attacked, "snr", "accuracy", **look)
            clean = frame.loc[np.isinf(frame["snr"]), "accuracy"]
            if len(clean) and len(attacked):
                last = attacked["snr"].max()
                nearest = attacked.loc[attacked["snr"] == last, "accuracy"].mean()
                _draw_clean(axis, clean_at, clean, (last, nearest), look)
        ticks: list[float] = [snr for snr in range(0, 1000, 5) if finite[0] <= snr <= finite[-1]]
        if finite[0] <= marked <= finite[-1]:
            axis.axvline(marked, color="0.6", linewidth=0.8, zorder=0)
            # its own tick would overlap with a nearby one
            ticks = [marked, *(snr for snr in ticks if abs(snr - marked) > 2)]
        axis.set_xticks([*ticks, clean_at], [*(f"{snr:g}" for snr in ticks), CLEAN_LABEL])
        axis.set_xlim(clean_at + 1, finite[0] - 1)
        axis.set(xlabel="signal-to-noise ratio (dB)", title=CURVES[test])
    axes[0, 0].set_ylabel("accuracy (%)")
    axes[0, 0].set_ylim(bottom=0)
    # a method may have been attacked in one form only
    lines = {line.get_label(): line for axis in axes[0] for line in axis.get_legend_handles_labels()[0]}
    figure.legend(
        handles=[lines[label] for label in map(as_text, methods) if label in lines],
        loc="outside lower center",
        ncols=len(tests) + 1,
        frameon=False,
        title=spread(curves, "method", "test", "snr"),
    )
    sns.despine(figure)
    return figure


def _draw_clean(
    axis: Axes, x: float, clean: "pd.Series[float]", link_to: tuple[float, float], look: Mapping[str, Any]
) -> None:
    """Draw the accuracy without attack at the far end of the axis; dotted, since it is off the scale."""
    axis.plot([link_to[0], x], [link_to[1], clean.mean()], color=look["color"], linewidth=0.8, linestyle=":")
    axis.plot([x], [clean.mean()], color=look["color"], marker=look["marker"], markersize=4, linestyle="")
    if len(clean) >= SEEDS_OF_A_BAND:
        summary = summarize(clean)
        axis.plot([x, x], [summary.ci95_low, summary.ci95_high], color=look["color"], linewidth=1)


def weight_sweep(evaluations: pd.DataFrame, snr: float) -> pd.DataFrame:
    """Return the data for `draw_weight_sweep`, from the rows of `lgg.evaluation.robustness_tests`.

    `evaluations` has `weight`, `seed`, `test`, `level` and `value`; `snr` is the ratio of FGSM that is shown.
    """
    shown = evaluations[evaluations["level"].isna() | (evaluations["level"] == snr)]
    by_test = {test: shown[shown["test"] == test].set_index(["weight", "seed"])["value"] for test in SWEPT}
    return pd.DataFrame(by_test).reset_index()


def draw_weight_sweep(sweep: pd.DataFrame) -> Figure:
    """Return the errors, clean and under FGSM, by the weight γ of the regularizer; the baseline (γ = 0) as dashes.

    Args:
        sweep: `weight`, `seed` and, for each of `SWEPT`, the error in percent.
    """
    set_style()
    figure, axis = plt.subplots(figsize=(0.65 * PAGE_WIDTH, 3.8))
    without, weighted = sweep[sweep["weight"] == 0], sweep[sweep["weight"] > 0]
    for place, (test, label) in enumerate(SWEPT.items()):
        look = {"color": PALETTE[place], "marker": MARKERS[place]}
        draw_line(axis, weighted, "weight", test, **look, label=label)
        if len(without):
            label = f"{label}, without regularizer"
            axis.axhline(without[test].mean(), color=look["color"], linestyle="--", linewidth=1, label=label)
    axis.set_xscale("log")
    axis.set(xlabel="weight γ of the regularizer", ylabel="error (%)")
    _set_percent_limits(axis)
    # its labels are too long for two columns
    figure.legend(loc="outside lower center", ncols=1, frameon=False, title=spread(sweep, "weight"))
    sns.despine(figure)
    return figure


def _set_percent_limits(axis: Axes) -> None:
    """Start the axis at zero and end it just above 100 %; the bands of few seeds can reach beyond."""
    axis.set_ylim(0, min(axis.get_ylim()[1], 102.0))
