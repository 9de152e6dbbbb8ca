"""Table 3, its supplement and the second robustness table: networks under attacks, corruptions and noise (Section 4.3)."""

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lgg import defences
from lgg.errors import DataError
from lgg.reporting.comparison_table import Comparison, comparison_table, shows_paper, write_table
from lgg.reporting.corruption_measures import CorruptionMeasures, Values
from lgg.reporting.measures import (
    COLUMNS,
    DEEPFOOL,
    FGSM_NORMALIZED,
    FGSM_PIXELS,
    PGD,
    STRONG_PGD,
    TRANSFER_PGD,
    Measure,
)

TITLES = {
    "table3": "Table 3: robustness",
    "table3_supplement": "Supplement of Table 3: further attacks and weights of the regularizer",
    "robustness": "Accuracy under noise, dropout, coarse weights and attacks",
}
TABLE3_OF_THE_PAPER = (
    "Paper: Lassance, Gripon, Ortega 2021, Table 3: CIFAR-10, PreActResNet18, 10 seeds; its FGSM is the one on normalised "
    "inputs."
)
PAPER = {
    "table3": TABLE3_OF_THE_PAPER,
    "table3_supplement": TABLE3_OF_THE_PAPER,
    "robustness": "Paper: accuracies of the networks published with the paper's code, CIFAR-10, mean of 10, where an "
    "attack's constants are those given here.",
}
CURVES = (FGSM_PIXELS.test, FGSM_NORMALIZED.test)  # tests at several levels, of which tables show one


def robustness_table(
    table: str,
    rows: Sequence[Mapping[str, Any]],
    evaluations: Mapping[str, pd.DataFrame],
    corruptions: Mapping[str, pd.DataFrame],
    baseline: str,
    tests: Mapping[str, Any],
    side: int,
) -> Comparison:
    """Return "table3", "table3_supplement" or "robustness".

    Args:
        table: name of the table.
        rows: in order, as `comparison_table` takes them.
        evaluations: by method, one row for each seed, `test` and `level`, as `lgg.evaluation.robustness_tests` gives them.
        corruptions: by method, errors as `lgg.reporting.corruption_error` takes them; empty where the run has none.
        baseline: name of the row that the others are compared with.
        tests: `robustness.tests` of the configuration.
        side: of the test images, in pixels.
    """
    label = next(row["label"] for row in rows if row["name"] == baseline)
    of_corruptions = CorruptionMeasures(corruptions.get(baseline), label, side)
    made = set().union(*(evaluation["test"] for evaluation in evaluations.values()))
    # DeepFool may be left out, and networks that an earlier version evaluated lack what a later one added
    made -= set() if tests["deepfool_images"] else {DEEPFOOL.test}
    columns = [one for one in COLUMNS[table] if not one.test or one.test in made]
    for name, evaluation in evaluations.items():
        _check_attacks(name, evaluation, {one.test for one in columns}, tests)
    measures = [one.with_constants(tests) for one in of_corruptions.columns(columns)]
    values = {
        row["name"]: _values(evaluations[row["name"]], measures, tests["fgsm_snr"])
        | of_corruptions.values(corruptions.get(row["name"]))
        for row in rows
    }
    images = _images(evaluations.values(), measures) | of_corruptions.images()
    found = comparison_table(rows, values, measures, baseline, images=images)
    return Comparison(found, measures, [_test_note(table, tests), *of_corruptions.notes(measures)])


def write_robustness_table(
    table: str, found: Comparison, trained: str, notes: Sequence[str], files: Mapping[str, Path]
) -> None:
    """Write what `robustness_table` gives to `files`, by form, each atomically.

    `trained` states what was trained for how long and with which defences; `notes` are about the data.
    """
    paper = [PAPER[table]] if shows_paper(found.table) else []
    write_table(found, [*paper, trained, *found.notes, *notes], title=TITLES[table], files=files)


