"""Runs that are ended by signals can be resumed, and leave no processes behind."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time

import pandas as pd
import psutil
import pytest
import torch
from safetensors.torch import load_file
from snakemake_runs import (
    DIGITS,
    command,
    environment,
    plan,
    planned_jobs,
    snakemake,
    without_ignored_signals,
    write_overlay,
)

pytestmark = pytest.mark.pipeline

FOLDER = "results/digits/geometry/reference_network"
LOG = "results/digits/logs/train_reference_network.log"
EPOCHS = 20


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def start(folder, configs):
    """Start a run, and return its process and its jobs once the reference network is being trained."""
    (folder / LOG).unlink(missing_ok=True)
    run = subprocess.Popen(
        command("--cores", "1", configs=configs),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
        preexec_fn=without_ignored_signals,
    )
    try:
        begun = re.compile(r"epoch 1/|Resuming after")
        wait_until(lambda: run.poll() is not None or begun.search(read(folder / LOG)), seconds=300)
        assert run.poll() is None, run.stdout.read()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
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


def network(folder):
    history = pd.read_csv(folder / FOLDER / "history.csv")
    return load_file(folder / FOLDER / "model.safetensors"), history.drop(columns="seconds")


def end_by_sigterm(run):
    run.terminate()


def end_by_ctrl_c(run):
    os.killpg(run.pid, signal.SIGINT)


def end_by_hanging_up(run):
    """Like a closed terminal: nothing reads the output any more, and all processes get SIGHUP, often more than once."""
    run.stdout.close()
    for _ in range(2):
        os.killpg(run.pid, signal.SIGHUP)


def kill_snakemake(run):
    run.kill()


def kill_everything(run):
    os.killpg(run.pid, signal.SIGKILL)


def test_a_run_ended_in_any_way_goes_on_to_the_same_bits(copy_of_finished, tmp_path):
    longer = f"geometry: {{training: {{schedule: [{{epochs: {EPOCHS}, learning_rate: 0.05}}]}}}}"
    configs = (DIGITS, write_overlay(tmp_path, longer))
    left_alone = shutil.copytree(copy_of_finished, tmp_path / "left_alone")
    outputs = [path for job in planned_jobs(left_alone, configs=configs) for path in job.files("output")]
    done = snakemake(left_alone, "--cores", "1", f"{FOLDER}/model.safetensors", configs=configs)
    assert done.returncode == 0, done.stdout

    folder, log = copy_of_finished, copy_of_finished / LOG
    for end in (end_by_sigterm, end_by_ctrl_c, end_by_hanging_up, kill_snakemake, kill_everything):
        run, jobs = start(folder, configs)
        if end is not end_by_sigterm:
            assert "Resuming after" in read(log)
        end(run)
        assert run.wait(timeout=20) != 0
        # none is an orphan that keeps a GPU
        assert_gone(jobs, seconds=20)
        assert (folder / FOLDER / "checkpoint.safetensors").exists()
        assert not (folder / FOLDER / "model.safetensors").exists()
        assert ("Nothing is lost: its checkpoint is" in read(log)) == (end is not kill_everything)
        left_locked = any((folder / ".snakemake" / "locks").glob("*"))
        assert left_locked == (end in (kill_snakemake, kill_everything))
        if left_locked:
            locked = snakemake(folder, "--cores", "1", configs=configs)
            assert locked.returncode != 0
            assert "--unlock" in locked.stdout
            # what `make resume` does first
            unlocked = snakemake(folder, "--unlock", configs=configs)
            assert unlocked.returncode == 0, unlocked.stdout

    done = snakemake(folder, "--cores", "1", configs=configs)
    assert done.returncode == 0, done.stdout
    assert "Resuming after" in read(log)
    assert all((folder / path).stat().st_size > 0 for path in outputs)
    assert sorted(path.name for path in (folder / FOLDER).iterdir()) == [
        "history.csv",
        "metrics.json",
        "model.safetensors",
    ]
    assert plan(folder, configs=configs) == {}
    (weights, history), (expected_weights, expected_history) = network(folder), network(left_alone)
    assert weights.keys() == expected_weights.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected_weights.items())
    pd.testing.assert_frame_equal(history, expected_history, check_exact=True)
    assert history["epoch"].tolist() == list(range(1, EPOCHS + 1))
