"""Shared by the benchmarks: a description of the machine, tables as CSV, and two kinds of plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lgg.devices import prepare
from lgg.pipeline import machine
from lgg.reporting.figures import MARKERS, PALETTE, plt, set_style

RESULTS = Path(__file__).parent / "results"


def begin() -> int:
    """Set up this process like that of a job, print a description of the machine, and return its number of cores."""
    here = machine.describe()
    prepare(0, here["cores"])
    print(f"{here['processor']}, {here['cores']} cores, torch {torch.__version__}, {here['system']}", flush=True)
    set_style()
    return int(here["cores"])


def relative(times: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return medians and ratios to `reference`, with the smallest and largest ratio of a round.

    `times` has the columns `name`, `round` and `seconds_per_step`; the result has one row per name, in their order.
    """
    by_round = times.pivot(index="round", columns="name", values="seconds_per_step")[times["name"].unique()]
    ratios = by_round.div(by_round[reference], axis=0)
    columns = {"seconds": by_round.median(), "ratio": ratios.median(), "low": ratios.min(), "high": ratios.max()}
    return pd.DataFrame(columns).rename_axis("name").reset_index()


def show(table: pd.DataFrame, title: str = "") -> None:
    """Print a table."""
    if title:
        print(f"\n{title}")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}", na_rep=""), flush=True)


def keep(table: pd.DataFrame, figure: Figure, name: str) -> None:
    """Write results/NAME.csv and results/NAME.png."""
    RESULTS.mkdir(exist_ok=True)
    table.to_csv(RESULTS / f"{name}.csv", index=False, float_format="%.4g")
    figure.savefig(RESULTS / f"{name}.png", dpi=200)
    plt.close(figure)


def draw_cost(axis: Axes, costs: Mapping[str, pd.DataFrame], quantity: str, start: float) -> None:
    """Draw seconds against `quantity` on log axes, with the exponent of a power law fitted to values from `start`.

    `costs` maps each name to a table with the columns `quantity` and `seconds`.
    """
    for place, (name, cost) in enumerate(costs.items()):
        large = cost[cost[quantity] >= start]
        exponent = np.polyfit(np.log(large[quantity]), np.log(large["seconds"]), 1)[0]
        print(f"{name}: time grows as {quantity}^{exponent:.2f} from {quantity} = {start:,}", flush=True)
        label = f"{name}, ∝ {quantity}$^{{{exponent:.2f}}}$"
        axis.loglog(cost[quantity], cost["seconds"], marker=MARKERS[place], color=PALETTE[place], label=label)
    axis.set(xlabel=quantity, ylabel="seconds")
    axis.legend(frameon=False, fontsize=7)


def draw_ratios(table: pd.DataFrame, labels: Sequence[str], xlabel: str) -> Figure:
    """Draw the column `ratio` as points on a log axis with their range from `low` to `high`, and `goal` if there is one."""
    figure, axis = plt.subplots(figsize=(6.5, 0.9 + 0.22 * len(table)))
    places = np.arange(len(table))
    spread = [table["ratio"] - table["low"], table["high"] - table["ratio"]]
    axis.axvline(1, color="black", linewidth=0.6)
    axis.errorbar(table["ratio"], places, xerr=spread, fmt="o", color=PALETTE[0], elinewidth=1, label="measured")
    if "goal" in table and table["goal"].notna().any():
        axis.scatter(table["goal"], places, marker="|", s=120, linewidth=2, color=PALETTE[3], zorder=3, label="goal")
        axis.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.set_xticks([tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.7, 1, 1.5, 2, 3, 5, 8) if low < tick < high])
    axis.xaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.set_yticks(places, labels)
    axis.set_ylim(len(table) - 0.5, -0.5)
    axis.grid(axis="y", linewidth=0.3)
    axis.set_xlabel(xlabel)
    return figure
