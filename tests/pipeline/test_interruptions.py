"""Runs that are ended by signals go on where they were, and leave nothing running behind."""

import os
import signal
import subprocess
import time

import pandas as pd
import psutil
import pytest
from safetensors.torch import load_file
from snakemake_runs import DIGITS, command, environment, plan, planned_jobs, snakemake, write_overlay

pytestmark = pytest.mark.pipeline

FOLDER = "results/digits/geometry/reference_network"
LOG = "results/digits/logs/train_reference_network.log"
EPOCHS = 12


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def configs(tmp_path):
    """The run on digits, but for a longer training of the reference network."""
    longer = f"geometry: {{training: {{schedule: [{{epochs: {EPOCHS}, learning_rate: 0.05}}]}}}}"
    return DIGITS, write_overlay(tmp_path, longer)


def start(folder, configs):
    """Start a run, and return its process once the reference network has seen its first epoch."""
    (folder / LOG).unlink(missing_ok=True)
    run = subprocess.Popen(
        command("--cores", "1", configs=configs),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        wait_until(lambda: run.poll() is not None or "epoch 1/" in read(folder / LOG), seconds=300)
        assert run.poll() is None, run.stdout.read()
    except BaseException:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        raise
    return run, psutil.Process(run.pid).children(recursive=True)


def read(path):
    return path.read_text(encoding="utf-8") if path.exists() else ""


def assert_gone(processes, seconds):
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    for process in alive:
        process.kill()
    assert alive == []


def assert_goes_on(folder, configs, outputs, checkpoint):
    """Check that the next run is whole, and the network's training repeats nothing where there was a `checkpoint`."""
    done = snakemake(folder, "--cores", "1", configs=configs)
    assert done.returncode == 0, done.stdout
    assert all((folder / path).stat().st_size > 0 for path in outputs)
    assert ("Going on after" in read(folder / LOG)) == checkpoint
    assert sorted(path.name for path in (folder / FOLDER).iterdir()) == [
        "history.csv",
        "metrics.json",
        "model.safetensors",
    ]
    history = pd.read_csv(folder / FOLDER / "history.csv")
    assert history["epoch"].tolist() == list(range(1, EPOCHS + 1))
    assert plan(folder, configs=configs) == {}
    return load_file(folder / FOLDER / "model.safetensors"), history.drop(columns="seconds")


@pytest.fixture
def undisturbed(copy_of_finished, configs, tmp_path):
    """Weights and history of the network from a run that is left alone, whose results are removed again."""
    outputs = [path for job in planned_jobs(copy_of_finished, configs=configs) for path in job.files("output")]
    done = snakemake(copy_of_finished, "--cores", "1", f"{FOLDER}/model.safetensors", configs=configs)
    assert done.returncode == 0, done.stdout
    expected = (
        load_file(copy_of_finished / FOLDER / "model.safetensors"),
        pd.read_csv(copy_of_finished / FOLDER / "history.csv").drop(columns="seconds"),
    )
    for name in ("history.csv", "metrics.json", "model.safetensors"):
        (copy_of_finished / FOLDER / name).unlink()
    return expected, outputs


def assert_equal(found, expected):
    assert found[0].keys() == expected[0].keys()
    assert all(bool((found[0][name] == value).all()) for name, value in expected[0].items())
    pd.testing.assert_frame_equal(found[1], expected[1], check_exact=True)


def test_after_sigterm_and_ctrl_c_a_run_goes_on_to_the_same_bits(copy_of_finished, configs, undisturbed):
    expected, outputs = undisturbed
    for send in (lambda run: run.terminate(), lambda run: os.killpg(run.pid, signal.SIGINT)):
        run, jobs = start(copy_of_finished, configs)
        send(run)
        assert run.wait(timeout=20) != 0
        output = run.stdout.read()
        assert_gone(jobs, seconds=5)
        assert (copy_of_finished / FOLDER / "checkpoint.safetensors").exists(), output
        assert not (copy_of_finished / FOLDER / "model.safetensors").exists()
        assert "Nothing is lost: its checkpoint is" in read(copy_of_finished / LOG)
    assert_equal(assert_goes_on(copy_of_finished, configs, outputs, checkpoint=True), expected)


def test_after_a_kill_of_snakemake_no_orphan_is_left_and_one_command_goes_on(copy_of_finished, configs, undisturbed):
    expected, outputs = undisturbed
    run, jobs = start(copy_of_finished, configs)
    run.kill()
    run.wait()
    assert_gone(jobs, seconds=20)
    assert "Snakemake is gone; this job ends too." in read(copy_of_finished / LOG)
    assert (copy_of_finished / FOLDER / "checkpoint.safetensors").exists()
    # what `make resume` does first
    unlocked = snakemake(copy_of_finished, "--unlock", configs=configs)
    assert unlocked.returncode == 0, unlocked.stdout
    assert_equal(assert_goes_on(copy_of_finished, configs, outputs, checkpoint=True), expected)


def test_after_a_kill_of_everything_the_lock_is_explained_and_one_command_goes_on(
    copy_of_finished, configs, undisturbed
):
    expected, outputs = undisturbed
    run, jobs = start(copy_of_finished, configs)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert_gone(jobs, seconds=20)
    locked = snakemake(copy_of_finished, "--cores", "1", configs=configs)
    assert locked.returncode != 0
    assert "--unlock" in locked.stdout
    unlocked = snakemake(copy_of_finished, "--unlock", configs=configs)
    assert unlocked.returncode == 0, unlocked.stdout
    assert_equal(assert_goes_on(copy_of_finished, configs, outputs, checkpoint=False), expected)
