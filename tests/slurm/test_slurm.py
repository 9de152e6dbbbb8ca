"""The SLURM profile on a cluster of one node with four simulated GPUs."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import train
from safetensors.torch import load_file
from snakemake_runs import DIGITS, ROOT, command, copy_checkout, without_ignored_signals

pytestmark = [pytest.mark.slurm, pytest.mark.pipeline, pytest.mark.xdist_group("slurm")]

HERE = Path(__file__).parent
PROFILE = ROOT / "profiles/slurm"
# as the profile says, but queries more often: a test must not wait for the next query
POLLING = ("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1")


class Record(NamedTuple):
    name: str
    number: str
    event: str
    time: float
    devices: str
    runtime: int


def records(folder):
    path = folder / "records.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    split = [line.split() for line in lines]
    return [Record(*words[:3], float(words[3]), words[4], int(words[5])) for words in split]


def copy_of_jobs(folder):
    for name in ("jobs.smk", "job.py", "train.py"):
        shutil.copy(HERE / name, folder)
    return folder


@contextlib.contextmanager
def running(cluster, folder, *arguments, configs=(), variables=None):
    """Start Snakemake on the cluster, its output in a file next to `folder`, and leave nothing of it running."""
    output = folder.parent / "output.txt"
    _, *rest = command(*POLLING, *arguments, configs=configs)
    with output.open("w", encoding="utf-8") as file:
        run = subprocess.Popen(
            [cluster.root / "environment/bin/python", *rest],
            cwd=folder,
            env={key: value for key, value in cluster.environment().items() if key != "PYTHONPATH"} | (variables or {}),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=without_ignored_signals,
        )
    try:
        yield run, output
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        if jobs := cluster.unfinished():
            cluster.ask("scancel", *jobs)


def wait_until(condition, seconds, output):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, output.read_text(encoding="utf-8")
        time.sleep(0.1)


def test_jobs_get_devices_time_and_attempts_as_the_profile_says(cluster, tmp_path):
    folder = tmp_path / "jobs"
    folder.mkdir()
    copy_of_jobs(folder)

    def has_started(name):
        return any(record.name == name and record.event == "start" for record in records(folder))

    arguments = ("--snakefile", "jobs.smk", "--workflow-profile", PROFILE, "--retries", "1", "--latency-wait", "5")
    warning = ("--set-resources", *(f"{rule}:slurm_extra='--signal=TERM@20'" for rule in ("other", "training")))
    with running(cluster, folder, *arguments, *warning) as (run, output):
        wait_until(lambda: has_started("cancelled") and has_started("overdue"), 150, output)
        comments = cluster.ask("squeue", "--noheader", "--states=RUNNING", "--format=%i %k").splitlines()
        (cancelled,) = [line.split()[0] for line in comments if "cancelled" in line]
        cluster.ask("scancel", cancelled)
        cluster.stop_controller()
        time.sleep(3)
        cluster.start_controller()
        run.wait(400)
        said = output.read_text(encoding="utf-8")

    seen = records(folder)
    starts = Counter(record.name for record in seen if record.event == "start")
    # never more jobs than devices, and each has one of its own
    gpu = [record for record in seen if record.name == "gpu"]
    taken = set()
    for record in sorted(gpu, key=lambda record: record.time):
        assert record.devices in {"0", "1", "2", "3"}
        if record.event == "start":
            assert record.devices not in taken
            taken.add(record.devices)
        else:
            taken.remove(record.devices)
    assert starts["gpu"] == 6
    # once more, and not more often
    assert starts["failing"] == 2
    assert starts["cancelled"] == starts["overdue"] == 2
    assert run.returncode == 1
    assert not (folder / "failing.done").exists()
    assert (folder / "cancelled.done").exists()
    assert "failing.log" in said
    assert "cancelled.log" in said
    assert re.search(r"status.*CANCELLED", said)
    # warned, killed, and then given more time
    overdue = [(record.event, record.runtime) for record in seen if record.name == "overdue"]
    # SLURM warns by itself too, at the limit
    assert list(dict.fromkeys(overdue)) == [("start", 1), ("warned", 1), ("start", 2), ("end", 2)]
    assert re.search(r"overdue/\d+\.log \(check log", said)
    assert re.search(r"status.*TIMEOUT", said)
    # a training run that was warned resumed, and gave the same bits as an undisturbed one
    assert "Resuming after" in (folder / "training.log").read_text(encoding="utf-8")
    weights, expected = load_file(folder / "training.safetensors"), train.train()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


# what a local Snakemake does inside an allocation: as many jobs at once as it has devices
ALLOCATION = """
import subprocess, sys
JOB = 'import sys; from lgg.pipeline import driver, gpus; gpus.PARENTS = [sys.argv[1]]\\n'
JOB += 'driver.ask = lambda: driver.Answer([], asked=False)\\n'
JOB += 'with gpus.claimed(1, {}, 1) as devices: print(*devices, flush=True); sys.stdin.read()'
jobs = [
    subprocess.Popen([sys.executable, "-c", JOB, sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for _ in range(2)
]
print(*sorted(job.stdout.readline().strip() for job in jobs), flush=True)
for job in jobs:
    job.communicate()
"""


def test_jobs_inside_one_allocation_have_devices_of_their_own(cluster, tmp_path):
    """Two concurrent allocations, each with half of the devices."""
    python = cluster.root / "environment/bin/python"
    allocations = [
        subprocess.Popen(
            ["srun", "--gpus=2", "--ntasks=1", "--mem=100", python, "-c", ALLOCATION, tmp_path],
            cwd=ROOT,
            env=cluster.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [allocation.communicate(timeout=120)[0] for allocation in allocations]
    assert sorted(outputs) == ["0 1\n", "2 3\n"]


def test_interrupting_snakemake_cancels_its_jobs(cluster, tmp_path):
    folder = tmp_path / "jobs"
    folder.mkdir()
    copy_of_jobs(folder)
    wanted = [f"long{number}.done" for number in range(5)]
    arguments = ("--snakefile", "jobs.smk", "--workflow-profile", PROFILE, *wanted)
    with running(cluster, folder, *arguments) as (run, output):
        wait_until(lambda: len(records(folder)) == 4, 150, output)
        assert len(cluster.unfinished()) == 5  # one waits for a device
        run.send_signal(signal.SIGINT)
        assert run.wait(90) != 0
        wait_until(lambda: not cluster.unfinished(), 60, output)


def test_a_table_is_made_through_the_profile(cluster, tmp_path):
    folder = copy_checkout(tmp_path / "checkout")
    table = "results/digits/tables/table1.md"
    small = ("--config", "seeds=[0]", "resources={device: cpu}")
    arguments = (table, "--workflow-profile", "profiles/slurm", "--until", "evaluate_teacher", "--latency-wait", "5")
    with running(cluster, folder, *arguments, *small, configs=(DIGITS,)) as (run, output):
        run.wait(400)
        said = output.read_text(encoding="utf-8")
    assert run.returncode == 0, said
    assert "localrule prepare_data:" in said
    submitted = re.findall(r"SLURM jobid \d+", said)
    assert len(submitted) == 2, said  # the teacher, and its evaluation
    assert (folder / "results/digits/distillation/teacher/evaluation.csv").exists()
