"""The rows of a history: means of the losses over an epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lgg.errors import TrainingDiverged
from lgg.training.objectives import Step


class Sums:
    """Sums over the steps of an epoch. They stay on the device: reading them at each step would stall it.

    Args:
        values: the sums so far, in the order of the history's columns.
    """

    def __init__(self, values: Mapping[str, Tensor] | None = None) -> None:
        self.values = dict(values or {})

    @torch.no_grad()
    def add(self, step: Step, labels: Tensor) -> None:
        """Add the losses of a step and its number of misclassified images."""
        # for networks trained together, the parts hold the loss of each
        values = {"loss": step.loss, **step.parts}
        if step.logits is not None:
            values["wrong"] = (step.logits.argmax(dim=-1) != labels).sum(dim=-1)
        for name, value in values.items():
            self.values[name] = self.values[name] + value if name in self.values else value.detach()

    def rows(self, steps: int, images: int) -> list[dict[str, Any]]:
        """Return the means over `steps` and `images`, one row per network, numbered if there are several."""
        columns = {name: value.reshape(-1).tolist() for name, value in self.values.items()}
        several = self.values["loss"].dim() > 0
        rows = []
        for number in range(len(columns["loss"])):
            row: dict[str, Any] = {"network": number} if several else {}
            row |= {name: values[number] / steps for name, values in columns.items() if name != "wrong"}
            if "wrong" in columns:
                row["train_error"] = 100.0 * columns["wrong"][number] / images
            rows.append(row)
        return rows

    def state(self) -> dict[str, Tensor]:
        """Return the sums for a checkpoint, numbered, since a file does not keep their order."""
        return {f"{number}.{name}": value for number, (name, value) in enumerate(self.values.items())}

    @classmethod
    def restored(cls, state: Mapping[str, Tensor], device: torch.device) -> "Sums":
        """Return the sums from their `state`."""
        numbered = sorted((int(name.partition(".")[0]), name, value) for name, value in state.items())
        return cls({name.partition(".")[2]: value.to(device) for _, name, value in numbered})


def check_finite(rows: Sequence[dict[str, Any]], epochs: int) -> None:
    """Raise TrainingDiverged if a row of an epoch, of `epochs`, holds anything but finite numbers."""
    for row in rows:
        broken = [name for name, value in row.items() if not math.isfinite(value)]
        if broken:
            which = f" of network {row['network']}" if "network" in row else ""
            raise TrainingDiverged(
                f"training{which} diverged in epoch {row['epoch']} of {epochs}: {', '.join(broken)} is no longer a finite "
                f"number. Lower the learning rate of this phase (it was {row['learning_rate']:g}) or the weight of the "
                "added term, or lengthen the warm-up."
            )
