import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake_runs import without_ignored_signals

from lgg.pipeline.interrupt import heed_signals

ROOT = Path(__file__).resolve().parents[2]


def test_only_snakemake_itself_listens_for_signals(monkeypatch):
    numbers = [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
    before = [signal.getsignal(number) for number in numbers]
    for program in ("/bin/pytest", "/lib/pytest/__main__.py", "snakemake_runner.py"):
        monkeypatch.setattr(sys, "argv", [program])
        heed_signals()
        assert signal.set_wakeup_fd(-1) == -1
    assert [signal.getsignal(number) for number in numbers] == before


# a Snakemake that has, or has not yet, set its own SIGTERM handler; each signal is sent twice, as when a session ends
SNAKEMAKE = """
import os, signal, sys, time
from lgg.pipeline.interrupt import heed_signals
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
        preexec_fn=without_ignored_signals,
    )
    assert list(dict.fromkeys(done.stdout.split("\n")))[:-1] == expected.replace("waits ", "waits\n").split("\n"), (
        done.stderr
    )
