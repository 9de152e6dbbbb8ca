"""The learning rate as a list of phases: multi-step, two-phase and one-cycle schedules are such lists.

A phase is a mapping with `epochs` (may be a fraction), `learning_rate` (a number or [first, last]), and optionally
`shape` ("linear" or "cosine") and `fresh_optimizer`. Imports no torch.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

from lgg.errors import ConfigError

Phases = Sequence[Mapping[str, Any]]

#: how far the sum of all phases may be from a whole number: three times 0.333333 counts as 1
TOLERANCE = Fraction(1, 10**5)


def total_epochs(phases: Phases) -> int:
    """Return the total number of epochs of all phases.

    Raises ConfigError if it is not a whole number of at least 1.
    """
    total = _ends(phases)[-1]
    if round(total) < 1 or abs(total - round(total)) > TOLERANCE:
        raise ConfigError(f"the phases make {float(total):g} epochs; their sum must be a whole number of at least 1")
    return round(total)


def boundaries(phases: Phases, steps_per_epoch: int) -> list[int]:
    """Return the step, from 0, at which each phase begins, followed by the total number of steps.

    A phase begins at the step nearest to the exact sum of the epochs before it, or the later one of two equally near.

    Raises ConfigError as `total_epochs` does, and if a phase is too short to contain a step.
    """
    steps = total_epochs(phases) * steps_per_epoch
    places = [0, *(math.floor(end * steps_per_epoch + Fraction(1, 2)) for end in _ends(phases)[:-1]), steps]
    for number, phase in enumerate(phases):
        if places[number] >= places[number + 1]:
            raise ConfigError(
                f"phase {number} is too short for a single step: it lasts {phase['epochs']:g} epochs, and an epoch has "
                f"{steps_per_epoch} steps; make it longer"
            )
    return places


def _ends(phases: Phases) -> list[Fraction]:
    """Return the sum of epochs at the end of each phase; decimal fractions are exact."""
    return list(accumulate(Fraction(str(phase["epochs"])) for phase in phases))


class Schedule:
    """The learning rate of each step of training.

    Args:
        phases: consecutive phases.
        steps_per_epoch: the number of batches per epoch.

    Raises ConfigError as `boundaries` does.
    """

    def __init__(self, phases: Phases, steps_per_epoch: int) -> None:
        self.phases = phases
        self.boundaries = boundaries(phases, steps_per_epoch)
        self.epochs = total_epochs(phases)
        #: steps before which the optimiser is reset
        self.fresh_starts = {
            step for step, phase in zip(self.boundaries, phases, strict=False) if phase.get("fresh_optimizer", False)
        }

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0.

        It goes from the phase's first value, at its first step, towards its last, which would be reached at the step after the
        phase. Raises ValueError if `step` is not in the schedule.
        """
        number = bisect_right(self.boundaries, step) - 1
        if not 0 <= number < len(self.phases):
            raise ValueError(f"step {step} is not within the schedule's {self.boundaries[-1]} steps")
        begin, end = self.boundaries[number : number + 2]
        value = self.phases[number]["learning_rate"]
        first, last = value if isinstance(value, Sequence) else (value, value)
        part = (step - begin) / (end - begin)
        if self.phases[number].get("shape", "linear") == "cosine":
            part = (1 - math.cos(math.pi * part)) / 2
        return float(first + (last - first) * part)
