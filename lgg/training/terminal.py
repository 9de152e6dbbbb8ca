"""The terminal of the person who started the workflow, while its jobs write into log files."""

import contextlib
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

TERMINAL, JOB = "LGG_TERMINAL", "LGG_JOB"


def offer() -> None:
    """Let the jobs that this process starts know on which terminal it shows its messages, or that there is none.

    On a cluster a job's own Snakemake has none, and takes back what it inherited: another machine's name of a terminal.
    """
    os.environ.pop(TERMINAL, None)
    # there may be no such stream, or one that is no file
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.environ[TERMINAL] = os.ttyname(sys.stderr.fileno())


def name_job(arguments: Sequence[str]) -> None:
    """Name this process, in what it tells, after the folder of the first file that it writes: distillation/gkd/seed0."""
    outputs = [after for before, after in pairwise(arguments) if before.startswith("--out-")]
    if outputs:
        os.environ[JOB] = "/".join(Path(outputs[0]).parent.parts[-3:])


def tell(line: str) -> None:
    """Write a line to standard error, which is a job's log, and with the job's name to the terminal if there is one.

    A terminal that takes nothing, since it is gone or was stopped by Ctrl-S, goes without the line.
    """
    print(line, file=sys.stderr, flush=True)
    if terminal := os.environ.get(TERMINAL):
        with (
            contextlib.suppress(OSError),
            os.fdopen(os.open(terminal, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK), "w") as screen,
        ):
            screen.write(f"{os.environ.get(JOB, 'job')}: {line}\n")
