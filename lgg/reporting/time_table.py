"""Table A1: the time that training takes with each method (Appendix D)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lgg.reporting.measures import EPOCH_SECONDS, RATIO, Measure
from lgg.reporting.notes import network_name
from lgg.reporting.tables import number_cell, without_empty, write_forms

HOUR, MINUTE = 3600.0, 60.0
PAPER = (
    "Paper: Lassance, Gripon, Ortega 2021, Table A1: CIFAR-10, PreActResNet18, on the authors' machine; ratios are of its "
    "seconds."
)


def time_table(rows: Sequence[Mapping[str, Any]], times: pd.DataFrame, images: int) -> pd.DataFrame:
    """Return Table A1: seconds of an epoch and of the whole training, and the ratio to the section's baseline.

    Args:
        rows: in order; each with `name`, `label`, `network` (its architecture), `baseline` (the name of the row that it
            is compared with), `batch_size`, `epochs`, and `paper`: the paper's figures by measure.
        times: `name`, `round`, `seconds_per_step`; every row in every round.
        images: of an epoch.

    Columns: `epoch_seconds` is the median over rounds, with _low and _high the least and the largest; `ratio` is the
    median over rounds of a round's time over the baseline's in the same round, also with _low and _high;
    `paper_ratio` is the quotient of the paper's figures. Raises ValueError if a row or its baseline was not measured.
    """
    by_name = times.pivot(index="round", columns="name", values="seconds_per_step")
    needed = {name for row in rows for name in (row["name"], row["baseline"])}
    if missing := sorted(needed - set(by_name.columns)):
        raise ValueError(f"there are no times of {', '.join(missing)}")
    paper = {row["name"]: EPOCH_SECONDS.paper_figure(row) for row in rows}
    table = []
    for row in rows:
        steps = math.ceil(images / row["batch_size"])
        epochs, ratios = by_name[row["name"]] * steps, by_name[row["name"]] / by_name[row["baseline"]]
        table.append(
            {
                "name": row["name"],
                "label": row["label"],
                "network": network_name(row["network"]),
                "baseline": row["baseline"],
                "batch_size": row["batch_size"],
                **_spread(EPOCH_SECONDS, epochs),
                "epochs": row["epochs"],
                "total_seconds": epochs.median() * row["epochs"],
                **_spread(RATIO, ratios),
                "rounds": len(ratios),
                EPOCH_SECONDS.paper_column: paper[row["name"]],
                RATIO.paper_column: paper[row["name"]] / paper.get(row["baseline"], math.nan),
            }
        )
    return pd.DataFrame(table)


def _spread(measure: Measure, values: "pd.Series[float]") -> dict[str, float]:
    name = measure.name
    return {name: float(values.median()), f"{name}_low": float(values.min()), f"{name}_high": float(values.max())}


def write_time_table(table: pd.DataFrame, notes: Sequence[str], files: Mapping[str, Path]) -> None:
    """Write Table A1 to `files`, by form, each atomically; `notes` are about machine and data."""
    labels = dict(zip(table["name"], table["label"], strict=True))
    shown = pd.DataFrame(
        {
            "": table["label"],
            "Network": table["network"],
            "Batch": table["batch_size"],
            EPOCH_SECONDS.column: _with_range(table, EPOCH_SECONDS, "{:.3g}"),
            "Paper (s)": [number_cell(value, "{:.4g}") for value in table[EPOCH_SECONDS.paper_column]],
            RATIO.column: _with_range(table, RATIO, f"{{:.{RATIO.digits}f}}"),
            "Paper's ÷ baseline": [number_cell(value) for value in table[RATIO.paper_column]],
            "Baseline": [labels[name] for name in table["baseline"]],
            "Epochs": table["epochs"],
            "Whole training": [_duration(seconds) for seconds in table["total_seconds"]],
        }
    )
    shown = without_empty(shown, "Paper (s)", "Paper's ÷ baseline")
    legend = [
        f"Time of an epoch and its ratio to the baseline's: median of {table['rounds'].iloc[0]} rounds, least and largest in "
        "brackets. Rounds are interleaved in one process with nothing else running, and a round's time is divided by "
        "that of the baseline in the same round. An epoch is as many steps as the training images have batches, batches "
        "and augmentation included.",
        *([PAPER] if "Paper (s)" in shown else []),
        *notes,
    ]
    write_forms(table, [(None, shown)], legend, title="Table A1: time of an epoch", files=files)


def _with_range(table: pd.DataFrame, measure: Measure, form: str) -> list[str]:
    name = measure.name
    columns = (table[name], table[f"{name}_low"], table[f"{name}_high"])
    return [
        f"{form.format(middle)} [{form.format(low)}, {form.format(high)}]"
        for middle, low, high in zip(*columns, strict=True)
    ]


def _duration(seconds: float) -> str:
    if seconds >= HOUR:
        return f"{seconds / HOUR:.1f} h"
    return f"{seconds / MINUTE:.1f} min" if seconds >= MINUTE else f"{seconds:.1f} s"
