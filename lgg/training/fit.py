"""The training loop."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lgg.data.batches import Batches
from lgg.devices import Precision, precision_on
from lgg.models.base import ImageClassifier
from lgg.training import resume
from lgg.training.compilation import Compilation, begin_step, compiled
from lgg.training.history import Sums, check_finite
from lgg.training.objectives import Objective, Step
from lgg.training.optimizers import SGD, Optimizer
from lgg.training.progress import Progress
from lgg.training.recorder import Recorder
from lgg.training.resume import Checkpoints
from lgg.training.schedule import Phases, Schedule
from lgg.training.together import BatchesTogether, Together


def fit(
    model: ImageClassifier | Together,
    objective: Objective,
    batches: Batches | BatchesTogether,
    *,
    schedule: Phases,
    optimizer: Optimizer | None = None,
    precision: Precision = "float32",
    compilation: Compilation = "none",
    after_step: Callable[[], None] | None = None,
    recorder: Recorder | None = None,
    checkpoints: Checkpoints | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place and return its history, one row per epoch.

    Args:
        model: on the device of `batches`; left in evaluation mode. For several networks `Together`, use the objectives and
            batches of `lgg.training.together`.
        objective: what to minimise.
        batches: the training images.
        schedule: the phases of the learning rate, which also determine the number of epochs.
        optimizer: of the parameters of `model`; None for SGD with its defaults.
        precision: "float32", "bfloat16" for autocast (weights stay float32), or "auto", see `lgg.devices.precision_on`.
        compilation: "none", or a mode of `torch.compile` for the network.
        after_step: called after every optimiser step, for constraints on the weights.
        recorder: observes the network before the first epoch and after each; a checkpoint holds what it recorded.
        checkpoints: writes checkpoints when one is due, and provides the one to resume from, if any. The caller removes them
            once the results are written.

    Returns rows with `epoch` (from 1), `learning_rate` (of its last step), `loss` and its unweighted parts (means over
    the batches), `train_error` (percent, on the augmented training images; absent if the objective has no logits), and
    `seconds` (without the recorder). For networks trained together there is one row per epoch and network, with the number
    of the network, from 0, in `network`.

    Raises ConfigError if a phase of `schedule` has no step, TrainingDiverged if the loss of an epoch is not a finite number,
    and Interrupted if a signal ended training and there are `checkpoints`.

    On one machine and thread count the same arguments, seed and initial weights give the same bits, even if training was
    interrupted and resumed. Within an epoch nothing waits for the device.
    """
    run = _Run(
        model=model,
        network=compiled(model, compilation),
        objective=objective,
        batches=batches,
        rates=Schedule(schedule, len(batches)),
        optimizer=SGD(model.parameters()) if optimizer is None else optimizer,
        precision=precision_on(batches.device, precision),
        compilation=compilation,
        after_step=after_step,
        recorder=recorder,
        checkpoints=checkpoints,
    )
    with checkpoints or contextlib.nullcontext():
        run.begin()
        with Progress(run.rates.epochs, len(batches), run.steps_done) as progress:
            while run.at["epoch"] < run.rates.epochs:
                run.epoch(progress)
    model.eval()
    history: list[dict[str, Any]] = run.at["history"]
    return history


def train_step(
    model: Any,
    objective: Objective,
    images: Tensor,
    labels: Tensor,
    optimizer: Optimizer,
    rate: float,
    precision: Precision,
    after_step: Callable[[], None] | None,
) -> Step:
    """Train `model`, in training mode, on one batch at learning rate `rate`, and return the objective's outcome."""
    optimizer.zero_grad()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        step = objective(model, images, labels)
    step.loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step(rate)
    if after_step is not None:
        after_step()
    return step


