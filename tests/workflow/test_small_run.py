import importlib.metadata
import json
import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from arrays import write_arrays
from configurations import configured, read
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from snakemake_runs import (
    DIGITS,
    GIT,
    ROOT,
    announced_jobs,
    copy_checkout,
    environment,
    plan,
    planned_jobs,
    snakemake,
    write_overlay,
)

from lgg import __version__
from lgg.attacks import fgsm
from lgg.data.corruption_archive import CorruptionArchive
from lgg.data.draws import draw_evenly
from lgg.data.storage import read_header, read_images
from lgg.evaluation.accuracy import error_percent, predict
from lgg.evaluation.classifiers import CLASSIFIERS
from lgg.evaluation.corruptions import choose_images, corrupted_images
from lgg.training.checkpoint import load_model

pytestmark = pytest.mark.pipeline

SETTINGS = configured((ROOT / DIGITS).read_text(encoding="utf-8"))
PAPER = read("paper.yaml")
METHODS = SETTINGS.distillation.active_methods
BASELINE = SETTINGS.distillation.baseline
EMBEDDINGS = SETTINGS.embedding.active_methods
PLANES = SETTINGS.embedding.figure.methods
DEFENCES = SETTINGS.robustness.active_methods
TABLE3 = SETTINGS.robustness.table_methods
TESTS = SETTINGS.robustness.tests
TABLES = ("table1", "table2", "table2_supplement", "table3", "table3_supplement", "robustness")
FIGURES = (
    *("figure1", "figure2", "figure2_draws", "graph_depths", "figureA1", "corruptions", "snr_curves"),
    *(f"{section}_{figure}" for section in ("embedding", "robustness") for figure in ("corruptions", "severity")),
    *("distillation_training", "embedding_training", "robustness_training", "layer_variation", "table1"),
    "job_times",
)
TARGETS = (
    *(f"tables/{name}.{kind}" for name in (*TABLES, "job_times") for kind in ("csv", "md", "tex", "html")),
    *(f"figures/{name}.{kind}" for name in FIGURES for kind in ("pdf", "png")),
    "provenance.json",
)


@pytest.fixture(scope="module")
def results(finished):
    return finished / "results" / SETTINGS.run


@pytest.fixture(scope="module")
def table1(results):
    return pd.read_csv(results / "tables" / "table1.csv").set_index("name")


@pytest.fixture(scope="module")
def tables(results):
    return {name: pd.read_csv(results / "tables" / f"{name}.csv").set_index("name") for name in TABLES}


@pytest.fixture(scope="module")
def all_jobs(finished):
    return planned_jobs(finished, "--forceall")


@pytest.fixture(scope="module")
def recomputed_errors(results):
    """Return, by row of Table 1 and by seed, the error of the stored network on the stored images."""
    errors = {
        name: {seed: clean_error(results, "distillation", name, seed) for seed in SETTINGS.seeds} for name in METHODS
    }
    data = read_images(results / "data" / "test.safetensors", verify=True)
    teacher = load_model(results / "distillation" / "teacher" / "model.safetensors")
    error = error_percent(predict(teacher, torch.from_numpy(data.images)), torch.from_numpy(data.labels))
    return errors | {"teacher": {SETTINGS.distillation.teacher.seed: error}}


@pytest.fixture(autouse=True, scope="module")
def as_many_threads_as_jobs_have():
    threads = torch.get_num_threads()
    torch.set_num_threads(SETTINGS.resources.evaluate.threads)
    yield
    torch.set_num_threads(threads)


def network(results, section, method, seed):
    return load_model(results / section / method / f"seed{seed}" / "model.safetensors")


def clean_error(results, section, method, seed):
    """Return the error of a stored network on the stored test images."""
    data = read_images(results / "data" / "test.safetensors")
    predicted = predict(network(results, section, method, seed), torch.from_numpy(data.images))
    return error_percent(predicted, torch.from_numpy(data.labels))


def fgsm_error(results, method, seed, form):
    """Return the error of a stored network of Section 4.3 under FGSM, in one batch."""
    data = read_images(results / "data" / "test.safetensors")
    part = draw_evenly(data.labels, TESTS.images, TESTS.seed, "images")
    pixels = torch.from_numpy(data.images[part]).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(data.labels[part])
    model = network(results, "robustness", method, seed)
    attacked = fgsm(model, pixels, labels, TESTS.fgsm_snr, form=form)
    return error_percent(model(attacked).argmax(dim=1), labels)


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_a_promised_file_is_there(results, target):
    assert (results / target).stat().st_size > 0


