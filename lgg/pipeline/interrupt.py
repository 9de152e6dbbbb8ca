"""Signals that stop Snakemake or ask for checkpoints, and how they are passed on to its jobs."""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

from lgg.training.signals import ENDING, WRITING


def is_snakemake(program: Path) -> bool:
    """Return whether `program` is Snakemake itself, and not a program that uses it as a library."""
    return program.stem == "snakemake" or program.parts[-2:] == ("snakemake", "__main__.py")


def heed_signals() -> None:
    """Make SIGTERM and SIGHUP stop this Snakemake and its jobs as Ctrl-C does, and pass on signals that ask for checkpoints.

    By default Snakemake waits for its jobs after SIGTERM; the other signals kill it and leave its lock behind. Signals that
    are ignored from the start, like SIGHUP under nohup, stay ignored. If a program uses Snakemake as a library, its signal
    handlers are not changed.
    """
    if not is_snakemake(Path(sys.argv[0])) or sys.platform == "win32":
        return
    # Snakemake replaces the SIGTERM handler later, but Python also writes the number of every signal to a pipe
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    others = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if others != -1:  # something else is already listening
        signal.set_wakeup_fd(others)
        os.close(reading)
        os.close(writing)
        return
    for numbers, handler in (((signal.SIGTERM, signal.SIGHUP), _interrupt), (WRITING, _leave_it_to_jobs)):
        for number in numbers:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, handler)
    threading.Thread(target=_pass_on, args=(reading,), daemon=True).start()


# Acquired by the first signal that interrupts Snakemake: shells and systems send several on shutdown, and a second
# interrupt would disturb how Snakemake handles the first.
_interrupted = threading.Lock()


def _interrupt(*_: object) -> None:
    if _interrupted.acquire(blocking=False):
        raise KeyboardInterrupt


def _leave_it_to_jobs(*_: object) -> None:
    """Do nothing: `_pass_on` gets the signal too."""


def _pass_on(pipe: int) -> None:
    while arrived := os.read(pipe, 1):
        number = signal.Signals(arrived[0])
        if number in ENDING:
            _signal_stages(signal.SIGTERM)
        elif number in WRITING:
            _signal_stages(number)
        ours = signal.getsignal(number) is _interrupt
        if number == signal.SIGTERM and not ours and _interrupted.acquire(blocking=False):
            os.kill(os.getpid(), signal.SIGINT)


def _signal_stages(number: signal.Signals) -> None:
    import psutil  # type: ignore[import-untyped]  # Snakemake needs it too

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if command[1:2] == ["-m"] and "".join(command[2:3]) == "lgg.pipeline":
                process.send_signal(number)
