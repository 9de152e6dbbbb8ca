import importlib.metadata
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from configurations import configured
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from snakemake_runs import DIGITS, ROOT, copy_checkout, environment, plan, planned_jobs, snakemake, write_overlay

from lgg.data.storage import read_header, read_images
from lgg.evaluation.accuracy import error_percent, predict
from lgg.training.checkpoint import load_model

pytestmark = pytest.mark.pipeline

SETTINGS = configured((ROOT / DIGITS).read_text(encoding="utf-8"))
METHODS = SETTINGS.distillation.active_methods
BASELINE = SETTINGS.distillation.baseline
TARGETS = (
    *(f"tables/table1.{kind}" for kind in ("csv", "md", "tex")),
    *(f"figures/{name}.{kind}" for name in ("figure1", "figure2", "figure2_draws") for kind in ("pdf", "png")),
    "provenance.json",
)


@pytest.fixture(scope="module")
def results(finished):
    return finished / "results" / SETTINGS.run


@pytest.fixture(scope="module")
def table1(results):
    return pd.read_csv(results / "tables" / "table1.csv").set_index("name")


@pytest.fixture(scope="module")
def all_jobs(finished):
    return planned_jobs(finished, "--forceall")


@pytest.fixture(scope="module")
def recomputed_errors(results):
    """Return, by row of Table 1 and by seed, the error of the stored network on the stored images."""
    threads = torch.get_num_threads()
    torch.set_num_threads(SETTINGS.resources.evaluate.threads)
    data = read_images(results / "data" / "test.safetensors", verify=True)
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)

    def error(folder):
        model = load_model(results / "distillation" / folder / "model.safetensors")
        return error_percent(predict(model, images), labels)

    errors = {name: {seed: error(f"{name}/seed{seed}") for seed in SETTINGS.seeds} for name in METHODS}
    errors["teacher"] = {SETTINGS.distillation.teacher.seed: error("teacher")}
    torch.set_num_threads(threads)
    return errors


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


def test_everything_lies_below_the_folder_of_the_run(finished, results):
    written = {path for path in finished.rglob("*") if path.is_file()}
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=finished, capture_output=True, text=True, check=True)
    written -= {finished / name for name in tracked.stdout.split("\0")}
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
    assert len(models) == len(METHODS) * len(SETTINGS.seeds) + 2
    for path in models:
        with safe_open(path, framework="pt") as file:
            assert list(file.keys())
            notes = json.loads(file.metadata()["lgg"])["notes"]
        assert notes["recipe"]["seed"] in {0, *SETTINGS.seeds}
        assert notes["data_sha256"] == read_header(results / "data" / "train.safetensors")["sha256"]
    kinds = {path.suffix for path in results.rglob("*") if path.is_file()}
    assert kinds <= {".safetensors", ".csv", ".json", ".md", ".tex", ".pdf", ".png", ".log", ".tsv"}


def test_histories_and_metrics_tell_of_the_training(results):
    for path in results.rglob("history.csv"):
        history = pd.read_csv(path)
        training = SETTINGS.geometry.training if "geometry" in path.parts else SETTINGS.distillation.training
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
    assert given.pop("teacher") == SETTINGS.distillation.teacher.paper_error
    for name, method in METHODS.items():
        assert given[name] == pytest.approx(method.paper_error or np.nan, nan_ok=True)
        assert table1["paper_gain"][name] == pytest.approx(method.paper_gain or np.nan, nan_ok=True)
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
def test_what_gains_are_measured_from_has_none_itself(table1, row):
    assert table1.filter(regex=r"^gain_").loc[row].isna().all()


def test_agreement_is_with_the_teachers_predictions(results, table1):
    (teacher,) = load_file(results / "distillation" / "teacher" / "predictions.safetensors").values()
    for name in METHODS:
        own = load_file(results / "distillation" / name / "predictions.safetensors").values()
        shares = [100.0 * (predicted == teacher).double().mean().item() for predicted in own]
        assert table1["agreement_mean"][name] == pytest.approx(np.mean(shares), rel=1e-5)


# --- figures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["figure1", "figure2", "figure2_draws"])
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


# --- provenance ---------------------------------------------------------------------------------------------------


def test_provenance_tells_what_was_run_on_what_with_what(finished, results):
    provenance = json.loads((results / "provenance.json").read_text(encoding="utf-8"))
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=finished, capture_output=True, text=True, check=True)
    assert provenance["configuration"] == SETTINGS.model_dump(mode="json")
    assert provenance["git"] == {"commit": head.stdout.strip(), "uncommitted_changes": False}
    for split, count in (("train", SETTINGS.data.train_images), ("test", SETTINGS.data.test_images)):
        assert provenance["data"][split]["shape"] == [count, 32, 32, 3]
        assert provenance["data"][split]["sha256"] == read_images(results / "data" / f"{split}.safetensors").sha256
    for package in ("torch", "snakemake", "lgg"):
        assert provenance["versions"][package] == importlib.metadata.version(package)
    assert provenance["machine"]["cores"] >= 1


# --- again, and elsewhere -----------------------------------------------------------------------------------------


def test_a_stage_by_hand_gives_the_same_bits(finished, results, tmp_path):
    stored = results / "distillation" / "gkd" / "seed1"
    metrics = json.loads((stored / "metrics.json").read_text(encoding="utf-8"))
    arguments = {
        "recipe": json.dumps(metrics["recipe"]),
        "threads": metrics["threads"],
        "train": results / "data" / "train.safetensors",
        "teacher": results / "distillation" / "teacher" / "model.safetensors",
        **{f"out-{path.stem}": tmp_path / path.name for path in stored.iterdir()},
    }
    options = [str(part) for name, value in arguments.items() for part in (f"--{name}", value)]
    subprocess.run(
        [sys.executable, "-m", "lgg.stages.distill_student", *options], cwd=finished, env=environment(), check=True
    )
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


def write_arrays(folder, seed):
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    for split in ("train", "test"):
        images = random.integers(256, size=(50, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / f"{split}.npz", images=images, labels=np.arange(50) % 2)