def test_every_job_left_its_outputs_its_log_and_its_benchmark(finished, all_jobs):
    for job in all_jobs:
        for path in [*job.files("output"), *job.files("benchmark")]:
            assert (finished / path).stat().st_size > 0, path
        (log,) = job.files("log")
        assert (finished / log).is_file(), log
        (benchmark,) = job.files("benchmark")
        assert len(pd.read_csv(finished / benchmark, sep="\t")) == 1


def test_everything_lies_below_the_folder_of_the_run(finished, results, tmp_path):
    before = copy_checkout(tmp_path)
    written = {path for path in finished.rglob("*") if path.is_file()}
    written -= {finished / path.relative_to(before) for path in before.rglob("*")}
    strangers = [
        path
        for path in written
        if not path.is_relative_to(results)
        and not {".git", ".snakemake", "__pycache__"} & set(path.relative_to(finished).parts)
    ]
    assert strangers == []


def test_no_unfinished_file_stays_behind(results):
    assert list(results.rglob(".*")) == []


def test_a_second_call_runs_nothing(finished, copy_of_finished):
    done = snakemake(copy_of_finished, "--cores", "1")
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout
    for path in (finished / "results").rglob("*.*"):
        again = copy_of_finished / path.relative_to(finished)
        assert again.stat().st_mtime_ns == path.stat().st_mtime_ns, path


def test_models_hold_tensors_and_no_pickle(results):
    models = sorted(results.rglob("model.safetensors"))
    by_seed = len(METHODS) + len(EMBEDDINGS) + len(DEFENCES)
    # the teacher, the reference network, the one that attacks are crafted on, and those of Figure A1
    assert len(models) == by_seed * len(SETTINGS.seeds) + 3 + len(PLANES)
    for path in models:
        with safe_open(path, framework="pt") as file:
            assert list(file.keys())
            notes = json.loads(file.metadata()["lgg"])["notes"]
        assert notes["recipe"]["seed"] in {0, *SETTINGS.seeds, TESTS.transfer_seed}
        assert notes["data_sha256"] == read_header(results / "data" / "train.safetensors")["sha256"]
    kinds = {path.suffix for path in results.rglob("*") if path.is_file()}
    assert kinds <= {
        ".safetensors",
        ".csv",
        ".json",
        ".md",
        ".tex",
        ".html",
        ".rst",
        ".pdf",
        ".png",
        ".gif",
        ".log",
        ".tsv",
    }


def test_histories_and_metrics_tell_of_the_training(results):
    for path in results.rglob("history.csv"):
        history = pd.read_csv(path)
        training = getattr(SETTINGS, path.relative_to(results).parts[0]).training
        assert history["epoch"].tolist() == list(range(1, training.epochs + 1))
        assert np.isfinite(history.to_numpy()).all()
        metrics = json.loads((path.parent / "metrics.json").read_text(encoding="utf-8"))
        assert metrics["images"] == SETTINGS.data.train_images
        assert metrics["recipe"]["training"] == training.model_dump(mode="json")


# --- Table 1 ------------------------------------------------------------------------------------------------------


def test_table1_has_a_row_for_the_teacher_and_each_method(table1):
    assert table1.index.tolist() == ["teacher", *METHODS]
    assert table1["label"].tolist() == [
        SETTINGS.distillation.teacher.label,
        *(method.label for method in METHODS.values()),
    ]
    assert table1["seeds"].tolist() == [1, *[len(SETTINGS.seeds)] * len(METHODS)]
    assert (table1["test_images"] == SETTINGS.data.test_images).all()


def test_table1_gives_the_papers_figures(table1):
    given = table1["paper_error"].to_dict()
    for name in ("teacher", *METHODS):
        figures = PAPER["table1"].get(name, {})
        assert given[name] == pytest.approx(figures.get("error", np.nan), nan_ok=True)
        assert table1["paper_gain"][name] == pytest.approx(figures.get("gain", np.nan), nan_ok=True)
    assert table1["paper_error"]["gkd"] == 9.71


