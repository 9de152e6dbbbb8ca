"""Table 2: errors of classifiers on embeddings; and its supplement with every classifier (Section 4.2)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lgg.reporting.comparison_table import Comparison, comparison_table, shows_paper, write_table
from lgg.reporting.corruption_measures import CorruptionMeasures, Values
from lgg.reporting.measures import CLEAN_ERROR, COLUMNS

Row = Mapping[str, Any]

CLASSIFIERS = {
    "own": "its own largest logit",
    "nearest_neighbours": "10 nearest neighbours",
    "svm": "support vector machine (RBF)",
    "logistic_regression": "logistic regression",
    "nearest_centroid": "nearest centroid",
}
TITLES = {
    "table2": "Table 2: embeddings",
    "table2_supplement": "Supplement of Table 2: every classifier on every embedding",
}
PAPER = "Paper: Lassance, Gripon, Ortega 2021, Table 2: CIFAR-10, ResNet18."


def embedding_table(
    table: str,
    rows: Sequence[Row],
    evaluations: Mapping[str, pd.DataFrame],
    corruptions: Mapping[str, pd.DataFrame],
    baseline: str,
    side: int,
) -> Comparison:
    """Return Table 2 ("table2") or its supplement ("table2_supplement").

    Args:
        table: which of the two.
        rows: of Table 2, in order; each with `name`, `label`, `classifier` and `paper`, as `comparison_table` takes it.
            The supplement has one row for each method and classifier.
        evaluations: by method, one row for each seed and `classifier`: `seed`, `error` in percent, `images`,
            `training_images`.
        corruptions: the same with `corruption` and `severity`; empty if the run has no corruptions.
        baseline: name of the row that the others are compared with, with its own classifier.
        side: of the test images, in pixels.
    """
    usual = {row["name"]: row for row in rows}
    own_classifier = usual[baseline]["classifier"]
    reference = _by(corruptions[baseline], own_classifier) if corruptions else None
    of_corruptions = CorruptionMeasures(reference, usual[baseline]["label"], side)
    shown = rows if table == "table2" else _supplement_rows(rows, evaluations, baseline)

    def values(row: Row) -> Values:
        name, classifier = row.get("method", row["name"]), row["classifier"]
        clean = _by(evaluations[name], classifier)
        found = {int(seed): float(error) for seed, error in zip(clean["seed"], clean["error"], strict=True)}
        under = _by(corruptions[name], classifier) if corruptions else None
        return {CLEAN_ERROR.name: found} | of_corruptions.values(under)

    measures = of_corruptions.columns(COLUMNS[table])
    images = {CLEAN_ERROR.name: int(evaluations[baseline]["images"].iloc[0])} | of_corruptions.images()
    found = comparison_table(shown, {row["name"]: values(row) for row in shown}, measures, baseline, images=images)
    training_images = int(evaluations[baseline]["training_images"].iloc[0])
    return Comparison(found, measures, [_classifier_note(rows, training_images), *of_corruptions.notes(measures)])


def write_embedding_table(
    table: str, found: Comparison, trained: str, notes: Sequence[str], files: Mapping[str, Path]
) -> None:
    """Write what `embedding_table` gives to `files`, by form, each atomically.

    `trained` states what was trained for how long; `notes` are about the data.
    """
    paper = [PAPER] if shows_paper(found.table) else []
    write_table(found, [*paper, trained, *found.notes, *notes], title=TITLES[table], files=files)


def _by(errors: pd.DataFrame, classifier: str) -> pd.DataFrame:
    return errors[errors["classifier"] == classifier].drop(columns="classifier")


def _classifier_note(rows: Sequence[Row], training_images: int) -> str:
    classifiers = "; ".join(f"{row['label']}: {CLASSIFIERS[row['classifier']]}" for row in rows)
    return f"Classifiers were fitted to the embeddings of {training_images:,} training images: {classifiers}."


def _supplement_rows(
    rows: Sequence[Row], evaluations: Mapping[str, pd.DataFrame], baseline: str
) -> list[dict[str, Any]]:
    return [
        _supplement_row(row, str(classifier), baseline)
        for row in rows
        for classifier in dict.fromkeys(evaluations[row["name"]]["classifier"])
    ]


def _supplement_row(row: Row, classifier: str, baseline: str) -> dict[str, Any]:
    """Return the row of a method and a classifier; the baseline with its own classifier keeps the baseline's name."""
    is_baseline = row["name"] == baseline and classifier == row["classifier"]
    return {
        "name": baseline if is_baseline else f"{row['name']}/{classifier}",
        "label": f"{row['label']}, {CLASSIFIERS[classifier]}",
        "method": row["name"],
        "classifier": classifier,
        "paper": {},
    }
