"""What the benchmarks share: the machine's line, tables as CSV, and two kinds of plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lgg import machine
from lgg.devices import prepare
from lgg.reporting.figures import MARKERS, PALETTE, plt, set_style

RESULTS = Path(__file__).parent / "results"


def begin() -> int:
    """Set up this process as a job's, print the machine's line, and return the number of its cores."""
    here = machine.describe()
    prepare(0, here["cores"])
    print(f"{here['processor']}, {here['cores']} cores, torch {torch.__version__}, {here['system']}", flush=True)
    set_style()
    return int(here["cores"])


def relative(times: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return medians and ratios to `reference`, with the least and the largest ratio of a round.

    `times` has the columns `name`, `round` and `seconds_per_step`; a row comes back for each name, in their order.
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
    """Draw seconds against `quantity` on log axes, with the exponent of the power law fitted from `start` on.

    `costs` holds for each name a table with the columns `quantity` and `seconds`.
    """
    for place, (name, cost) in enumerate(costs.items()):
        large = cost[cost[quantity] >= start]
        exponent = np.polyfit(np.log(large[quantity]), np.log(large["seconds"]), 1)[0]
        print(f"{name}: time grows as {quantity}^{exponent:.2f} from {quantity} = {start:,} on", flush=True)
        label = f"{name}, ∝ {quantity}$^{{{exponent:.2f}}}$"
        axis.loglog(cost[quantity], cost["seconds"], marker=MARKERS[place], color=PALETTE[place], label=label)
    axis.set(xlabel=quantity, ylabel="seconds")
    axis.legend(frameon=False, fontsize=7)


def draw_ratios(table: pd.DataFrame, labels: Sequence[str], xlabel: str) -> Figure:
    """Draw the column `ratio` as bars with the spread from `low` to `high`, and `goal` as a mark where there is one."""
    figure, axis = plt.subplots(figsize=(5.5, 0.8 + 0.24 * len(table)))
    places = np.arange(len(table))
    spread = [table["ratio"] - table["low"], table["high"] - table["ratio"]]
    axis.barh(places, table["ratio"], xerr=spread, color=PALETTE[0], error_kw={"elinewidth": 0.8})
    goals = table["goal"] if "goal" in table else pd.Series(np.nan, index=table.index)
    axis.scatter(goals, places, marker="|", s=120, color=PALETTE[3], zorder=3, label="goal")
    axis.set_yticks(places, labels)
    axis.invert_yaxis()
    axis.axvline(1, color="black", linewidth=0.6)
    axis.set_xlabel(xlabel)
    if goals.notna().any():
        figure.legend(loc="outside lower right", frameon=False)
    return figure
