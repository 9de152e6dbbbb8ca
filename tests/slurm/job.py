"""A job of jobs.smk: writes a line to records.txt when it starts, is warned, and ends."""

import os
import signal
import sys
import time
from pathlib import Path

name, number, runtime, output = sys.argv[1:]


def record(event):
    with Path("records.txt").open("a", encoding="utf-8") as file:
        file.write(f"{name} {number} {event} {time.time()} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')} {runtime}\n")


record("start")
again = Path(f"{name}.begun").exists()
if name == "overdue":
    signal.signal(signal.SIGTERM, lambda *_: record("warned"))  # and continues until SLURM kills it
if name == "failing":
    sys.exit("this one always fails")
if name == "long" or (name in ("cancelled", "overdue") and not again):
    Path(f"{name}.begun").touch()
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        time.sleep(1)
time.sleep(2)
record("end")
Path(output).touch()