def test_errors_are_those_of_the_stored_networks(table1, recomputed_errors):
    for name, by_seed in recomputed_errors.items():
        errors = list(by_seed.values())
        assert table1["error_mean"][name] == pytest.approx(np.mean(errors), rel=1e-5)
        spread = np.std(errors, ddof=1) if len(errors) > 1 else np.nan
        assert table1["error_std"][name] == pytest.approx(spread, rel=1e-5, nan_ok=True)


def test_gains_are_paired_by_seed(table1, recomputed_errors):
    baseline = recomputed_errors[BASELINE]
    for name in METHODS.keys() - {BASELINE}:
        gains = [baseline[seed] - error for seed, error in recomputed_errors[name].items()]
        assert table1["gain_mean"][name] == pytest.approx(np.mean(gains), rel=1e-5)
        assert table1["gain_std"][name] == pytest.approx(np.std(gains, ddof=1), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("row", ["teacher", BASELINE])
def test_the_baseline_has_no_gain(table1, row):
    assert table1.filter(regex=r"^gain_").loc[row].isna().all()


def test_agreement_is_with_the_teachers_predictions(results, table1):
    teacher = load_file(results / "distillation" / "teacher" / "predictions.safetensors")["classes"]
    for name in METHODS:
        files = [results / "distillation" / name / f"seed{seed}" / "predictions.safetensors" for seed in SETTINGS.seeds]
        shares = [100.0 * (load_file(file)["classes"] == teacher).double().mean().item() for file in files]
        assert table1["agreement_mean"][name] == pytest.approx(np.mean(shares), rel=1e-5)


# --- corruptions --------------------------------------------------------------------------------------------------

CLASSIFIERS_OF = {name: ("own", *CLASSIFIERS) if name == "cross_entropy" else CLASSIFIERS for name in EMBEDDINGS}
SETS = {
    ("none", 0),
    *((name, level) for name in SETTINGS.corruptions.names for level in SETTINGS.corruptions.severities),
}


def seeds_of(folder, name):
    """Return the rows of all seeds of a method."""
    return pd.concat(
        [pd.read_csv(folder / f"seed{seed}" / f"{name}.csv").assign(seed=seed) for seed in SETTINGS.seeds],
        ignore_index=True,
    )


@pytest.mark.parametrize("method", TABLE3)
def test_every_network_is_put_to_every_corruption_at_every_severity(results, method):
    errors = seeds_of(results / "robustness" / method, "corruptions")
    found = list(errors[["seed", "corruption", "severity"]].itertuples(index=False, name=None))
    assert len(found) == len(set(found))
    assert set(found) == {(seed, *one) for seed in SETTINGS.seeds for one in SETS}
    assert (errors["images"] == SETTINGS.corruptions.images).all()
    assert errors["error"].between(0, 100).all()


@pytest.mark.parametrize("method", EMBEDDINGS)
def test_every_classifier_on_every_embedding_is_put_to_every_corruption(results, method):
    errors = seeds_of(results / "embedding" / method, "corruptions")
    found = list(errors[["seed", "classifier", "corruption", "severity"]].itertuples(index=False, name=None))
    assert len(found) == len(set(found))
    assert set(found) == {
        (seed, name, *one) for seed in SETTINGS.seeds for name in CLASSIFIERS_OF[method] for one in SETS
    }
    clean = seeds_of(results / "embedding" / method, "evaluation")
    assert set(clean[["seed", "classifier"]].itertuples(index=False, name=None)) == {
        (seed, name) for seed in SETTINGS.seeds for name in CLASSIFIERS_OF[method]
    }
    assert (clean["images"] == SETTINGS.data.test_images).all()
    assert (clean["training_images"] == SETTINGS.data.train_images).all()


def test_errors_under_corruption_are_those_of_the_stored_networks(results):
    data = read_images(results / "data" / "test.safetensors")
    settings = SETTINGS.corruptions.model_dump()
    part = choose_images(data.labels, settings)
    labels = torch.from_numpy(data.labels[part])
    stored = {}
    for section, method in (("robustness", SETTINGS.robustness.baseline), ("embedding", SETTINGS.embedding.baseline)):
        errors = seeds_of(results / section / method, "corruptions")
        errors = errors[errors.get("classifier", "own") == "own"] if "classifier" in errors else errors
        stored[section, method] = errors.set_index(["seed", "corruption", "severity"])["error"]
    networks = {one: {seed: network(results, *one, seed) for seed in SETTINGS.seeds} for one in stored}
    for name, severity, parts in corrupted_images(data, part, settings):
        images = np.concatenate([*parts])
        for one, by_seed in networks.items():
            for seed, model in by_seed.items():
                error = error_percent(predict(model, torch.from_numpy(images)), labels)
                assert stored[one][seed, name, severity] == pytest.approx(error)


def mces(results, section, method, baseline, classifiers=(None, None)):
    """Return relative and plain MCE by seed, added up set by set from the stored errors."""

    def errors(name, classifier):
        table = seeds_of(results / section / name, "corruptions")
        table = table if classifier is None else table[table["classifier"] == classifier]
        return table.set_index(["seed", "corruption", "severity"])["error"].to_dict()

    own, reference = errors(method, classifiers[0]), errors(baseline, classifiers[1])
    severities, found = SETTINGS.corruptions.severities, {}
    for seed in SETTINGS.seeds:
        relative, plain = [], []
        for name in SETTINGS.corruptions.names:
            ours = sum(own[seed, name, level] for level in severities)
            rise = ours - len(severities) * own[seed, "none", 0]
            theirs = np.mean([sum(reference[s, name, level] for level in severities) for s in SETTINGS.seeds])
            clean = np.mean([reference[s, "none", 0] for s in SETTINGS.seeds])
            relative.append(100 * rise / (theirs - len(severities) * clean))
            plain.append(100 * ours / theirs)
        found[seed] = (np.mean(relative), np.mean(plain))
    return found


def test_kept_corruptions_give_the_same_errors(copy_of_finished, results, tmp_path):
    """Reading the images from an archive instead of generating them gives exactly the same errors."""
    keep = write_overlay(tmp_path, "corruptions: {keep: true}")
    target = f"results/{SETTINGS.run}/robustness/{SETTINGS.robustness.baseline}/seed0/corruptions.csv"
    done = snakemake(copy_of_finished, "--cores", "1", target, configs=(DIGITS, keep))
    assert done.returncode == 0, done.stdout
    assert Counter(job.rule for job in announced_jobs(done.stdout)) == {
        "keep_corruptions": 1,
        "evaluate_corruptions": 1,
    }
    archive = CorruptionArchive(copy_of_finished / "results" / SETTINGS.run / "data" / "corruptions.tar")
    assert set(archive.names) == set(SETTINGS.corruptions.names)
    assert len(archive.labels) == SETTINGS.data.test_images
    assert (copy_of_finished / target).read_bytes() == (results.parents[1] / target).read_bytes()


# --- Table 2 ------------------------------------------------------------------------------------------------------


def test_table2_has_a_row_for_each_method_with_the_paper_s_figures(tables):
    table = tables["table2"]
    assert table.index.tolist() == list(EMBEDDINGS)
    assert table["label"].tolist() == [method.label for method in EMBEDDINGS.values()]
    assert (table["seeds"] == len(SETTINGS.seeds)).all()
    assert (table["clean_error_images"] == SETTINGS.data.test_images).all()
    assert (table["relative_mce_images"] == SETTINGS.corruptions.images).all()
    for name in EMBEDDINGS:
        assert table["paper_clean_error"][name] == PAPER["table2"][name]["clean_error"]
    assert table["paper_clean_error"]["label_variation"] == 5.63
    # of fewer corruptions than the paper's
    assert table["paper_relative_mce"].isna().all()


def test_cross_entropy_is_judged_by_its_own_logits(results, tables):
    errors = [clean_error(results, "embedding", "cross_entropy", seed) for seed in SETTINGS.seeds]
    assert tables["table2"]["clean_error_mean"]["cross_entropy"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert tables["table2"]["clean_error_std"]["cross_entropy"] == pytest.approx(np.std(errors, ddof=1), rel=1e-5)


@pytest.mark.parametrize("method", EMBEDDINGS)
def test_mces_of_table2_are_those_of_the_stored_errors(results, tables, method):
    baseline = SETTINGS.embedding.baseline
    classifiers = EMBEDDINGS[method].classifier, EMBEDDINGS[baseline].classifier
    by_seed = mces(results, "embedding", method, baseline, classifiers)
    for column, values in zip(("relative_mce", "plain_mce"), zip(*by_seed.values(), strict=True), strict=True):
        assert tables["table2"][f"{column}_mean"][method] == pytest.approx(np.mean(values), rel=1e-5)
        assert tables["table2"][f"{column}_std"][method] == pytest.approx(np.std(values, ddof=1), rel=1e-5)


def test_the_supplement_of_table2_has_every_classifier_on_every_embedding(tables):
    supplement = tables["table2_supplement"]
    own = SETTINGS.embedding.baseline
    rows = [f"{name}/{classifier}" for name in EMBEDDINGS for classifier in CLASSIFIERS_OF[name]]
    assert supplement.index.tolist() == [own if row == f"{own}/own" else row for row in rows]
    assert supplement["label"].is_unique
    for name, method in EMBEDDINGS.items():
        row = own if name == own else f"{name}/{method.classifier}"
        for column in ("clean_error_mean", "relative_mce_mean", "plain_mce_std"):
            assert supplement[column][row] == tables["table2"][column][name]


# --- Table 3 and the second robustness table ----------------------------------------------------------------------


def test_table3_has_a_row_for_each_method_with_the_paper_s_figures(tables):
    for table, methods in (("table3", TABLE3), ("table3_supplement", DEFENCES), ("robustness", TABLE3)):
        assert tables[table].index.tolist() == list(methods)
        assert tables[table]["label"].tolist() == [method.label for method in methods.values()]
        assert (tables[table]["seeds"] == len(SETTINGS.seeds)).all()
    assert "adversarial" in tables["table3_supplement"].index and "adversarial" not in tables["table3"].index
    baseline = SETTINGS.robustness.baseline
    table3, accuracies = tables["table3"], tables["robustness"]
    assert table3["paper_clean_error"][baseline] == 11.1
    assert table3[["paper_fgsm_normalized", "paper_relative_mce"]].isna().all(axis=None)
    for name, accuracy in PAPER["robustness"]["both"].items():
        # FGSM and PGD have other constants than the paper's here
        expected = math.nan if name.startswith(("fgsm", "pgd")) else accuracy
        assert accuracies[f"paper_{name}"]["both"] == pytest.approx(expected, nan_ok=True)
    assert (table3["clean_error_images"] == SETTINGS.data.test_images).all()
    assert (table3["fgsm_normalized_images"] == TESTS.images).all()
    assert (table3["relative_mce_images"] == SETTINGS.corruptions.images).all()


@pytest.mark.parametrize("method", DEFENCES)
def test_clean_errors_of_table3_are_those_of_the_stored_networks(results, tables, method):
    errors = [clean_error(results, "robustness", method, seed) for seed in SETTINGS.seeds]
    supplement = tables["table3_supplement"]
    assert supplement["clean_error_mean"][method] == pytest.approx(np.mean(errors), rel=1e-5)
    assert supplement["clean_error_std"][method] == pytest.approx(np.std(errors, ddof=1), rel=1e-5)
    if method in TABLE3:
        assert tables["table3"]["clean_error_mean"][method] == supplement["clean_error_mean"][method]
        assert tables["robustness"]["clean_mean"][method] == pytest.approx(100 - np.mean(errors), rel=1e-5)


@pytest.mark.parametrize("form", ["pixels", "normalized"])
@pytest.mark.parametrize("method", [SETTINGS.robustness.baseline, "adversarial"])
def test_errors_under_fgsm_are_those_of_the_stored_networks(results, tables, method, form):
    errors = [fgsm_error(results, method, seed, form) for seed in SETTINGS.seeds]
    column = f"fgsm_{form}"
    assert tables["table3_supplement"][f"{column}_mean"][method] == pytest.approx(np.mean(errors), rel=1e-5)
    if method in TABLE3:
        assert tables["robustness"][f"{column}_mean"][method] == pytest.approx(100 - np.mean(errors), rel=1e-5)


@pytest.mark.parametrize("method", TABLE3)
def test_mces_of_table3_are_those_of_the_stored_errors(results, tables, method):
    by_seed = mces(results, "robustness", method, SETTINGS.robustness.baseline)
    for column, values in zip(("relative_mce", "plain_mce"), zip(*by_seed.values(), strict=True), strict=True):
        assert tables["table3"][f"{column}_mean"][method] == pytest.approx(np.mean(values), rel=1e-5)
        assert tables["table3"][f"{column}_std"][method] == pytest.approx(np.std(values, ddof=1), rel=1e-5)


@pytest.mark.parametrize(
    ("table", "baseline"),
    [("table2", SETTINGS.embedding.baseline), ("table3", SETTINGS.robustness.baseline)],
)
def test_the_baseline_s_mce_is_100_and_it_has_no_difference_to_itself(tables, table, baseline):
    row = tables[table].loc[baseline]
    assert row["relative_mce_mean"] == pytest.approx(100)
    assert row["plain_mce_mean"] == pytest.approx(100)
    assert row.filter(regex=r"_(difference_mean|difference_std|p_value)$").isna().all()


@pytest.mark.parametrize(
    ("table", "baseline", "metric"),
    [
        ("table2", SETTINGS.embedding.baseline, "clean_error"),
        ("table3", SETTINGS.robustness.baseline, "relative_mce"),
        ("table3_supplement", SETTINGS.robustness.baseline, "strong_pgd"),
        ("robustness", SETTINGS.robustness.baseline, "dropout"),
    ],
)
def test_differences_are_to_the_baseline(tables, table, baseline, metric):
    means = tables[table][f"{metric}_mean"]
    others = means.index != baseline
    expected = means[others] - means[baseline]
    differences = tables[table][f"{metric}_difference_mean"][others]
    # means and differences are written with six digits
    np.testing.assert_allclose(differences, expected, rtol=1e-3, atol=1e-3)


def test_each_network_is_put_to_each_test(results):
    for name in DEFENCES:
        everywhere = {"clean", "gaussian_noise", "dropout", "quantized_weights"}
        attacked = {"clean_attacked_images", "without_gradient", "fgsm_pixels", "fgsm_normalized", "pgd", "strong_pgd"}
        attacked |= {"transfer_fgsm", "transfer_pgd"}
        for seed in SETTINGS.seeds:
            rows = pd.read_csv(results / "robustness" / name / f"seed{seed}" / "evaluation.csv")
            assert set(rows["test"]) == everywhere | attacked | {"deepfool"}
            assert (rows["images"][rows["test"].isin(everywhere)] == SETTINGS.data.test_images).all()
            assert (rows["images"][rows["test"].isin(attacked)] == TESTS.images).all()
            for form in ("pixels", "normalized"):
                levels = rows["level"][rows["test"] == f"fgsm_{form}"].tolist()
                assert levels == sorted({*TESTS.curve_snrs, TESTS.fgsm_snr}, reverse=True)
            error = rows.set_index("test")["value"]
            # as many steps from the image and more starts: never fewer images are misclassified
            assert TESTS.strong_pgd.steps == TESTS.pgd.steps and TESTS.strong_pgd.restarts > TESTS.pgd.restarts
            assert error["strong_pgd"] >= error["pgd"]


# --- figures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_can_be_opened(results, name):
    with Image.open(results / "figures" / f"{name}.png") as image:
        image.verify()
        assert image.format == "PNG"
        assert min(image.size) > 100
    pdf = (results / "figures" / f"{name}.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert pdf.rstrip().endswith(b"%%EOF")


def test_the_graphs_behind_figure2_are_kept(results):
    geometry = json.loads((results / "geometry" / "geometry.json").read_text(encoding="utf-8"))
    assert len(geometry["shown"]["classes"]) == SETTINGS.geometry.classes * SETTINGS.geometry.images_per_class
    for variations in geometry["label_variation"].values():
        assert len(variations) == SETTINGS.geometry.draws
        assert all(0 <= value <= 1 for value in variations)


def test_the_positions_behind_figure_a1_are_kept(results):
    for name in PLANES:
        positions = load_file(results / "embedding" / "figureA1" / name / "positions.safetensors")
        images = {"": SETTINGS.data.train_images, "test_": SETTINGS.data.test_images}
        epochs = SETTINGS.embedding.figure_epochs
        shapes = {f"{split}epoch{epoch}": (count, 2) for split, count in images.items() for epoch in epochs}
        assert {name: tuple(value.shape) for name, value in positions.items()} == shapes
        assert all(torch.isfinite(value).all() for value in positions.values())
        first, *_, last = (positions[f"epoch{epoch}"] for epoch in SETTINGS.embedding.figure_epochs)
        assert not torch.equal(first, last)


# --- provenance ---------------------------------------------------------------------------------------------------


def committed(folder):
    """Return what provenance says of a folder that the fixture has committed, where there is git."""
    if GIT is None:
        return {"commit": None, "uncommitted_changes": None}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    return {"commit": head.stdout.strip(), "uncommitted_changes": False}


@pytest.mark.system
def test_provenance_states_configuration_data_machine_and_versions(finished, results):
    provenance = json.loads((results / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["configuration"] == SETTINGS.model_dump(mode="json")
    assert provenance["git"] == committed(finished)
    for split, count in (("train", SETTINGS.data.train_images), ("test", SETTINGS.data.test_images)):
        assert provenance["data"][split]["shape"] == [count, 32, 32, 3]
        assert provenance["data"][split]["sha256"] == read_images(results / "data" / f"{split}.safetensors").sha256
    for package in ("torch", "snakemake"):
        assert provenance["versions"][package] == importlib.metadata.version(package)
    assert provenance["versions"]["lgg"] == __version__
    assert provenance["machine"]["cores"] >= 1


# --- what jobs cost -----------------------------------------------------------------------------------------------


def test_the_time_of_every_job_is_known_in_parts(results, all_jobs):
    table = pd.read_csv(results / "tables" / "job_times.csv")
    assert Counter(table["rule"]) == Counter(job.rule for job in all_jobs)
    parts = table[["start_up", "work", "writing"]]
    assert (parts >= 0).all(axis=None)
    np.testing.assert_allclose(parts.sum(axis=1), table["seconds"], rtol=1e-4)
    # training does something
    assert (table["work"][table["rule"].str.startswith("train_")] > 0.01).all()


# --- again, and elsewhere -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "folder", "more"),
    [
        ("distill_student", "distillation/gkd/seed1", []),
        ("train_robust_network", "robustness/adversarial/seed1", ["label_variation.csv"]),
    ],
)
def test_a_stage_by_hand_gives_the_same_bits(finished, results, tmp_path, stage, folder, more):
    stored = results / folder
    metrics = json.loads((stored / "metrics.json").read_text(encoding="utf-8"))
    arguments = {
        "recipe": json.dumps(metrics["recipe"]),
        "threads": metrics["threads"],
        "train": results / "data" / "train.safetensors",
        **{
            f"out-{name.partition('.')[0]}": tmp_path / name
            for name in ("model.safetensors", "history.csv", "metrics.json", *more)
        },
    }
    if stage == "distill_student":
        arguments["teacher"] = results / "distillation" / "teacher" / "model.safetensors"
    options = [str(part) for name, value in arguments.items() for part in (f"--{name}", value)]
    subprocess.run([sys.executable, "-m", "lgg.pipeline", stage, *options], cwd=finished, env=environment(), check=True)
    first, again = (load_file(folder / "model.safetensors") for folder in (stored, tmp_path))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_spaces_and_foreign_letters_in_paths_do_no_harm(tmp_path):
    checkout = copy_checkout(tmp_path / "Zoë's große Daten" / "Проект 1")
    write_arrays(checkout / "meine Bilder", seed=0)
    home = tmp_path / "Zoë's Heim"
    home.mkdir()
    own_images = write_overlay(
        checkout,
        "data: {source: arrays, path: meine Bilder, train_images: null, test_images: null}\n"
        "distillation: {training: {schedule: [{epochs: 1, learning_rate: 0.1}]}}\n",
    )
    model = f"results/{SETTINGS.run}/distillation/{BASELINE}/seed0/model.safetensors"
    options = {"configs": (DIGITS, own_images), "variables": {"HOME": str(home)}}
    done = snakemake(checkout, "--cores", "1", model, **options)
    assert done.returncode == 0, done.stdout
    load_model(checkout / model)
    assert plan(checkout, model, **options) == {}
    # other images in the same files are new images
    write_arrays(checkout / "meine Bilder", seed=1)
    assert plan(checkout, model, **options) == {"prepare_data": 1, f"train_student {BASELINE}": 1}
