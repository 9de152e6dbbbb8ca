"""Devices for one job each, with devices that do not exist: a name in CUDA_VISIBLE_DEVICES is one."""

import os
import signal
import subprocess
import sys
import time
from itertools import combinations

import pytest

from lgg import gpus
from lgg.errors import LggError

# holds its devices for a while, and says from when to when
JOB = """
import sys, time
from lgg.gpus import claimed
import os
with claimed(int(sys.argv[1])) as devices:
    began = time.monotonic()
    assert os.environ["CUDA_VISIBLE_DEVICES"].split(",") == devices
    print("has", *devices, flush=True)
    time.sleep(float(sys.argv[2]))
    ended = time.monotonic()
print("times", began, ended, flush=True)
assert "torch" not in sys.modules
"""


@pytest.fixture(autouse=True)
def four_devices(monkeypatch, tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    for name in ("SLURM_JOB_ID", "CUDA_DEVICE_ORDER", "LGG_JOBS_PER_GPU"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    return runtime


def start(count, seconds, **variables):
    command = [sys.executable, "-c", JOB, str(count), str(seconds)]
    return subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True)


def outcome(job):
    """Return a job's devices and from when to when it held them."""
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 0
    has, times = output.splitlines()
    return has.split()[1:], *map(float, times.split()[1:])


def assert_never_shared(outcomes):
    for (one, began, ended), (other, other_began, other_ended) in combinations(outcomes, 2):
        assert not set(one) & set(other) or ended <= other_began or other_ended <= began


def test_jobs_in_contention_never_share_a_device_and_use_all():
    outcomes = [outcome(job) for job in [start(1, 0.1) for _ in range(12)]]
    assert_never_shared(outcomes)
    assert {device for devices, *_ in outcomes for device in devices} == {"0", "1", "2", "3"}
    assert all(len(devices) == 1 for devices, *_ in outcomes)


def test_jobs_that_want_several_get_them_all_without_a_deadlock():
    counts = [2, 3, 1, 4, 2, 1, 3, 2]
    outcomes = [outcome(job) for job in [start(count, 0.05) for count in counts]]
    assert [len(devices) for devices, *_ in outcomes] == counts
    assert_never_shared(outcomes)


def test_no_more_jobs_share_a_device_than_it_has_places():
    jobs = [start(1, 0.4, CUDA_VISIBLE_DEVICES="0,1", LGG_JOBS_PER_GPU="2") for _ in range(10)]
    outcomes = [outcome(job) for job in jobs]
    held = {
        device: [(began, ended) for devices, began, ended in outcomes if devices == [device]] for device in ("0", "1")
    }
    assert sum(map(len, held.values())) == len(jobs)
    for times in held.values():
        # most jobs are there when one of them begins
        at_once = [sum(began <= moment < ended for began, ended in times) for moment, _ in times]
        assert max(at_once, default=0) <= 2


def test_devices_get_a_second_job_when_each_has_one():
    jobs, devices = [], []
    for _ in range(4):
        jobs.append(start(1, 60, LGG_JOBS_PER_GPU="2", CUDA_VISIBLE_DEVICES="0,1"))
        devices.append(jobs[-1].stdout.readline())
    for job in jobs:
        job.kill()
        job.communicate()
    assert devices == ["has 0\n", "has 1\n"] * 2


def test_who_takes_all_places_has_each_device_alone(monkeypatch):
    monkeypatch.setenv("LGG_JOBS_PER_GPU", "3")
    with gpus.claimed(12) as devices:
        assert devices == ["0", "1", "2", "3"]
        waiting = start(1, 0)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=0.5)
    assert outcome(waiting)[0] == ["0"]


def test_two_runs_that_may_use_different_devices_share_what_both_may():
    jobs = [start(1, 0.2, CUDA_VISIBLE_DEVICES=names) for names in ("0,1", "1,2") for _ in range(3)]
    outcomes = [outcome(job) for job in jobs]
    assert_never_shared(outcomes)
    assert {device for devices, *_ in outcomes[:3] for device in devices} <= {"0", "1"}
    assert {device for devices, *_ in outcomes[3:] for device in devices} <= {"1", "2"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_job_gives_its_devices_back(number):
    holder = start(4, 60)
    assert holder.stdout.readline() == "has 0 1 2 3\n"
    waiting = start(4, 0)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=0.5)
    holder.send_signal(number)
    holder.communicate()
    assert outcome(waiting)[0] == ["0", "1", "2", "3"]


def test_who_waits_says_so_and_can_be_ended():
    holder = start(4, 60)
    holder.stdout.readline()
    # one waits for a device, the other for its turn
    waiting = [
        subprocess.Popen([sys.executable, "-c", JOB, "1", "0"], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    time.sleep(2)
    for job in waiting:
        job.terminate()
    messages = sorted(job.communicate(timeout=10)[1] for job in waiting)
    assert messages[0].startswith("This job waits for 1 of the GPUs 0, 1, 2, 3")
    assert messages[1].startswith("This job waits for its turn")
    holder.kill()
    holder.communicate()


def test_the_environment_is_as_before_afterwards(monkeypatch):
    with gpus.claimed(2) as devices:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(devices) == "0,1"
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
    assert "CUDA_DEVICE_ORDER" not in os.environ


@pytest.mark.parametrize(("count", "variables"), [(0, {}), (1, {"SLURM_JOB_ID": "7"})])
def test_nothing_is_done_without_gpus_and_below_slurm(count, variables, monkeypatch, four_devices):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with gpus.claimed(count) as devices:
        assert devices == []
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
    assert list(four_devices.iterdir()) == []


@pytest.mark.parametrize(
    ("visible", "each", "count", "message"),
    [
        ("0,1", "1", 3, "needs 3 GPUs, but there are 2"),
        ("0", "2", 3, r"needs 3 GPUs, but there is 1 to be had \(0\), for 2 jobs each"),
        ("", "1", 1, "none"),
    ],
)
def test_more_than_there_are_is_refused_at_once(visible, each, count, message, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("LGG_JOBS_PER_GPU", each)
    with pytest.raises(LggError, match=message), gpus.claimed(count):
        pass


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("2", ["2"]), ("3,1", ["3", "1"]), ("0,-1,2", ["0"]), (" GPU-ab , 1", ["GPU-ab", "1"]), ("", []), ("1,1", ["1"])],
)
def test_devices_are_those_that_cuda_would_see(visible, expected, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.present() == expected


def test_a_device_named_by_number_and_by_uuid_is_one(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-aaaa-1'; echo '1, GPU-bbbb-2'\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert gpus._lock_names(["GPU-bbbb-2", "0"]) == {"GPU-bbbb-2": "gpu-1", "0": "gpu-0"}
    assert gpus._lock_names(["GPU-bbbb"]) == {"GPU-bbbb": "gpu-1"}
    tool.unlink()
    assert gpus._lock_names(["MIG-x/1/0"]) == {"MIG-x/1/0": "gpu-MIG-x_1_0"}


def test_a_folder_of_locks_that_is_somebody_else_s_is_refused(four_devices, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (four_devices / "lgg-gpus").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LggError, match="belongs to somebody else"):
        gpus.lock_folder()


def test_without_a_runtime_folder_the_locks_lie_in_the_temporary_one(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "absent"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = gpus.lock_folder()
    assert folder == tmp_path / f"lgg-gpus-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