def describe_defences(row: Mapping[str, Any]) -> str:
    """Return a sentence on how a row's networks were defended; empty if they were not.

    `row` has `label` and `defences`, each with the `name` of a module of `lgg.defences` and its `options`.
    """
    parts = [defences.build(one["name"], **one["options"]).sentence for one in row["defences"]]
    return f"{row['label']}: {'; '.join(parts)}." if parts else ""


def _check_attacks(method: str, evaluation: pd.DataFrame, shown: Container[str], tests: Mapping[str, Any]) -> None:
    """Raise DataError where the attacks of an evaluation, say one of a restored run, are not those configured now."""
    for measure in (PGD, STRONG_PGD, TRANSFER_PGD):
        (attack,) = measure.constants
        rows = evaluation[evaluation["test"] == measure.test]
        if measure.test not in shown or rows.empty or "steps" not in rows:
            continue
        run = {(int(steps), int(restarts)) for steps, restarts in zip(rows["steps"], rows["restarts"], strict=True)}
        wanted = (tests[attack]["steps"], tests[attack]["restarts"])
        if run != {wanted}:
            steps, restarts = min(run - {wanted})
            raise DataError(
                f"{method}: {measure.test} was run with {steps} steps from {restarts} start(s), and robustness.tests.{attack} "
                f"asks for {wanted[0]} from {wanted[1]}. Delete evaluation.csv of this method's networks to evaluate them "
                "again, or configure what was run."
            )


def _values(evaluation: pd.DataFrame, measures: Sequence[Measure], snr: float) -> Values:
    """Return the values to show by measure and seed; for FGSM's curves, the point that tables show."""
    shown = evaluation[~evaluation["test"].isin(CURVES) | (evaluation["level"] == snr)]
    return {
        measure.name: {
            int(seed): measure.shown(float(value)) for seed, value in zip(own["seed"], own["value"], strict=True)
        }
        for measure in measures
        if len(own := shown[shown["test"] == measure.test])
    }


def _images(evaluations: Iterable[pd.DataFrame], measures: Sequence[Measure]) -> dict[str, int]:
    return {
        measure.name: int(own["images"].iloc[0])
        for evaluation in evaluations
        for measure in measures
        if len(own := evaluation[evaluation["test"] == measure.test])
    }


def _test_note(table: str, tests: Mapping[str, Any]) -> str:
    notes = [f"FGSM at a signal-to-noise ratio of {tests['fgsm_snr']:g} dB."]
    if table == "table3":
        notes.append("Clean errors on just the images under attack are in its supplement.")
    else:
        notes.append(f"PGD on pixels: {describe_pgd(tests['pgd'])}.")
    if table == "table3_supplement":
        notes.append(
            "Images without a gradient: the share of images whose cross-entropy has a gradient of zero in floating point, "
            "since the network is too sure of them. Attacks along the gradient do not move them, so errors under attack may "
            "be too low by as much. "
            f"The stronger PGD, a check for gradient masking: {describe_pgd(tests['strong_pgd'])}. From baseline: crafted on "
            f"one more baseline network, of seed {tests['transfer_seed']}, which is none of these. DeepFool: median over its "
            "images of the perturbation's relative L2 norm, zero where a network errs without one; larger is more robust."
        )
    if table == "robustness":
        notes.append(
            "Gaussian noise on pixels, clamped; dropout after each block; weights of a tensor cut towards zero, to "
            "multiples of a power of two."
        )
    return " ".join(notes)


def describe_pgd(settings: Mapping[str, Any]) -> str:
    """Return the constants of a PGD attack (`robustness.tests.pgd`) in words."""
    aim = "" if settings["loss"] == "cross_entropy" else ", on differences of logits"
    end = ", ended at the first success" if settings["stop_at_success"] else ""
    return (
        f"L∞, ε = {settings['epsilon']:.3g}, steps of {settings['step_size']:.3g}, {settings['steps']} from each of "
        f"{settings['restarts']} start(s), the first at the image{aim}{end}"
    )
