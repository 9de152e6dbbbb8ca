"""Table 3, its supplement, or the second robustness table, from the errors of networks under attacks and corruptions."""

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

Values = dict[str, dict[int, float]]
Row = dict[str, Any]

RELATIVE = Metric("relative_mce", "Relative MCE", unit="")
PLAIN = Metric("plain_mce", "Plain MCE", unit="")
MEAN = Metric("mean_corruption_error", "Mean corruption error")
PAPER = (
    "Paper: Lassance, Gripon, Ortega 2021, Table 3: CIFAR-10, PreActResNet18, 10 seeds; its FGSM is the one on normalised "
    "inputs."
)
PUBLISHED = (
    "Paper: accuracies of the networks published with the paper's code, CIFAR-10, mean of 10, where an attack's constants "
    "are those given here."
)


TITLES = {
    "table3": "Table 3: robustness",
    "table3_supplement": "Supplement of Table 3: further attacks and weights of the regulariser",
    "robustness": "Accuracy under noise, dropout, coarse weights and attacks",
}


def _metrics(table: str, tests: dict[str, Any]) -> list[Metric]:
    snr = f"{tests['fgsm_snr']:g} dB"
    if table == "table3":
        return [Metric("clean_error", "Clean error"), Metric("fgsm_normalized", f"FGSM error, {snr}"), RELATIVE, PLAIN]
    if table == "table3_supplement":
        steps = {name: f"{tests[name]['steps']} × {tests[name]['restarts']}" for name in ("pgd", "strong_pgd")}
        return [
            Metric("clean_error", "Clean"),
            Metric("clean_attacked_images", "Clean, attacked images"),
            Metric("without_gradient", "Images without a gradient"),
            Metric("fgsm_normalized", f"FGSM, normalised inputs, {snr}"),
            Metric("fgsm_pixels", f"FGSM, pixels, {snr}"),
            Metric("pgd", f"PGD, {steps['pgd']}"),
            Metric("strong_pgd", f"PGD, {steps['strong_pgd']}"),
            Metric("transfer_fgsm", f"FGSM from baseline, pixels, {snr}"),
            Metric("transfer_pgd", f"PGD from baseline, {steps['pgd']}"),
            MEAN,
            *(
                [Metric("deepfool", "DeepFool ‖r‖/‖x‖", unit="", digits=4, lower_is_better=False)]
                if tests["deepfool_images"]
                else []
            ),
        ]
    return [
        Metric("clean", "Clean", lower_is_better=False),
        Metric("fgsm_pixels", f"FGSM, pixels, {snr}", lower_is_better=False),
        Metric("fgsm_normalized", f"FGSM, normalised inputs, {snr}", lower_is_better=False),
        Metric("gaussian_noise", f"Gaussian noise, σ = {tests['noise_std']:g}", lower_is_better=False),
        Metric("dropout", f"Dropout {tests['dropout_rate']:g}", lower_is_better=False),
        Metric("quantized_weights", f"Weights of {tests['weight_bits']} bits", lower_is_better=False),
        Metric("pgd", f"PGD, {tests['pgd']['steps']} steps", lower_is_better=False),
    ]


def _measured(evaluation: pd.DataFrame, snr: float) -> Values:
    """Return value by test and seed; of FGSM's curve the one ratio that tables show."""
    shown = evaluation[~evaluation["test"].str.startswith("fgsm_") | (evaluation["level"] == snr)]
    return {
        str(test): {int(seed): float(value) for seed, value in zip(rows["seed"], rows["value"], strict=True)}
        for test, rows in shown.groupby("test")
    }


def _corruption_values(errors: pd.DataFrame, reference: pd.DataFrame) -> Values:
    return {
        "relative_mce": relative_mce(errors, reference),
        "plain_mce": plain_mce(errors, reference),
        "mean_corruption_error": mean_corruption_error(errors),
    }


def _accuracies(errors: Values) -> Values:
    return {test: {seed: 100.0 - error for seed, error in by_seed.items()} for test, by_seed in errors.items()}


def _notes(table: str, tests: dict[str, Any]) -> list[str]:
    pgd, strong = tests["pgd"], tests["strong_pgd"]
    notes = [f"FGSM at a signal-to-noise ratio of {tests['fgsm_snr']:g} dB."]
    if table == "table3":
        notes.append("Clean errors on just the images under attack stand in its supplement.")
    else:
        notes.append(f"PGD on pixels: {_described(pgd)}.")
    if table == "table3_supplement":
        notes.append(
            "Images without a gradient: the share of images whose cross-entropy has a gradient of zero in floating point, "
            "since the network is too sure of them. Attacks along the gradient do not move them, so errors under attack may "
            "be too low by as much. "
            f"The stronger PGD, a check for gradient masking: {_described(strong)}. From baseline: crafted on one more "
            f"baseline network, of seed {tests['transfer_seed']}, which is none of these. DeepFool: median over its images "
            "of the perturbation's relative L2 norm, zero where a network errs without one; larger is more robust."
        )
    if table == "robustness":
        notes.append(
            "Gaussian noise on pixels, clamped; dropout after each block; weights of a tensor cut towards zero, to "
            "multiples of a power of two."
        )
    return [" ".join(notes)]


