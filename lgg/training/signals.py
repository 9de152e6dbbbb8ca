"""The meaning of signals to jobs: stop, after a checkpoint if training is running, or write a checkpoint and continue."""

import signal
from collections.abc import Iterable


def _known(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(signal.Signals[name] for name in names if name in signal.Signals.__members__)


# termination, Ctrl-C, loss of the terminal or connection, CPU time limit; Windows has only the first two
ENDING = _known("SIGTERM", "SIGINT", "SIGHUP", "SIGXCPU")
# batch systems' warnings before a time limit: SLURM's usual one, and that of LSF and Grid Engine
WRITING = _known("SIGUSR1", "SIGUSR2")


def not_ignored(signals: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Return those of `signals` that this process did not inherit as ignored, as SIGHUP is under nohup."""
    return [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]


def ignore_warnings() -> None:
    """Ignore the signals that request a checkpoint; by default they would kill a process that does not handle them."""
    for number in WRITING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.SIG_IGN)
