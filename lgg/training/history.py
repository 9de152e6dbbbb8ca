"""The rows of a history: means of the losses over an epoch."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lgg.errors import TrainingDiverged
from lgg.training.objectives import Step


class Sums:
    """Sums over the steps of an epoch, in tensors that stay where they are: reading them at each step would stall the device.

    Attributes:
        values: the sums so far, in the order of the history's columns.
    """

    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, step: Step, labels: Tensor) -> None:
        """Add the losses of a step and its number of misclassified images."""
        losses = {"loss": step.loss, **step.parts}
        torch._foreach_add_([self._sum(*one) for one in losses.items()], [value.detach() for value in losses.values()])
        if step.logits is not None:
            wrong = (step.logits.argmax(dim=1) != labels).sum()
            self._sum("wrong", wrong).add_(wrong)

    def _sum(self, name: str, like: Tensor) -> Tensor:
        if name not in self.values:
            if like.is_cuda and torch.cuda.is_current_stream_capturing():
                raise RuntimeError(f"the term {name!r} was not in the steps before")
            self.values[name] = torch.zeros_like(like)
        return self.values[name]

    def clear(self) -> None:
        """Start again from zero."""
        for value in self.values.values():
            value.zero_()

    def row(self, steps: int, images: int) -> dict[str, float]:
        """Return the means over `steps` and `images`."""
        totals = {name: value.item() for name, value in self.values.items()}
        row = {name: total / steps for name, total in totals.items() if name != "wrong"}
        if "wrong" in totals:
            row["train_error"] = 100.0 * totals["wrong"] / images
        return row

    def state(self) -> dict[str, Tensor]:
        """Return the sums for a checkpoint, numbered, since a file does not keep their order."""
        return {f"{number}.{name}": value for number, (name, value) in enumerate(self.values.items())}

    def restore(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Restore what `state` returned, on `device`."""
        numbered = sorted((int(name.partition(".")[0]), name, value) for name, value in state.items())
        self.values = {name.partition(".")[2]: value.to(device) for _, name, value in numbered}


def check_finite(row: Mapping[str, Any], epochs: int, name: str = "") -> None:
    """Raise TrainingDiverged if the row of an epoch, of `epochs`, holds anything but finite numbers.

    `name` is that of the network, for the message.
    """
    broken = [column for column, value in row.items() if not math.isfinite(value)]
    if broken:
        which = f" of {name}" if name else ""
        raise TrainingDiverged(
            f"training{which} diverged in epoch {row['epoch']} of {epochs}: {', '.join(broken)} is no longer a finite "
            f"number. Lower the learning rate of this phase (it was {row['learning_rate']:g}) or the weight of the "
            "added term, or lengthen the warm-up."
        )
