import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from configurations import overlaid, read
from snakemake.logging import logger

from lgg import gpus
from lgg.errors import ConfigError
from lgg.workflow import gpus_of_jobs, heed_signals, in_groups, one_of, start

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    monkeypatch.setenv("PATH", os.environ["PATH"])
    for name in ("PYTHONPATH", "LGG_SNAKEMAKE", "LGG_JOBS_PER_GPU", "LGG_CHECKPOINTS", gpus.HANDED):
        monkeypatch.setenv(name, "")  # what `start` sets for jobs ends with each test


def test_jobs_find_this_python_and_this_package():
    start(overlaid(), ROOT)
    assert os.environ["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert os.environ["PYTHONPATH"] == str(ROOT)


def test_what_an_overlay_mentions_keeps_its_place():
    """Snakemake hands the overlay's keys over first."""
    raw = overlaid()
    methods = raw["distillation"]["methods"]
    raw["distillation"]["methods"] = {"new": methods["gkd"] | {"label": "New"}, "gkd": methods.pop("gkd"), **methods}
    assert list(start(raw, ROOT).distillation.methods) == [*read()["distillation"]["methods"], "new"]


def test_an_environment_without_python_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python9"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no `python` for the jobs"):
        start(overlaid(), ROOT)


NONE, TOO_OLD = gpus.Usable({}), gpus.Usable({}, "the driver is too old")
ONE, TWO = gpus.Usable({"0": "gpu-aa"}), gpus.Usable({"0": "gpu-aa", "1": "gpu-bb"})


@pytest.mark.parametrize(
    ("device", "found", "limit", "each", "expected"),
    [
        ("cpu", TWO, 2, 1, (0, 0)),
        ("auto", NONE, 1, 1, (0, 0)),
        ("auto", NONE, 0, 1, (0, 0)),
        ("auto", TOO_OLD, 1, 1, (0, 0)),
        ("auto", ONE, 1, 1, (1, 1)),
        ("auto", TWO, 0, 1, (0, 0)),
        # a profile without a limit: what is timed takes one, as any other
        ("auto", TWO, None, 1, (1, 1)),
        ("auto", TWO, 2, 1, (1, 2)),
        # more than there are would wait for ever, or be refused at the very end
        ("auto", TWO, 8, 1, (1, 2)),
        ("auto", TWO, 8, 3, (1, 6)),
        # on a cluster the machine that submits has none
        ("cuda", NONE, 16, 1, (1, 16)),
        ("cuda", NONE, None, 1, (1, 1)),
        ("cuda", ONE, 16, 1, (1, 1)),
    ],
)
def test_jobs_ask_for_gpus_where_they_can_use_some(monkeypatch, device, found, limit, each, expected):
    monkeypatch.setattr(gpus, "usable", lambda: found)
    monkeypatch.setenv(gpus.HANDED, "of another run")
    config = start(overlaid({"resources": {"device": device, "jobs_per_gpu": each}}), ROOT)
    assert gpus_of_jobs(config, limit) == expected
    # what was decided is what jobs go by
    decided = found.locks if expected[0] else {}
    assert json.loads(os.environ.get(gpus.HANDED, "{}")) == decided


@pytest.mark.parametrize(
    ("device", "found", "limit", "said"),
    [
        ("auto", ONE, 0, "auto is the CPU here: no job may use a GPU (gpu=0)."),
        ("auto", TOO_OLD, 1, "auto is the CPU here: the driver is too old."),
        ("cuda", TOO_OLD, 1, "cuda, but on this machine the driver is too old."),
        # nothing that anybody would wonder about
        ("auto", NONE, 0, None),
        ("auto", ONE, 1, None),
        ("cuda", NONE, 1, None),
        ("cpu", ONE, 0, None),
    ],
)
def test_that_a_gpu_is_not_used_is_said(monkeypatch, caplog, device, found, limit, said):
    monkeypatch.setattr(gpus, "usable", lambda: found)
    with caplog.at_level("INFO", logger=logger.name):
        gpus_of_jobs(start(overlaid({"resources": {"device": device}}), ROOT), limit)
    assert [record.getMessage() for record in caplog.records] == ([f"resources.device: {said}"] if said else [])


def test_a_gpu_that_is_asked_for_and_forbidden_is_refused():
    with pytest.raises(ConfigError, match=r"device is cuda, but with `gpu=0`.*--resources gpu=1.*device to cpu"):
        gpus_of_jobs(start(overlaid({"resources": {"device": "cuda"}}), ROOT), 0)


def test_patterns_match_the_names_alone():
    import re

    assert re.fullmatch(one_of(["gkd", "a.b"]), "gkd")
    assert not re.fullmatch(one_of(["gkd", "a.b"]), "axb")
    assert not re.search(one_of([]), "")


@pytest.mark.parametrize(
    ("size", "groups"), [(1, [[4], [2], [9]]), (2, [[4, 2], [9]]), (3, [[4, 2, 9]]), (7, [[4, 2, 9]])]
)
def test_seeds_are_grouped_in_their_order(size, groups):
    assert in_groups([4, 2, 9], size) == groups


def test_only_snakemake_itself_listens_for_signals(monkeypatch):
    numbers = [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
    before = [signal.getsignal(number) for number in numbers]
    for program in ("/bin/pytest", "/lib/pytest/__main__.py", "snakemake_runner.py"):
        monkeypatch.setattr(sys, "argv", [program])
        heed_signals()
        assert signal.set_wakeup_fd(-1) == -1
    assert [signal.getsignal(number) for number in numbers] == before


# a Snakemake that has set its own handler of SIGTERM, or not yet; each signal is sent twice, as at the end of a session
SNAKEMAKE = """
import os, signal, sys, time
from lgg.workflow import heed_signals
sys.argv = ["snakemake"]
for number in map(int, os.environ["IGNORED"].split()):
    signal.signal(number, signal.SIG_IGN)
heed_signals()
if "LATER" in os.environ:
    signal.signal(signal.SIGTERM, lambda *_: print("waits", flush=True))
try:
    for number in map(int, os.environ["SENT"].split()):
        os.kill(os.getpid(), number)
    time.sleep(0.5)
    print("goes on")
except KeyboardInterrupt:
    try:
        for number in map(int, os.environ["SENT"].split()):
            os.kill(os.getpid(), number)
        time.sleep(0.5)
        print("interrupted once")
    except KeyboardInterrupt:
        print("interrupted twice")
"""


@pytest.mark.parametrize(
    ("sent", "ignored", "later", "expected"),
    [
        ("HUP", "", False, "interrupted once"),
        ("TERM", "", False, "interrupted once"),
        ("TERM HUP", "", True, "waits interrupted once"),
        ("HUP", "INT", False, "interrupted once"),
        ("HUP", "HUP", False, "goes on"),
        ("USR1 USR2", "", False, "goes on"),
    ],
)
def test_signals_end_snakemake_once_or_not_at_all(sent, ignored, later, expected):
    def numbers(names):
        return " ".join(str(int(signal.Signals[f"SIG{name}"])) for name in names.split())

    variables = {"SENT": numbers(sent), "IGNORED": numbers(ignored), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SNAKEMAKE],
        env=os.environ | variables | ({"LATER": "yes"} if later else {}),
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert list(dict.fromkeys(done.stdout.split("\n")))[:-1] == expected.replace("waits ", "waits\n").split("\n"), (
        done.stderr
    )
