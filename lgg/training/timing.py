"""The cost of training: seconds per step under several objectives, interleaved in one process (Appendix D, Table A1)."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lgg.data.batches import Batches
from lgg.devices import Precision, precision_on
from lgg.models.base import ImageClassifier
from lgg.training.compilation import Compilation, begin_step, compiled
from lgg.training.fit import train_step
from lgg.training.objectives import Objective
from lgg.training.optimizers import SGD, Optimizer

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
        precision: as `lgg.training.fit.fit` takes it.
        compilation: of the network, as in `fit`.
        after_step: called after every step, as in `fit`.
    """

    model: ImageClassifier
    objective: Objective
    batches: Batches
    optimizer: Optimizer | None = None
    precision: Precision = "float32"
    compilation: Compilation = "none"
    after_step: Callable[[], None] | None = None
    network: Any = field(init=False)
    updates: Optimizer = field(init=False)
    stream: Iterator[tuple[Tensor, Tensor]] = field(init=False)

    def __post_init__(self) -> None:
        if len(self.batches.labels) < self.batches.batch_size:
            raise ValueError(
                f"{len(self.batches.labels)} images do not fill the batch of {self.batches.batch_size} that is to be timed"
            )
        self.network = compiled(self.model, self.compilation)
        self.precision = precision_on(self.batches.device, self.precision)
        self.updates = SGD(self.model.parameters()) if self.optimizer is None else self.optimizer
        epochs = map(self.batches.epoch, itertools.count())
        # skip the last batch of an epoch if it is smaller, and so cheaper
        whole = self.batches.batch_size
        self.stream = (batch for epoch in epochs for batch in epoch if len(batch[1]) == whole)

    def seconds(self, steps: int) -> float:
        """Return how long `steps` steps take, batches and their augmentation included."""
        self.model.train()
        _wait_for(self.batches.device)
        began = time.perf_counter()
        for images, labels in itertools.islice(self.stream, steps):
            begin_step(self.compilation)
            train_step(
                self.network,
                self.objective,
                images,
                labels,
                self.updates,
                RATE,
                self.precision,
                self.after_step,
            )
        _wait_for(self.batches.device)
        return time.perf_counter() - began


def measure(trials: Mapping[str, Trial], *, rounds: int, steps: int, warm_up: int = 2) -> list[dict[str, Any]]:
    """Return a row for each trial and round: `name`, `round`, `seconds_per_step`.

    Trials are interleaved: each runs once per round, with the order reversed in every other round, so that changes on the
    machine affect all of them equally. Each trial first takes `warm_up` steps that are not counted.
    """
    for trial in trials.values():
        trial.seconds(warm_up)
    rows = []
    for number in range(rounds):
        order: Sequence[str] = list(trials) if number % 2 == 0 else [*trials][::-1]
        rows += [
            {"name": name, "round": number, "seconds_per_step": trials[name].seconds(steps) / steps} for name in order
        ]
    return rows


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
