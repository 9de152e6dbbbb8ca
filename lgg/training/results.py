"""What a training run writes: its network, its history, and how both came to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lgg.devices import Precision, name_of, precision_on
from lgg.files import write_json, write_rows
from lgg.models.base import ImageClassifier
from lgg.training.checkpoint import save_model
from lgg.training.schedule import Phases, total_epochs


@dataclass(frozen=True)
class ResultFiles:
    """Where the results of a training run go."""

    model: Path
    history: Path
    metrics: Path

    def write(
        self,
        model: ImageClassifier,
        architecture: Mapping[str, Any],
        history: Sequence[dict[str, Any]],
        about: Mapping[str, Any],
    ) -> None:
        """Write all three; `architecture` is what the network was built with, `about` what `describe_run` returned."""
        save_model(self.model, model, architecture, {key: about[key] for key in ("recipe", "data_sha256")})
        write_rows(self.history, history)
        write_json(self.metrics, {**about, "last_epoch": history[-1]})


def describe_run(
    recipe: Mapping[str, Any],
    header: Mapping[str, Any],
    history: Sequence[dict[str, Any]],
    *,
    schedule: Phases,
    precision: Precision,
    device: torch.device,
    threads: int,
) -> dict[str, Any]:
    """Return what a reader of the results should know about how they came to be.

    Args:
        recipe: the settings, written as they are.
        header: of the training images' file.
        history: one row per epoch.
        schedule, precision: as `lgg.training.fit.fit` took them.
        device, threads: on which training ran.
    """
    return {
        "recipe": recipe,
        "images": header["shape"][0],
        "data_sha256": header["sha256"],
        "epochs": total_epochs(schedule),
        "seconds": sum(row["seconds"] for row in history),  # of all epochs, also those before an interruption
        "device": name_of(device),
        "precision": precision_on(device, precision),
        "threads": threads,
        "torch": torch.__version__,
    }
