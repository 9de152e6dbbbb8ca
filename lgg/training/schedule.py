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

#: by which the epochs of all phases may differ from a whole number: three times 0.333333 is 1
TOLERANCE = Fraction(1, 10**5)


def total_epochs(phases: Phases) -> int:
    """Return the number of epochs of all phases.

    Raises ConfigError where it is not a whole number of at least 1.
    """
    total = _ends(phases)[-1]
    if round(total) < 1 or abs(total - round(total)) > TOLERANCE:
        raise ConfigError(f"the phases make {float(total):g} epochs; their sum must be a whole number of at least 1")
    return round(total)


def boundaries(phases: Phases, steps_per_epoch: int) -> list[int]:
    """Return the step, from 0, at which each phase begins, followed by the number of all steps.

    A phase begins at the step that is nearest to the exact sum of the epochs before it, of two the later.

    Raises ConfigError as `total_epochs` does, and where a phase is so short that no step is left to it.
    """
    steps = total_epochs(phases) * steps_per_epoch
    places = [0, *(math.floor(end * steps_per_epoch + Fraction(1, 2)) for end in _ends(phases)[:-1]), steps]
    for number, phase in enumerate(phases):
        if places[number] >= places[number + 1]:
            raise ConfigError(
                f"no step is left to phase {number}: an epoch has {steps_per_epoch} steps, of which it takes "
                f"{phase['epochs']:g} epochs; make it longer"
            )
    return places


def _ends(phases: Phases) -> list[Fraction]:
    """Return the sum of epochs at the end of each phase; decimal fractions are exact."""
    return list(accumulate(Fraction(str(phase["epochs"])) for phase in phases))


class Schedule:
    """The learning rate of each step of training.

    Args:
        phases: one after the other.
        steps_per_epoch: the number of batches.

    Raises ConfigError as `boundaries` does.
    """

    def __init__(self, phases: Phases, steps_per_epoch: int) -> None:
        self.phases = phases
        self.boundaries = boundaries(phases, steps_per_epoch)
        self.epochs = total_epochs(phases)
        #: steps before which the optimiser forgets its momentum
        self.fresh_starts = {
            step for step, phase in zip(self.boundaries, phases, strict=False) if phase.get("fresh_optimizer", False)
        }

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, from 0: from its phase's first value at the first step towards its last.

        The last value itself would be that of the step after the phase. Raises ValueError where `step` is not in the schedule.
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
