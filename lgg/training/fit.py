"""The training loop: one network, or several side by side."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lgg.data.batches import Batches
from lgg.devices import Precision, precision_on
from lgg.models.base import ImageClassifier
from lgg.training import resume
from lgg.training.history import check_finite
from lgg.training.objectives import Objective
from lgg.training.optimizers import SGD, Optimizer
from lgg.training.progress import Progress
from lgg.training.recorder import Recorder
from lgg.training.resume import Checkpoints, Requests
from lgg.training.schedule import Phases, Schedule
from lgg.training.step import TrainingStep


def _drawn_seed() -> int:
    """Return a seed from torch's default generator."""
    return int(torch.randint(2**63 - 1, ()).item())


@dataclass
class Run:
    """The training of one network.

    Attributes:
        model: on the device of `batches`; trained in place and left in evaluation mode.
        objective: what to minimise.
        batches: the training images.
        schedule: the phases of the learning rate, which also determine the number of epochs.
        optimizer: of the parameters of `model`; None for SGD with its defaults.
        precision: "float32", "bfloat16" for autocast (weights stay float32), or "auto", see `lgg.devices.precision_on`.
        gradient_clipping: the largest norm of all gradients together, to which a larger one is scaled down; None for any.
        after_step: called after each optimiser step, for constraints on the weights.
        recorder: observes the network before the first epoch and after each; a checkpoint holds what it recorded.
        checkpoints: writes checkpoints when one is due, and provides the one to resume from, if any. The caller removes them
            once the results are written.
        name: of the network, for messages; needed only beside others.
        seed: of the objective's random numbers. By default drawn from torch's default generator when the run is made, so
            that the seed of the network decides.
    """

    model: ImageClassifier
    objective: Objective
    batches: Batches
    schedule: Phases
    optimizer: Optimizer | None = None
    precision: Precision = "float32"
    gradient_clipping: float | None = None
    after_step: Callable[[], None] | None = None
    recorder: Recorder | None = None
    checkpoints: Checkpoints | None = None
    name: str = ""
    seed: int = field(default_factory=_drawn_seed)


def fit(
    model: ImageClassifier,
    objective: Objective,
    batches: Batches,
    *,
    schedule: Phases,
    optimizer: Optimizer | None = None,
    precision: Precision = "float32",
    gradient_clipping: float | None = None,
    after_step: Callable[[], None] | None = None,
    recorder: Recorder | None = None,
    checkpoints: Checkpoints | None = None,
    captured: bool = False,
) -> list[dict[str, Any]]:
    """Train `model` in place and return its history, one row per epoch.

    Args:
        captured: whether to replay steps as CUDA graphs, see `lgg.training.step.Captured`; does nothing on a CPU. The others
            are the attributes of `Run`.

    Returns rows with `epoch` (from 1), `learning_rate` (of its last step), `loss` and its unweighted parts (means over
    the batches), `train_error` (percent, on the augmented training images; absent if the objective has no logits), and
    `seconds` (without the recorder).

    Raises ConfigError if a phase of `schedule` has no step, TrainingDiverged if the loss of an epoch is not a finite number,
    and Interrupted if a signal ended training and there are `checkpoints`.

    On one machine and thread count the same arguments, seed and initial weights give the same bits, even if training was
    interrupted and resumed. Within an epoch nothing waits for the device.
    """
    run = Run(
        model,
        objective,
        batches,
        schedule,
        optimizer=optimizer,
        precision=precision,
        gradient_clipping=gradient_clipping,
        after_step=after_step,
        recorder=recorder,
        checkpoints=checkpoints,
    )
    return fit_side_by_side([run], captured=captured)[0]


