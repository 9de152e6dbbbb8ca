"""The learning rate as a list of phases: multi-step, two-phase and one-cycle schedules are such lists.

A phase is a mapping with `epochs` (may be a fraction), `learning_rate` (a number or [first, last]), and optionally
`shape` ("linear" or "cosine") and `fresh_optimizer`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Phases = Sequence[Mapping[str, Any]]


def total_epochs(phases: Phases) -> int:
    """Return the number of epochs that the phases make together."""
    epochs: float = sum(phase["epochs"] for phase in phases)
    return round(epochs)


def learning_rate(phases: Phases, epoch: float) -> float:
    """Return the learning rate at `epoch` (0 at the start, 1.5 half way through the second epoch).

    Where two phases meet the later one counts. Raises ValueError where `epoch` is not within the phases.
    """
    start = 0.0
    for phase in phases:
        end = start + phase["epochs"]
        if start <= epoch < end - 1e-9:
            first, last = _ends(phase["learning_rate"])
            part = (epoch - start) / (end - start)
            if phase.get("shape", "linear") == "cosine":
                part = (1 - math.cos(math.pi * part)) / 2
            return float(first + (last - first) * part)
        start = end
    raise ValueError(f"epoch {epoch} is not within the schedule's {start:g} epochs")


def fresh_starts(phases: Phases) -> set[int]:
    """Return the epochs before which the optimiser forgets its momentum."""
    starts, start = set(), 0.0
    for phase in phases:
        if phase.get("fresh_optimizer", False):
            starts.add(round(start))
        start += phase["epochs"]
    return starts


def _ends(value: float | Sequence[float]) -> tuple[float, float]:
    first, last = value if isinstance(value, Sequence) else (value, value)
    return float(first), float(last)
