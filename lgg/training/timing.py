"""The cost of training: seconds per step under several objectives, interleaved in one process (Appendix D, Table A1)."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from lgg.data.batches import Batches
from lgg.devices import Precision, precision_on
from lgg.models.base import ImageClassifier
from lgg.training.objectives import Objective
from lgg.training.optimizers import SGD, Optimizer
from lgg.training.step import WARM_UP, TrainingStep

#: a learning rate of zero costs the same as any other, and training cannot diverge
RATE = 0.0


@dataclass
class Trial:
    """A training run whose steps can be timed.

    Attributes:
        model: on the device of `batches`.
        objective: what a step minimises.
        batches: the training images, repeated for as many steps as needed.
        optimizer: for the parameters of `model`; None for SGD with its defaults.
        precision, gradient_clipping: as `lgg.training.fit.fit` takes them.
        after_step: called after every step, as in `fit`.
        captured: whether to replay steps as CUDA graphs, as in `fit`.
        apart: whether to take steps in a stream of its own, beside other trials; captured steps have one in any case.
    """

    model: ImageClassifier
    objective: Objective
    batches: Batches
    optimizer: Optimizer | None = None
    precision: Precision = "float32"
    gradient_clipping: float | None = None
    after_step: Callable[[], None] | None = None
    captured: bool = False
    apart: bool = False

    def __post_init__(self) -> None:
        if len(self.batches.labels) < self.batches.batch_size:
            raise ValueError(
                f"{len(self.batches.labels)} images do not fill the batch of {self.batches.batch_size} that is to be timed"
            )
        self.precision = precision_on(self.batches.device, self.precision)
        self.updates: Optimizer = SGD(self.model.parameters()) if self.optimizer is None else self.optimizer
        # without the last batch of an epoch if it is smaller, and so cheaper
        self.whole = len(self.batches.labels) // self.batches.batch_size
        self.epoch, self.left = 0, 0  # the next epoch, and how many steps are left of this one

    @cached_property
    def step(self) -> TrainingStep:
        """Return the step that is timed."""
        return TrainingStep(
            self.model,
            self.objective,
            self.batches,
            self.updates,
            [RATE] * self.whole,
            self.precision,
            self.after_step,
            torch.Generator(self.batches.device).manual_seed(0),
            gradient_clipping=self.gradient_clipping,
            apart=self.apart,
            captured=self.captured,
        )

    def seconds(self, steps: int) -> float:
        """Return how long `steps` steps take, batches and their augmentation included."""
        return _seconds([self], steps)

    def advance(self) -> None:
        """Take a step."""
        with self.step.stream():
            if self.left == 0:
                self.step.begin(self.epoch, 0, 0)
                self.epoch, self.left = self.epoch + 1, self.whole
            self.step()
            self.left -= 1


class SideBySide:
    """Trials that take turns, one step each; a step of theirs is one of each.

    Args:
        trials: on one device.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trials = trials
        self.captured = any(trial.captured for trial in trials)

    def seconds(self, steps: int) -> float:
        """Return how long it takes until each has taken `steps` steps."""
        return _seconds(self.trials, steps)


def measure(
    trials: Mapping[str, Trial | SideBySide], *, rounds: int, steps: int, warm_up: int = 2
) -> list[dict[str, Any]]:
    """Return a row for each trial and round: `name`, `round`, `seconds_per_step`.

    Trials are interleaved: each runs once per round, with the order reversed in every other round, so that changes on the
    machine affect all of them equally. Each trial first takes `warm_up` steps that are not counted, and one that is captured
    at least as many as come before its replays.
    """
    for trial in trials.values():
        trial.seconds(max(warm_up, WARM_UP + 1) if trial.captured else warm_up)
    rows = []
    for number in range(rounds):
        order: Sequence[str] = list(trials) if number % 2 == 0 else [*trials][::-1]
        rows += [
            {"name": name, "round": number, "seconds_per_step": trials[name].seconds(steps) / steps} for name in order
        ]
    return rows


def _seconds(trials: Sequence[Trial], steps: int) -> float:
    """Return how long it takes until each of the trials has taken `steps` steps, batches and augmentation included."""
    device = trials[0].batches.device
    for trial in trials:
        trial.model.train()
    _wait_for(device)
    began = time.perf_counter()
    for _ in range(steps):
        for trial in trials:
            trial.advance()
    _wait_for(device)
    return time.perf_counter() - began


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