def fit_side_by_side(runs: Sequence[Run], *, captured: bool = False) -> list[list[dict[str, Any]]]:
    """Train several networks at the same time and return their histories, each as `fit` returns it.

    They take turns, one step each, until each has done its own number of steps; on a GPU each has its own stream, so that
    small networks fill it together. Each is trained to the same bits as alone. `seconds` of an epoch include the turns of the
    others.

    A signal that ends training is raised as Interrupted after the checkpoints of all unfinished runs are written. A run that
    ends before the others leaves a checkpoint of its end, if it has `checkpoints`, so that it is not trained again if the
    others are interrupted. If a run fails, the checkpoints of the others are written before its error is raised.

    Raises the errors of `fit`; a TrainingDiverged says the `name` of its run. ValueError if two runs train one network or
    write one checkpoint.
    """
    _check_apart(runs)
    trainings = [_Training(run, apart=len(runs) > 1, captured=captured) for run in runs]
    checkpoints = [run.checkpoints for run in runs if run.checkpoints is not None]
    with Requests(checkpoints) as requests, contextlib.ExitStack() as bars, contextlib.ExitStack() as streams:
        for training in trainings:
            # after an error too: what is freed then may be in use until the stream has come to its end
            streams.callback(training.step.join)
            training.begin(bars)
        left = [training for training in trainings if not training.finished]
        while left:
            for training in list(left):
                _advance(training, left)
                if requests.pending and left:
                    _answer(requests, left)
    return [training.end() for training in trainings]


def _check_apart(runs: Sequence[Run]) -> None:
    for what, parts in (
        ("network", [id(run.model) for run in runs]),
        ("checkpoint", [run.checkpoints.path for run in runs if run.checkpoints is not None]),
    ):
        if len(set(parts)) < len(parts):
            raise ValueError(f"two of the runs have one {what}; each needs its own")


def _advance(training: "_Training", left: list["_Training"]) -> None:
    """Take the next step of `training`, one of those `left`, and write the checkpoints that are due."""
    try:
        training.advance()
        if training.finished:
            left.remove(training)
        # a network that has ended waits for the others, which may be interrupted
        if left if training.finished else training.due():
            training.write()
    except Exception:
        for other in left:
            if other is not training:
                # its own error would hide the first, and a file that is not written leaves the one before it
                with contextlib.suppress(OSError, RuntimeError):
                    other.write()
        raise


def _answer(requests: Requests, left: Sequence["_Training"]) -> None:
    """Write the checkpoints of all that is `left`, and end training if a signal asked for it."""
    kept = [(one.run.checkpoints, one) for one in left if one.run.checkpoints is not None]
    how_far = resume.where(left[0].at) if len(left) == 1 else f"of {len(left)} networks"
    requests.answer({checkpoints.path: one.write for checkpoints, one in kept}, how_far)


