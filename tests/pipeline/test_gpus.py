"""One device per job, with simulated devices: each name in CUDA_VISIBLE_DEVICES is one."""

import os
import signal
import subprocess
import sys
from itertools import combinations

import pytest

from lgg.errors import LggError
from lgg.pipeline import driver, gpus

# holds its devices for a while, and says from when to when
JOB = """
import os, sys, time
from lgg.pipeline import driver
from lgg.pipeline import gpus
gpus.PARENTS = [os.environ["TEST_LOCKS"]]
driver.ask = lambda: driver.Answer([], asked=False)
with gpus.claimed(int(sys.argv[1]), {}, int(sys.argv[3])) as devices:
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
    """Return the folder that contains the locks, on a machine without a driver."""
    locks = tmp_path / "locks"
    locks.mkdir()
    for name in ("SLURM_JOB_ID", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(gpus, "PARENTS", [str(locks)])
    monkeypatch.setattr(driver, "ask", lambda: driver.Answer([], asked=False))
    monkeypatch.setenv("TEST_LOCKS", str(locks))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    return locks


def claimed(count, handed=None, each=1):
    return gpus.claimed(count, handed or {}, each)


def start(count, seconds, each=1, **variables):
    command = [sys.executable, "-c", JOB, str(count), str(seconds), str(each)]
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


def test_jobs_in_contention_never_share_a_device():
    outcomes = [outcome(job) for job in [start(1, 0.3) for _ in range(12)]]
    assert_never_shared(outcomes)
    assert all(len(devices) == 1 for devices, *_ in outcomes)


def test_jobs_that_want_several_get_them_all_without_a_deadlock():
    counts = [2, 3, 1, 4, 2, 1, 3, 2]
    outcomes = [outcome(job) for job in [start(count, 0.05) for count in counts]]
    assert [len(devices) for devices, *_ in outcomes] == counts
    assert_never_shared(outcomes)


def test_no_more_jobs_share_a_device_than_it_has_places():
    jobs = [start(1, 0.4, each=2, CUDA_VISIBLE_DEVICES="0,1") for _ in range(10)]
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
        jobs.append(start(1, 60, each=2, CUDA_VISIBLE_DEVICES="0,1"))
        devices.append(jobs[-1].stdout.readline())
    for job in jobs:
        job.kill()
        job.communicate()
    assert devices == ["has 0\n", "has 1\n"] * 2


def test_who_takes_all_places_has_each_device_alone():
    with claimed(12, each=3) as devices:
        assert devices == ["0", "1", "2", "3"]
        waiting = start(1, 0, each=3)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=0.5)
    assert outcome(waiting)[0] == ["0"]


def test_two_runs_share_the_devices_that_both_may_use():
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
    # two wait for devices, one that wants several for its turn
    waiting = [
        subprocess.Popen([sys.executable, "-c", JOB, count, "0", "1"], stderr=subprocess.PIPE, text=True)
        for count in "122"
    ]
    messages = sorted(job.stderr.readline() for job in waiting)
    for job in waiting:
        job.terminate()
        job.communicate(timeout=10)
    assert messages[0].startswith("This job is waiting for 1 of the GPUs 0, 1, 2, 3")
    assert messages[1].startswith("This job is waiting for 2 of the GPUs 0, 1, 2, 3")
    assert messages[2].startswith("This job is waiting for its turn")
    holder.kill()
    holder.communicate()


def test_a_job_that_waits_keeps_no_other_from_a_device_that_is_free():
    """Like two runs of one user, each with its own devices."""
    with claimed(4), start(1, 0, CUDA_VISIBLE_DEVICES="0") as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=0.5)
        assert outcome(start(1, 0, CUDA_VISIBLE_DEVICES="7"))[0] == ["7"]
        waiting.kill()


def test_the_environment_is_as_before_afterwards(monkeypatch):
    with claimed(2) as devices:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(devices) == "0,1"
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
    assert "CUDA_DEVICE_ORDER" not in os.environ


def test_without_gpus_nothing_is_done(four_devices):
    with claimed(0) as devices:
        assert devices == []
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
    assert list(four_devices.iterdir()) == []


def test_jobs_of_one_allocation_have_separate_devices_and_allocations_are_independent():
    """SLURM gives each allocation its devices, which may be called 0 in each, but does not divide them among its processes."""
    with claimed(4):
        jobs = [
            start(1, 60, SLURM_JOB_ID=number, CUDA_VISIBLE_DEVICES=names)
            for number, names in [*[("7", "0,1")] * 2, *[("8", "0")]]
        ]
        has = sorted(job.stdout.readline() for job in jobs)
        for job in jobs:
            job.kill()
            job.communicate()
    assert has == ["has 0\n", "has 0\n", "has 1\n"]


@pytest.mark.parametrize(
    ("visible", "each", "count", "message"),
    [
        ("0,1", 1, 3, "needs 3 GPUs, but there are 2"),
        ("0", 2, 3, r"needs 3 GPUs, but there is 1 available \(0\), for 2 jobs each"),
        ("", 1, 1, "none"),
    ],
)
def test_more_than_there_are_is_refused_at_once(visible, each, count, message, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(LggError, match=message), claimed(count, each=each):
        pass


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("2", ["2"]), ("3,1", ["3", "1"]), ("0,-1,2", ["0"]), (" GPU-ab , 1", ["GPU-ab", "1"]), ("", []), ("1,1", ["1"])],
)
def test_without_a_driver_devices_are_those_that_are_named(visible, expected, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert list(gpus.present({}).locks) == expected
    assert gpus.usable().locks == {}  # and none of which anybody knows that it can be used


def machine(monkeypatch, uuids, visible, **answer):
    """Simulate a machine whose driver finds these GPUs among those in `visible`."""
    monkeypatch.setattr(driver, "ask", lambda: driver.Answer(uuids, **answer))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


@pytest.mark.parametrize(
    ("uuids", "visible", "expected"),
    [
        # in a container whose one GPU has the file /dev/nvidia3, CUDA calls it 0
        (["aa"], None, {"0": "gpu-aa"}),
        (["aa", "bb"], None, {"0": "gpu-aa", "1": "gpu-bb"}),
        (["cc", "bb"], "2,1", {"2": "gpu-cc", "1": "gpu-bb"}),
        (["bb"], "GPU-bb", {"GPU-bb": "gpu-bb"}),
        # CUDA ends at the first name that is none
        (["aa"], "0,9,1", {"0": "gpu-aa"}),
        ([], "0", {}),
        ([], None, {}),
        # parts of divided GPUs: a process sees only the first
        (["aa"], "MIG-1,MIG-2", {"MIG-1": "gpu-MIG-1", "MIG-2": "gpu-MIG-2"}),
        # a driver that names none of its GPUs
        (["00", "00"], None, {"0": "gpu-0", "1": "gpu-1"}),
    ],
)
def test_with_a_driver_devices_are_those_that_it_finds(uuids, visible, expected, monkeypatch):
    machine(monkeypatch, uuids, visible)
    assert gpus.present({}).locks == gpus.usable().locks == expected


def test_a_device_is_one_by_whatever_name_and_in_whichever_batch_job(monkeypatch):
    names = []
    for visible, allocation in (("1", None), ("GPU-bb", None), ("0", "7"), (None, "8")):
        machine(monkeypatch, ["bb"], visible)
        if allocation:
            monkeypatch.setenv("SLURM_JOB_ID", allocation)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "0")
        names.extend(gpus.present({}).locks.values())
    assert names == ["gpu-bb"] * 4


def test_jobs_use_the_gpus_of_their_run_without_asking_the_driver(monkeypatch):
    monkeypatch.setattr(driver, "ask", lambda: pytest.fail("was asked"))
    with claimed(1, {"5": "gpu-ee"}) as devices:
        assert devices == ["5"]


def test_amd_s_own_variable_comes_first(monkeypatch):
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "3")
    with claimed(1) as devices:
        assert devices == ["3"]
        assert (os.environ["HIP_VISIBLE_DEVICES"], os.environ["CUDA_VISIBLE_DEVICES"]) == ("3", "0,1,2,3")


# --- the folder of locks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "TMPDIR", "TMP", "TEMP", "HOME"])
def test_two_sessions_find_one_folder_whatever_their_variables(variable, monkeypatch, tmp_path, four_devices):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / folder))
        monkeypatch.setattr("tempfile.tempdir", None)
        assert gpus.lock_folder() == four_devices / f"lgg-gpus-{os.getuid()}"
    assert gpus.lock_folder().stat().st_mode & 0o777 == 0o700


def another_user_s_link(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")


def a_file(folder, tmp_path):
    folder.touch()


def open_to_all(folder, tmp_path):
    folder.mkdir()
    folder.chmod(0o777)


@pytest.mark.parametrize("spoil", [another_user_s_link, a_file, open_to_all])
def test_a_folder_that_others_can_write_to_is_skipped(spoil, monkeypatch, four_devices, tmp_path):
    (tmp_path / "second").mkdir()
    name = f"lgg-gpus-{os.getuid()}"
    spoil(four_devices / name, tmp_path)
    with pytest.raises(LggError, match=f"{name}: .*Remove one of these"):
        gpus.lock_folder()
    monkeypatch.setattr(gpus, "PARENTS", [str(four_devices), str(tmp_path / "absent"), str(tmp_path / "second")])
    assert gpus.lock_folder() == tmp_path / "second" / name


def test_another_user_s_folder_is_passed_over(monkeypatch, four_devices):
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    (four_devices / f"lgg-gpus-{other}").mkdir()
    with pytest.raises(LggError, match="belongs to another user"):
        gpus.lock_folder()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), NotImplementedError("no flock")])
def test_a_lock_that_cannot_be_kept_ends_without_a_traceback(error, monkeypatch):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", fails)
    with pytest.raises(LggError, match=r"gpu-0\.lock, by which jobs share GPUs, cannot be kept"), claimed(1):
        pass