@dataclass
class _Run:
    """The state of training between two steps: everything that determines the rest of it."""

    model: ImageClassifier | Together
    network: Any
    objective: Objective
    batches: Batches | BatchesTogether
    rates: Schedule
    optimizer: Optimizer
    precision: Precision
    compilation: Compilation
    after_step: Callable[[], None] | None
    recorder: Recorder | None
    checkpoints: Checkpoints | None
    at: resume.Progress = field(default_factory=lambda: _at_the_start_of(0, []))
    sums: Sums = field(default_factory=Sums)

    @property
    def steps_done(self) -> int:
        return int(self.at["epoch"] * len(self.batches) + self.at["step"])

    def begin(self) -> None:
        """Resume from a checkpoint, or let the recorder observe the untrained network."""
        found = self.checkpoints.read() if self.checkpoints is not None else None
        if found is not None:
            tensors, self.at = found
            self._restore(tensors)
        elif self.recorder is not None:
            self.recorder.record(self.model, 0)

    def epoch(self, progress: Progress) -> None:
        """Train to the end of this epoch and add its rows to the history."""
        began = time.perf_counter() - self.at["seconds"]
        rate = self._steps(progress, began)
        seconds = time.perf_counter() - began
        done = self.at["epoch"] + 1
        means = self.sums.rows(len(self.batches), self.at["seen"])
        rows = [{"epoch": done, "learning_rate": rate, **row, "seconds": seconds} for row in means]
        check_finite(rows, self.rates.epochs)
        progress.epoch(rows)
        self.sums = Sums()
        self.at = _at_the_start_of(done, self.at["history"] + rows)
        if self.recorder is not None:
            self.recorder.record(self.model, done)
        if self.checkpoints is not None and done < self.rates.epochs and self.checkpoints.due(done):
            self.checkpoints.write(self._state(), self.at)

    def _steps(self, progress: Progress, began: float) -> float:
        """Run the remaining steps of this epoch, and return the learning rate of the last."""
        rate, first = 0.0, self.at["step"]
        self.model.train()
        for index, (images, labels) in enumerate(self.batches.epoch(self.at["epoch"], first), first):
            number = self.steps_done
            if number in self.rates.fresh_starts:
                self.optimizer.forget()
            rate = self.rates.learning_rate(number)
            begin_step(self.compilation)
            step = train_step(
                self.network,
                self.objective,
                images,
                labels,
                self.optimizer,
                rate,
                self.precision,
                self.after_step,
            )
            self.sums.add(step, labels)
            progress.step()
            self.at |= {"step": index + 1, "seen": self.at["seen"] + labels.shape[-1]}
            last = index + 1 == len(self.batches)
            if self.checkpoints is not None and not last and self.checkpoints.due(None):
                self.at["seconds"] = time.perf_counter() - began
                self.checkpoints.write(self._state(), self.at)
        return rate

    def _state(self) -> dict[str, Tensor]:
        """Return all tensors that determine the rest of training, for `_restore`."""
        device = self.batches.device
        state = _prefixed("model", self.model.state_dict())
        state |= _prefixed("optimizer", self.optimizer.state())
        state |= _prefixed("sum", self.sums.state())
        state |= _prefixed("recorded", self.recorder.state() if self.recorder is not None else {})
        state["random.cpu"] = torch.get_rng_state()
        if device.type == "cuda":
            state["random.cuda"] = torch.cuda.get_rng_state(device)
        return state

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `_state` returned."""
        device = self.batches.device
        self.model.load_state_dict(_part(state, "model"))
        self.optimizer.restore(_part(state, "optimizer"))
        self.sums = Sums.restored(_part(state, "sum"), device)
        if self.recorder is not None:
            self.recorder.restore(_part(state, "recorded"))
        torch.set_rng_state(state["random.cpu"])
        if device.type == "cuda" and "random.cuda" in state:
            torch.cuda.set_rng_state(state["random.cuda"], device)


def _at_the_start_of(epoch: int, history: list[dict[str, Any]]) -> resume.Progress:
    return {"epoch": epoch, "step": 0, "seen": 0, "seconds": 0.0, "history": history}


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