class _Training:
    """A run and its state between two steps: everything that determines the rest of it."""

    def __init__(self, run: Run, *, apart: bool, captured: bool) -> None:
        self.run = run
        self.device = run.batches.device
        self.schedule = Schedule(run.schedule, len(run.batches))
        self.optimizer = SGD(run.model.parameters()) if run.optimizer is None else run.optimizer
        self.generator = torch.Generator(self.device).manual_seed(run.seed)
        self.step = TrainingStep(
            run.model,
            run.objective,
            run.batches,
            self.optimizer,
            [self.schedule.learning_rate(number) for number in range(self.schedule.boundaries[-1])],
            precision_on(self.device, run.precision),
            run.after_step,
            self.generator,
            gradient_clipping=run.gradient_clipping,
            apart=apart,
            captured=captured,
            name=run.name,
        )
        self.at = _at_the_start_of(0, [])
        self.began: float | None = None  # when this epoch would have begun without an interruption; None between epochs
        self.progress: Progress

    @property
    def steps_done(self) -> int:
        return int(self.at["epoch"] * len(self.run.batches) + self.at["step"])

    @property
    def finished(self) -> bool:
        return bool(self.at["epoch"] == self.schedule.epochs)

    def begin(self, bars: contextlib.ExitStack) -> None:
        """Resume from a checkpoint, or let the recorder observe the untrained network."""
        with self.step.stream():
            found = None if self.run.checkpoints is None else self.run.checkpoints.read()
            if found is not None:
                tensors, self.at = found
                self._restore(tensors)
            elif self.run.recorder is not None:
                self.run.recorder.record(self.run.model, 0)
        progress = Progress(self.schedule.epochs, len(self.run.batches), self.steps_done, self.run.name)
        self.progress = bars.enter_context(progress)

    def advance(self) -> None:
        """Take the next step; after the last one of an epoch add its row to the history."""
        with self.step.stream():
            if self.began is None:
                self._begin_epoch()
            if self.steps_done in self.schedule.fresh_starts:
                self.optimizer.forget()
            seen = self.step()
            self.at |= {"step": self.at["step"] + 1, "seen": self.at["seen"] + seen}
            self.progress.step()
            if self.at["step"] == len(self.run.batches):
                self._end_epoch()

    def _begin_epoch(self) -> None:
        self.began = time.perf_counter() - self.at["seconds"]
        self.step.begin(self.at["epoch"], self.at["step"], self.steps_done)
        self.run.model.train()

    def _end_epoch(self) -> None:
        means = self.step.sums.row(len(self.run.batches), self.at["seen"])
        rate = self.schedule.learning_rate(self.steps_done - 1)
        done = self.at["epoch"] + 1
        row = {"epoch": done, "learning_rate": rate, **means, "seconds": self._seconds()}
        check_finite(row, self.schedule.epochs, self.run.name)
        self.progress.epoch(row)
        self.step.sums.clear()
        self.at = _at_the_start_of(done, [*self.at["history"], row])
        self.began = None
        if self.run.recorder is not None:
            self.run.recorder.record(self.run.model, done)

    def _seconds(self) -> float:
        return 0.0 if self.began is None else time.perf_counter() - self.began

    def due(self) -> bool:
        """Return whether it is time for a checkpoint."""
        between_epochs = self.at["epoch"] if self.began is None else None
        return self.run.checkpoints is not None and self.run.checkpoints.due(between_epochs)

    def write(self) -> None:
        """Write a checkpoint of this moment, if there are to be any."""
        if self.run.checkpoints is not None:
            with self.step.stream():
                # a run that was resumed within an epoch and waits for its first turn has those of its checkpoint
                seconds = self.at["seconds"] if self.began is None else self._seconds()
                self.run.checkpoints.write(self._state(), self.at | {"seconds": seconds})

    def end(self) -> list[dict[str, Any]]:
        """Return the history, once training has ended."""
        self.run.model.eval()
        history: list[dict[str, Any]] = self.at["history"]
        return history

    def _state(self) -> dict[str, Tensor]:
        """Return all tensors that determine the rest of training, for `_restore`."""
        state = _prefixed("model", self.run.model.state_dict())
        state |= _prefixed("optimizer", self.optimizer.state())
        state |= _prefixed("sum", self.step.sums.state())
        state |= _prefixed("recorded", self.run.recorder.state() if self.run.recorder is not None else {})
        state[f"random.{self.device.type}"] = self.generator.get_state()
        return state

    def _restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `_state` returned."""
        self.run.model.load_state_dict(_part(state, "model"))
        self.optimizer.restore(_part(state, "optimizer"))
        self.step.sums.restore(_part(state, "sum"), self.device)
        if self.run.recorder is not None:
            self.run.recorder.restore(_part(state, "recorded"))
        # of another kind of device it means nothing; results are then others in any case
        random = state.get(f"random.{self.device.type}")
        if random is not None:
            self.generator.set_state(random)


def _at_the_start_of(epoch: int, history: list[dict[str, Any]]) -> resume.Progress:
    return {"epoch": epoch, "step": 0, "seen": 0, "seconds": 0.0, "history": history}


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
