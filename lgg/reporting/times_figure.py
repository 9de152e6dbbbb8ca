"""Table A1 as bars (Appendix D)."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from lgg.reporting.figures import PAGE_WIDTH, PALETTE, as_text, set_style
from lgg.reporting.measures import RATIO


def draw_times(table: pd.DataFrame) -> Figure:
    """Return one bar per row of Table A1: its time as a multiple of its baseline's; the paper's, where given, as a diamond.

    Args:
        table: as `lgg.reporting.time_table.time_table` gives it. Lines span the fastest to the slowest round.
    """
    set_style()
    labels = dict(zip(table["name"], table["label"], strict=True))
    named = [
        row["label"] if row["name"] == row["baseline"] else f"{row['label']} ÷ {labels[row['baseline']]}"
        for _, row in table.iterrows()
    ]
    networks = table["network"].tolist()
    places = range(len(table))
    figure, axis = plt.subplots(figsize=(PAGE_WIDTH, 0.9 + 0.26 * len(table)))
    ratios, lows, highs = (table[f"{RATIO.name}{end}"] for end in ("", "_low", "_high"))
    published = table[RATIO.paper_column]
    spread = [ratios - lows, highs - ratios]
    axis.barh(places, ratios, xerr=spread, color=PALETTE[0], error_kw={"elinewidth": 1}, label="here")
    paper = published.notna()
    if paper.any():
        axis.scatter(
            published[paper], [place for place in places if paper.iloc[place]], marker="D", s=22,
            color=PALETTE[1], edgecolor="black", linewidth=0.5, zorder=3, label="the paper",
        )  # fmt: skip
    for place, (ratio, high) in enumerate(zip(ratios, highs, strict=True)):
        end = max(high, published.fillna(0).iloc[place])
        axis.annotate(f"{ratio:.2f}", (end, place), (5, 0), textcoords="offset points", va="center", fontsize=7)
    axis.set_yticks(
        places,
        [
            f"{as_text(name, 48)}\n{as_text(network, 48, lines=1)}"
            for name, network in zip(named, networks, strict=True)
        ],
        fontsize=6.5,
    )
    axis.set_ylim(len(table) - 0.4, -0.6)
    axis.set_xlim(0, 1.1 * max(highs.max(), published.fillna(0).max()))
    axis.axvline(1, color="0.4", linewidth=0.8, linestyle="--")
    axis.set_xlabel(f"time of an epoch ÷ the baseline's, median of {table['rounds'].iloc[0]} rounds, least to largest")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    sns.despine(figure)
    return figure
