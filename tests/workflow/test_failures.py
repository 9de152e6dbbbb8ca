import pytest
from arrays import write_arrays
from snakemake_runs import DIGITS, copy_checkout, planned_jobs, snakemake, write_overlay

from lgg import models
from lgg.training.checkpoint import save_model

pytestmark = pytest.mark.pipeline

GEOMETRY = "results/digits/geometry"
REFERENCE_NETWORK = f"{GEOMETRY}/reference_network/model.safetensors"


def assert_failed(folder, done, rule, message, log=None):
    """Check that `rule` failed with `message` in its log and on screen, and left no traceback and no output."""
    assert done.returncode != 0
    assert f"Error in rule {rule}" in done.stdout
    log = (folder / f"results/digits/logs/{log or rule}.log").read_text(encoding="utf-8")
    assert log.startswith("error: ")
    assert log.count("error: ") == 1
    assert message in log
    assert message in done.stdout
    assert "Traceback" not in log


def test_a_training_that_diverges_ends_with_advice(copy_of_finished, tmp_path):
    steep = write_overlay(tmp_path, "geometry: {training: {schedule: [{epochs: 1, learning_rate: 1e30}]}}")
    (job,) = planned_jobs(copy_of_finished, REFERENCE_NETWORK, configs=(DIGITS, steep))
    done = snakemake(copy_of_finished, "--cores", "1", REFERENCE_NETWORK, configs=(DIGITS, steep))
    assert_failed(copy_of_finished, done, "train_reference_network", "training diverged in epoch 1 of 1")
    assert "Lower the learning rate" in done.stdout
    assert not any((copy_of_finished / path).exists() for path in job.files("output"))
    # the run that was finished before still has its other results
    assert (copy_of_finished / "results/digits/tables/table1.csv").exists()


@pytest.mark.parametrize(
    "content", [pytest.param(b"not an archive", id="text"), pytest.param(b"PK\x03\x04 cut off", id="cut off")]
)
def test_data_that_cannot_be_read_end_with_the_name_of_the_file(tmp_path, content):
    checkout = copy_checkout(tmp_path / "checkout")
    own = checkout / "own"
    own.mkdir()
    for split in ("train", "test"):
        (own / f"{split}.npz").write_bytes(content)
    images = write_overlay(tmp_path, "data: {source: arrays, path: own, train_images: null, test_images: null}")
    done = snakemake(checkout, "--cores", "1", configs=(DIGITS, images))
    assert_failed(checkout, done, "prepare_data", "own/train.npz")
    assert list((checkout / "results").rglob("*.safetensors")) == []
    assert {path.name for path in (checkout / "results/digits/logs").iterdir()} == {"prepare_data.log"}


def test_a_damaged_archive_of_corruptions_ends_with_its_name_and_what_to_do(tmp_path):
    checkout = copy_checkout(tmp_path / "checkout")
    write_arrays(checkout / "own", seed=0)
    (checkout / "archive.tar").write_bytes(b"half a page of an error message in place of an archive" * 100)
    overlay = write_overlay(
        tmp_path,
        "data: {source: arrays, path: own, train_images: null, test_images: null}\n"
        "corruptions: {source: cifar10_c, path: archive.tar}\n",
    )
    figure = "results/digits/figures/corruptions.pdf"
    done = snakemake(checkout, "--cores", "1", figure, configs=(DIGITS, overlay))
    assert_failed(checkout, done, "draw_corruptions", "archive.tar: damaged, truncated, or not a tar file")
    assert "Remove it and run again" in done.stdout
    assert not (checkout / figure).exists()


def test_a_network_of_another_configuration_is_not_evaluated(copy_of_finished):
    stored = "results/digits/robustness/baseline/seed0/model.safetensors"
    errors = "results/digits/robustness/baseline/seed0/corruptions.csv"
    architecture = {"name": "preact_resnet18", "base_width": 1, "num_classes": 3}
    save_model(copy_of_finished / stored, models.build(**architecture), architecture, {})
    done = snakemake(copy_of_finished, "--cores", "1", errors)
    log = "evaluate_corruptions/baseline_seed0"
    assert_failed(copy_of_finished, done, "evaluate_corruptions", "seed0/model.safetensors: holds a network", log)
    assert "num_classes = 3, but 10 is expected" in done.stdout
    assert not (copy_of_finished / errors).exists()


def test_a_folder_may_have_any_name(tmp_path):
    checkout = copy_checkout(tmp_path / "Zoë's “runs” $(touch x) 漢;")
    done = snakemake(checkout, "results/digits/figures/figure1.pdf", "--cores", "1")
    assert done.returncode == 0, done.stdout
    assert (checkout / "results/digits/figures/figure1.pdf").stat().st_size > 0
    assert not list(tmp_path.rglob("x"))