def _defences(row: Row) -> str:
    """Return a sentence on how a row's networks were defended, nothing where they were not."""
    smoothness, parseval, adversarial = row["smoothness"], row["parseval"], row["adversarial"]
    parts = []
    if smoothness:
        neighbours = "" if smoothness["k"] is None else f", {smoothness['k']} neighbours"
        normalised = ", normalised graphs" if smoothness["normalize"] else ""
        if smoothness["similarity"] != "cosine":
            normalised += f", {smoothness['similarity']} kernel with α = {smoothness['rbf_scale']:g}"
        parts.append(
            f"regulariser with γ = {smoothness['weight']:g}, p = {smoothness['power']}, {smoothness['reduction']} over "
            f"layers{neighbours}{normalised}"
        )
    if parseval:
        parts.append(f"Parseval with β = {parseval['beta']:g}")
    if adversarial:
        start = "a random start" if adversarial["random_start"] else "the image"
        parts.append(
            f"PGD within ε = {adversarial['epsilon']:.3g} from {start}, {adversarial['steps']} step(s) of "
            f"{adversarial['step_size']:.3g}"
        )
    return f"{row['label']}: {'; '.join(parts)}." if parts else ""


def _described(pgd: dict[str, Any]) -> str:
    aim = "" if pgd["loss"] == "cross_entropy" else ", on differences of logits"
    end = ", ended at the first success" if pgd["stop_at_success"] else ""
    return (
        f"L∞, ε = {pgd['epsilon']:.3g}, steps of {pgd['step_size']:.3g}, {pgd['steps']} from each of {pgd['restarts']} "
        f"start(s), the first at the image{aim}{end}"
    )


def main(arguments: Namespace) -> None:
    recipe = arguments.recipe
    tests, baseline, rows = recipe["tests"], recipe["baseline"], recipe["rows"]
    evaluations = read_methods(arguments.evaluations)
    corrupted = read_methods(arguments.corruptions) if arguments.corruptions else {}
    reference = corrupted.get(baseline)
    values: dict[str, Values] = {}
    for row in rows:
        name = row["name"]
        errors = _measured(evaluations[name], tests["fgsm_snr"])
        errors["clean_error"] = errors["clean"]
        if recipe["table"] == "robustness":
            values[name] = _accuracies(errors)
        else:
            values[name] = errors
            if reference is not None and name in corrupted:
                values[name] |= _corruption_values(corrupted[name], reference)
    images = {
        str(test): int(part["images"].iloc[0]) for own in evaluations.values() for test, part in own.groupby("test")
    }
    images["clean_error"] = images["clean"]
    images["deepfool"] = tests["deepfool_images"]
    metrics, notes = _metrics(recipe["table"], tests), []
    if reference is None:
        metrics = [metric for metric in metrics if metric not in (RELATIVE, PLAIN, MEAN)]
    else:
        count = int(reference["images"].iloc[0])
        images |= dict.fromkeys((RELATIVE.name, PLAIN.name, MEAN.name), count)
        faint = faint_corruptions(reference, count)
        if RELATIVE in metrics:
            label = next(row["label"] for row in rows if row["name"] == baseline)
            notes = corruption_notes(reference, label, undefined_corruptions(reference), faint)
        metrics = [replace(metric, bold=not faint) if metric == RELATIVE else metric for metric in metrics]
    table = comparison_table(rows, values, metrics, baseline, images=images)
    train, test = read_header(arguments.train), read_header(arguments.test)
    legend = [
        *([PUBLISHED if recipe["table"] == "robustness" else PAPER] if shows_paper(table) else []),
        " ".join(filter(None, [training_note(recipe["trained"], train["shape"][0]), *map(_defences, rows)])),
        *_notes(recipe["table"], tests),
        *notes,
        *data_notes([train["notes"], test["notes"]]),
    ]
    write_table(table, metrics, legend, title=TITLES[recipe["table"]], files=files_of(arguments))


if __name__ == "__main__":
    run(main, inputs=("train", "test"), lists=("evaluations",), optional_lists=("corruptions",), outputs=FORMS)
