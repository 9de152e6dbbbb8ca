"""Progress of training, for the user."""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from lgg.training.objectives import OTHER_COLUMNS
from lgg.training.terminal import tell

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """A progress bar on a terminal; elsewhere a line per epoch, at most one in five seconds, and always the last.

    Args:
        epochs: number of epochs.
        steps: number of steps per epoch.
        done: number of steps done before, if training resumes.
        name: of the network, which begins its lines; each of several networks has its own bar or lines.
    """

    def __init__(self, epochs: int, steps: int, done: int, name: str = "") -> None:
        self.epochs = epochs
        self.name = f"{name}: " if name else ""
        self.bar: tqdm[Any] | None = None
        if sys.stderr.isatty():
            self.bar = tqdm(total=epochs * steps, initial=done, unit="step", desc=name or None)
        self.began = time.perf_counter()
        self.before = done / steps  # epochs done before this process
        self.printed = -math.inf

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def step(self) -> None:
        """Report a completed step."""
        if self.bar is not None:
            self.bar.update()

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Report the end of an epoch with its row of the history."""
        parts = _describe_losses(row)
        if self.bar is not None:
            self.bar.set_postfix_str(f"epoch {row['epoch']}/{self.epochs} {parts}")
            return
        now = time.perf_counter()
        if now - self.printed < SECONDS_BETWEEN_LINES and row["epoch"] != self.epochs:
            return
        self.printed = now
        left = (now - self.began) / (row["epoch"] - self.before) * (self.epochs - row["epoch"])
        tell(
            f"{self.name}epoch {row['epoch']}/{self.epochs}: {parts}, {row['seconds']:.1f} s, about {_duration(left)} left"
        )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def _describe_losses(row: Mapping[str, Any]) -> str:
    names = [name for name in row if name not in OTHER_COLUMNS]
    error = [f"train error {row['train_error']:.2f} %"] if "train_error" in row else []
    return ", ".join([*(f"{name} {row[name]:.4f}" for name in names), *error])
