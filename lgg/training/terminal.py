"""The terminal of the user who started the workflow, while its jobs write into log files."""

import contextlib
import os
import sys

_screen: str | None = None
_job = "job"


def name() -> str | None:
    """Return the name of the terminal that shows this process's standard error, or None."""
    # the stream may be missing or have no descriptor
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.ttyname(sys.stderr.fileno())
    return None


def connect(screen: str | None, job: str) -> None:
    """Let `tell` also write to the terminal `screen`, if there is one, prefixed by the name of this `job`."""
    global _screen, _job
    _screen, _job = screen, job


def tell(line: str) -> None:
    """Write a line to standard error, which is a job's log, and with the job's name to the terminal if there is one.

    If the terminal is gone, or was stopped by Ctrl-S, the line goes only to the log.
    """
    print(line, file=sys.stderr, flush=True)
    if _screen:
        with (
            contextlib.suppress(OSError),
            os.fdopen(os.open(_screen, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK), "w") as screen,
        ):
            screen.write(f"{_job}: {line}\n")
