"""Table 2 from the errors of embeddings, and its supplement with every classifier."""

from argparse import Namespace
from dataclasses import replace
from typing import Any

import pandas as pd

from lgg.data.storage import read_header
from lgg.evaluation.corruption_error import (
    faint_corruptions,
    mean_corruption_error,
    plain_mce,
    relative_mce,
    undefined_corruptions,
)
from lgg.pipeline.job import run
from lgg.reporting.comparison_table import Metric, comparison_table, shows_paper, write_table
from lgg.reporting.notes import corruption_notes, data_notes, training_note
from lgg.reporting.seeds import read_methods
from lgg.reporting.tables import FORMS, files_of

CLEAN = Metric("clean_error", "Clean error")
RELATIVE = Metric("relative_mce", "Relative MCE", unit="")
PLAIN = Metric("plain_mce", "Plain MCE", unit="")
MEAN = Metric("mean_corruption_error", "Mean corruption error")

CLASSIFIERS = {
    "own": "its own largest logit",
    "nearest_neighbours": "10 nearest neighbours",
    "svm": "support vector machine (RBF)",
    "logistic_regression": "logistic regression",
    "nearest_centroid": "nearest centroid",
}
PAPER = "Paper: Lassance, Gripon, Ortega 2021, Table 2: CIFAR-10, ResNet18."


def main(arguments: Namespace) -> None:
    recipe = arguments.recipe
    rows = {row["name"]: row for row in recipe["rows"]}
    clean = read_methods(arguments.evaluations)
    corrupted = read_methods(arguments.corruptions) if arguments.corruptions else {}
    baseline = recipe["baseline"]
    metrics, counts, notes = [CLEAN], {CLEAN.name: int(clean[baseline]["images"].iloc[0])}, []
    if corrupted:
        reference = _by(corrupted[baseline], rows[baseline]["classifier"])
        faint = faint_corruptions(reference, int(reference["images"].iloc[0]))
        metrics += [replace(RELATIVE, bold=not faint), PLAIN]
        counts |= dict.fromkeys((RELATIVE.name, PLAIN.name, MEAN.name), int(reference["images"].iloc[0]))
        notes = corruption_notes(reference, rows[baseline]["label"], undefined_corruptions(reference), faint)

    def values(name: str, classifier: str) -> dict[str, dict[int, float]]:
        own = _by(clean[name], classifier)
        found = {CLEAN.name: {int(seed): float(error) for seed, error in zip(own["seed"], own["error"], strict=True)}}
        if not corrupted:
            return found
        under = _by(corrupted[name], classifier)
        return found | {
            RELATIVE.name: relative_mce(under, reference),
            PLAIN.name: plain_mce(under, reference),
            MEAN.name: mean_corruption_error(under),
        }

    train, test = read_header(arguments.train), read_header(arguments.test)
    legend = [
        training_note(recipe["trained"], train["shape"][0]),
        f"Classifiers were fitted to the embeddings of {clean[baseline]['training_images'].iloc[0]:,} training images: "
        + "; ".join(f"{row['label']}: {CLASSIFIERS[row['classifier']]}" for row in rows.values())
        + ".",
        *notes,
        *data_notes([train["notes"], test["notes"]]),
    ]
    table = comparison_table(
        list(rows.values()),
        {name: values(name, row["classifier"]) for name, row in rows.items()},
        metrics,
        baseline,
        images=counts,
    )
    write_table(
        table,
        metrics,
        [PAPER, *legend] if shows_paper(table) else legend,
        title="Table 2: embeddings",
        files=files_of(arguments),
    )
    every = [
        _supplement_row(row, classifier, baseline) for row in rows.values() for classifier in _classifiers(clean, row)
    ]
    metrics = [*metrics, MEAN] if corrupted else metrics
    supplement = comparison_table(
        every,
        {row["name"]: values(row["method"], row["classifier"]) for row in every},
        metrics,
        baseline,
        images=counts,
    )
    write_table(
        supplement,
        metrics,
        legend,
        title="Supplement of Table 2: every classifier on every embedding",
        files=files_of(arguments, "supplement_"),
    )


def _by(table: pd.DataFrame, classifier: str) -> pd.DataFrame:
    return table[table["classifier"] == classifier].drop(columns="classifier")


def _classifiers(clean: dict[str, pd.DataFrame], row: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(clean[row["name"]]["classifier"]))


def _supplement_row(row: dict[str, Any], classifier: str, baseline: str) -> dict[str, Any]:
    """Return the row of a method and a classifier; the baseline with its own classifier keeps the baseline's name."""
    is_baseline = row["name"] == baseline and classifier == row["classifier"]
    return {
        "name": baseline if is_baseline else f"{row['name']}/{classifier}",
        "label": f"{row['label']}, {CLASSIFIERS[classifier]}",
        "method": row["name"],
        "classifier": classifier,
        "paper": {},
    }


if __name__ == "__main__":
    run(
        main,
        inputs=("train", "test"),
        lists=("evaluations",),
        optional_lists=("corruptions",),
        outputs=[f"{table}{form}" for table in ("", "supplement_") for form in FORMS],
    )
