"""The one training loop."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lgg.data.batches import Batches
from lgg.devices import Precision, precision_on
from lgg.errors import TrainingDiverged
from lgg.models.base import ImageClassifier
from lgg.training.compilation import Compilation, begin_step, compiled
from lgg.training.objectives import Objective, Step
from lgg.training.resume import Checkpoints, Progress
from lgg.training.schedule import Phases, Schedule
from lgg.training.sgd import SGD
from lgg.training.terminal import tell
from lgg.training.together import BatchesTogether, Together

SECONDS_BETWEEN_LOG_LINES = 5.0


def fit(
    model: ImageClassifier | Together,
    objective: Objective,
    batches: Batches | BatchesTogether,
    *,
    schedule: Phases,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 5e-4,
    precision: Precision = "float32",
    compilation: Compilation = "none",
    after_step: Callable[[], None] | None = None,
    after_epoch: Callable[[int], None] | None = None,
    checkpoints: Checkpoints | None = None,
    kept: dict[str, Tensor] | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place by stochastic gradient descent and return its history, one row an epoch.

    Args:
        model: on the device of `batches`; left in evaluation mode. Several networks `Together` take an objective and
            batches of theirs.
        objective: what to minimise.
        batches: the training images.
        schedule: the phases of the learning rate, which also say how many epochs there are.
        momentum, nesterov, weight_decay: of SGD; the decay is on every parameter.
        precision: "float32", "bfloat16" for autocast (weights stay float32), or "auto", see `lgg.devices.precision_on`.
        compilation: "none", or a mode of `torch.compile` for the network.
        after_step: called after every step of the optimiser, for constraints on the weights.
        after_epoch: called with the number of epochs trained, first with 0; may use the model, whose mode is set again.
        checkpoints: where the training is written when one is due, and goes on from where one is. The caller removes
            them once what the training gives is written.
        kept: tensors that `after_epoch` collects; a checkpoint holds them too.

    Returns rows with `epoch` (from 1), `learning_rate` (of its last step), `loss` and its unweighted parts (means over
    the batches), `train_error` (percent, on augmented images as they were trained on; absent where the objective has no
    logits), and `seconds` (without `after_epoch`). For networks together there is a row an epoch for each, which says
    which in `network`, from 0.

    Raises ConfigError where a phase of `schedule` has no step, TrainingDiverged when the loss of an epoch is not a finite
    number, and Interrupted when a signal ended the training and `checkpoints` are there.

    On one machine and thread count the same arguments, seed and initial weights give the same bits, also where the
    training was interrupted and went on. Within an epoch nothing waits for the device.
    """
    rates = Schedule(schedule, len(batches))
    epochs = rates.epochs
    optimizer = SGD(model.parameters(), momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    network = compiled(model, compilation)
    precision = precision_on(batches.device, precision)
    kept = {} if kept is None else kept
    with contextlib.ExitStack() as stack:
        if checkpoints is not None:
            stack.enter_context(checkpoints)
        found = checkpoints.read() if checkpoints is not None else None
        if found is None:
            # sums stay on the device: reading them each step would make the device wait
            at: Progress = {"epoch": 0, "step": 0, "seen": 0, "seconds": 0.0, "history": []}
            sums: dict[str, Tensor] = {}
            if after_epoch is not None:
                after_epoch(0)
        else:
            tensors, at = found
            sums = _restore(tensors, model, optimizer, kept, batches.device)
        progress = stack.enter_context(_Progress(epochs, len(batches), at["epoch"] * len(batches) + at["step"]))
        while at["epoch"] < epochs:
            epoch, first = at["epoch"], at["step"]
            model.train()
            began = time.perf_counter() - at["seconds"]
            rate = 0.0
            for index, (images, labels) in enumerate(batches.epoch(epoch, first), first):
                number = epoch * len(batches) + index
                if number in rates.fresh_starts:
                    optimizer.forget()
                rate = rates.learning_rate(number)
                begin_step(compilation)
                step = train_step(network, objective, images, labels, optimizer, rate, precision, after_step)
                _add_to(sums, step, labels)
                progress.step()
                at |= {"step": index + 1, "seen": at["seen"] + labels.shape[-1]}
                last = index + 1 == len(batches)
                if checkpoints is not None and not last and checkpoints.due(None):
                    at["seconds"] = time.perf_counter() - began
                    checkpoints.write(_state(model, optimizer, sums, kept, batches.device), at)
            rows = _rows(sums, len(batches), at["seen"])
            seconds = time.perf_counter() - began
            rows = [{"epoch": epoch + 1, "learning_rate": rate, **row, "seconds": seconds} for row in rows]
            _check_finite(rows, epochs)
            progress.epoch(rows)
            sums = {}
            at = {"epoch": epoch + 1, "step": 0, "seen": 0, "seconds": 0.0, "history": at["history"] + rows}
            if after_epoch is not None:
                after_epoch(epoch + 1)
            if checkpoints is not None and epoch + 1 < epochs and checkpoints.due(epoch + 1):
                checkpoints.write(_state(model, optimizer, sums, kept, batches.device), at)
    model.eval()
    history: list[dict[str, Any]] = at["history"]
    return history


def _state(
    model: ImageClassifier | Together,
    optimizer: SGD,
    sums: Mapping[str, Tensor],
    kept: Mapping[str, Tensor],
    device: torch.device,
) -> dict[str, Tensor]:
    """Return all tensors that decide the rest of a training; `_restore` takes them back."""
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    state |= {f"velocity.{number}": value for number, value in enumerate(optimizer.velocities)}
    # numbered, since their order is that of the history's columns, and a file keeps none
    state |= {f"sum.{number}.{name}": value for number, (name, value) in enumerate(sums.items())}
    state |= {f"kept.{name}": value for name, value in kept.items()}
    state["random.cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        state["random.cuda"] = torch.cuda.get_rng_state(device)
    return state


def _restore(
    state: Mapping[str, Tensor],
    model: ImageClassifier | Together,
    optimizer: SGD,
    kept: dict[str, Tensor],
    device: torch.device,
) -> dict[str, Tensor]:
    """Bring back what `_state` returned, and return the sums of the epoch."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

    model.load_state_dict(part("model."))
    for number, value in part("velocity.").items():
        optimizer.velocities[int(number)].copy_(value)
    kept |= part("kept.")
    torch.set_rng_state(state["random.cpu"])
    if device.type == "cuda" and "random.cuda" in state:
        torch.cuda.set_rng_state(state["random.cuda"], device)
    numbered = sorted((int(name.partition(".")[0]), name, value) for name, value in part("sum.").items())
    return {name.partition(".")[2]: value.to(device) for _, name, value in numbered}


def train_step(
    model: Any,
    objective: Objective,
    images: Tensor,
    labels: Tensor,
    optimizer: SGD,
    rate: float,
    precision: Precision,
    after_step: Callable[[], None] | None,
) -> Step:
    """Update `model`, in training mode, by one batch at learning rate `rate`, and return what the objective gave."""
    optimizer.zero_grad()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        step = objective(model, images, labels)
    step.loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step(rate)
    if after_step is not None:
        after_step()
    return step


@torch.no_grad()
def _add_to(sums: dict[str, Tensor], step: Step, labels: Tensor) -> None:
    """Add the losses of a step, and how many images it got wrong, to `sums`, on the device."""
    # of networks together the parts hold the loss of each
    values = {"loss": step.loss, **step.parts}
    if step.logits is not None:
        values["wrong"] = (step.logits.argmax(dim=-1) != labels).sum(dim=-1)
    for name, value in values.items():
        sums[name] = sums[name] + value if name in sums else value.detach()


def _rows(sums: dict[str, Tensor], steps: int, seen: int) -> list[dict[str, Any]]:
    """Return the means of an epoch, one row for each network, numbered where they are several together."""
    columns = {name: value.reshape(-1).tolist() for name, value in sums.items()}
    several = sums["loss"].dim() > 0
    rows = []
    for number in range(len(columns["loss"])):
        row: dict[str, Any] = {"network": number} if several else {}
        row |= {name: values[number] / steps for name, values in columns.items() if name != "wrong"}
        if "wrong" in columns:
            row["train_error"] = 100.0 * columns["wrong"][number] / seen
        rows.append(row)
    return rows


def _check_finite(rows: Sequence[dict[str, Any]], epochs: int) -> None:
    for row in rows:
        broken = [name for name, value in row.items() if not math.isfinite(value)]
        if broken:
            which = f" of network {row['network']}" if "network" in row else ""
            raise TrainingDiverged(
                f"training{which} diverged in epoch {row['epoch']} of {epochs}: {', '.join(broken)} is no longer a finite "
                f"number. Lower the learning rate of this phase (it was {row['learning_rate']:g}) or the weight of the "
                "added term, or lengthen the warm-up."
            )


class _Progress:
    """A bar where a person watches; otherwise a line an epoch, at most one in five seconds, and always the last."""

    def __init__(self, epochs: int, steps: int, done: int) -> None:
        self.epochs = epochs
        self.bar: tqdm[Any] | None = None
        if sys.stderr.isatty():
            self.bar = tqdm(total=epochs * steps, initial=done, unit="step")
        self.began = time.perf_counter()
        self.before = done / steps  # epochs done before this process
        self.printed = -math.inf

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def step(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def epoch(self, rows: Sequence[dict[str, Any]]) -> None:
        row = {name: sum(one[name] for one in rows) / len(rows) for name in rows[0]}
        row["epoch"] = rows[0]["epoch"]
        parts = _describe_losses(row)
        if self.bar is not None:
            self.bar.set_postfix_str(f"epoch {row['epoch']}/{self.epochs} {parts}")
            return
        now = time.perf_counter()
        if now - self.printed < SECONDS_BETWEEN_LOG_LINES and row["epoch"] != self.epochs:
            return
        self.printed = now
        left = (now - self.began) / (row["epoch"] - self.before) * (self.epochs - row["epoch"])
        tell(f"epoch {row['epoch']}/{self.epochs}: {parts}, {row['seconds']:.1f} s, about {_duration(left)} left")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def _describe_losses(row: dict[str, Any]) -> str:
    others = ("epoch", "learning_rate", "network", "train_error", "seconds")
    names: Sequence[str] = [name for name in row if name not in others]
    error = [f"train error {row['train_error']:.2f} %"] if "train_error" in row else []
    return ", ".join([*(f"{name} {row[name]:.4f}" for name in names), *error])
