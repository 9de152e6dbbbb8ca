"""What signals mean to jobs: stop, with a checkpoint where training runs, or write a checkpoint and continue."""

import signal
from collections.abc import Iterable


def _known(*names: str) -> tuple[signal.Signals, ...]:
    return tuple(signal.Signals[name] for name in names if name in signal.Signals.__members__)


# terminated, Ctrl-C, the terminal or connection is gone, the limit of CPU time; Windows has only the first two
ENDING = _known("SIGTERM", "SIGINT", "SIGHUP", "SIGXCPU")
# warnings of batch systems before a time limit: SLURM's usual one, and LSF's and Grid Engine's
WRITING = _known("SIGUSR1", "SIGUSR2")


def not_ignored(signals: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Return those of `signals` that this process did not inherit as ignored, as it does SIGHUP under nohup."""
    return [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]


def ignore_warnings() -> None:
    """Ignore the signals that ask for a checkpoint, which would kill a process that has none to write."""
    for number in WRITING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.SIG_IGN)
