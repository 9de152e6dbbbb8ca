"""What settings were chosen by, and what the paper's configuration would take."""

from typing import Any

import pandas as pd

from publishing.published_run import Published
from publishing.text import NOT_YET, markdown, number, outputs_of

OPTIMIZER = {"sgd": "", "adamw": ", AdamW"}
HOURS = ("hours_paper_1", "hours_paper_4", "hours_measured_1", "hours_measured_4")


def validation(published: Published) -> str:
    """Return what settings were chosen by: errors on validation images."""
    rows = [
        (row["what"], row["method"], row["setting"], number(row["error"]), row["measure"])
        for _, row in published.table("validation").iterrows()
    ]
    return markdown(("training", "method", "learning rate or loss", "value", "what the value is"), rows)


def trials(published: Published) -> str:
    """Return the trials of embeddings on held-out images, lowest error first within each number of dimensions."""
    if not published.has_table("embedding_trials"):
        return NOT_YET
    found = published.table("embedding_trials").sort_values(["dimensions", "error"], ascending=[False, True])
    rows = [
        (
            f"{row['dimensions']}",
            (row["objective"] if pd.isna(row["normalization"]) else _objective(row)) + OPTIMIZER[row["optimizer"]],
            f"{row['weight']:g}",
            f"{row['peak']:g}",
            f"{row['warm_up']:g}",
            number(row["error"]),
            f"{number(100 * (row['even'] - row['last_loss']) / (row['even'] - row['apart']), 0)} %",
        )
        for _, row in found.iterrows()
    ]
    error = "error of 10 nearest neighbours (%)"
    header = ("dimensions", "objective", "weight", "peak", "warm-up", error, "from even to apart")
    return markdown(header, [(*row[:-1], row[-1].replace("– %", "–")) for row in rows])


def normalization(published: Published) -> str:
    """Return the lowest errors of the trials by how outputs are normalised, with cross-entropy's, in a sentence."""
    if not published.has_table("embedding_trials"):
        return NOT_YET
    found = published.table("embedding_trials")
    sentences = []
    for dimensions, place in ((10, "In ten dimensions"), (2, "In the plane")):
        tried = found[found["dimensions"] == dimensions]
        kinds = {
            "label variation of outputs of unit length": tried["normalization"] == "unit length",
            "of variance 1": (tried["normalization"] == "batch") & (tried["attraction"] == 0),
            "of variance 1 with attraction": (tried["normalization"] == "batch") & (tried["attraction"] > 0),
            "cross-entropy": tried["objective"] == "cross-entropy",
        }
        lowest = {name: tried.loc[own, "error"].min() for name, own in kinds.items() if own.any()}
        if lowest:
            sentences.append(
                f"{place}: " + ", ".join(f"{name} {number(error)} %" for name, error in lowest.items()) + "."
            )
    return " ".join(sentences) + "\n"


def _objective(row: "pd.Series[Any]") -> str:
    kernel = {"rbf": f"exp(−{row['rbf_scale']:g}·d)", "rbf_squared": f"exp(−{row['rbf_scale']:g}·d²)"}[
        row["similarity"]
    ]
    reduction = {"mean": "mean", "log_mean": "log of the mean"}[row["reduction"]]
    normalization, *attraction = outputs_of(row["normalization"], row["attraction"]).split(", ")
    return ", ".join([normalization, kernel, reduction, *attraction])


def estimate(published: Published) -> str:
    """Return what the training runs of the paper's configuration would take, by section."""
    found = published.table("operations")
    found["section"] = found["training"].str.split(".").str[0]
    found["steps"] = found["networks"] * found["steps_each"]
    sums = found.groupby("section", sort=False)[["networks", "steps", "petaflop", *HOURS]].sum()
    sums.loc["together"] = sums.sum()
    rows = [
        (
            str(name),
            f"{row['networks']:.0f}",
            f"{row['steps'] / 1e6:.2f}",
            f"{row['petaflop']:,.0f}",
            *(f"{row[hours]:.1f}" for hours in HOURS),
        )
        for name, row in sums.iterrows()
    ]
    rate, device = found["teraflops_paper"].iloc[0], found["device_measured"].iloc[0]
    header = (
        "training runs",
        "networks",
        "steps (millions)",
        "PFLOP",
        *(f"hours, {gpus} at {rate:.1f} TFLOP/s" for gpus in ("one GPU", "four GPUs")),
        *(f"hours, {gpus} {device}, measured steps" for gpus in ("one", "four")),
    )
    return markdown(header, rows)
