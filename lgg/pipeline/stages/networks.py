"""What the stages that train networks share."""

from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lgg.data.batches import Batches
from lgg.data.storage import ImageSet, read_header, read_images
from lgg.devices import prepare
from lgg.files import sha256_of_file
from lgg.models.base import ImageClassifier
from lgg.training import optimizers
from lgg.training.fit import fit
from lgg.training.objectives import Objective
from lgg.training.recorder import Recorder
from lgg.training.results import ResultFiles, describe_run
from lgg.training.resume import Checkpoints
from lgg.training.setup import build_network, make_batches

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import Training, TrainNetwork


def train_and_save(
    arguments: Namespace,
    recipe: "TrainNetwork",
    make_objective: Callable[[torch.device], Objective],
    *,
    architecture: Mapping[str, Any] | None = None,
    outputs: int | None = None,
    teacher: Path | None = None,
    after_step: Callable[[ImageClassifier], None] | None = None,
    make_recorder: Callable[[ImageSet, torch.device], Recorder] | None = None,
) -> None:
    """Train the network of a recipe on ``arguments.train`` and write model, history and metrics.

    Weights and batches depend on the recipe's seed alone, so networks of one seed start alike and see the same batches
    whatever their method.

    Args:
        recipe: the stage's.
        make_objective: called with the device.
        architecture: arguments of the network on top of the recipe's.
        outputs: how many the network has; None for one for each class.
        teacher: the file of the teacher that the objective holds.
        after_step: called with the network after each step of the optimiser.
        make_recorder: called with the training images and the device; its file is written as well.
    """
    job, seed = _Job(arguments, recipe["training"]), recipe["seed"]
    built_with, model = job.network(recipe["architecture"] | dict(architecture or {}), seed, outputs)
    recorder = None if make_recorder is None else make_recorder(job.data, job.device)
    checkpoints = job.checkpoints(arguments.out_model, teacher)
    history = fit(
        model,
        make_objective(job.device),
        job.batches(seed),
        **job.settings(model.parameters()),
        after_step=after_step and partial(after_step, model),
        recorder=recorder,
        checkpoints=checkpoints,
    )
    files = ResultFiles(arguments.out_model, arguments.out_history, arguments.out_metrics)
    files.write(model, built_with, history, job.describe(history))
    if recorder is not None:
        recorder.write()
    checkpoints.remove()


class _Job:
    """What all trainings begin with and end with: device, images, and what the settings of training make of them."""

    def __init__(self, arguments: Namespace, training: "Training") -> None:
        self.arguments = arguments
        self.training = training
        self.device = prepare(arguments.gpus, arguments.threads)
        self.data = read_images(arguments.train, verify=True)
        self.header = read_header(arguments.train)

    def network(
        self, architecture: Mapping[str, Any], seed: int, outputs: int | None = None
    ) -> tuple[dict[str, Any], ImageClassifier]:
        """Return what `build_network` does."""
        return build_network(architecture, self.data, self.header, seed=seed, device=self.device, outputs=outputs)

    def batches(self, seed: int) -> Batches:
        size, augmentation = self.training["batch_size"], self.training["augmentation"]
        return make_batches(self.data, batch_size=size, seed=seed, augmentation=augmentation, device=self.device)

    def settings(self, parameters: Iterable[Tensor]) -> dict[str, Any]:
        """Return what `fit` takes of the settings of training."""
        return {
            "schedule": self.training["schedule"],
            "optimizer": optimizers.build(parameters, **self.training["optimizer"]),
            "precision": self.training["precision"],
        }

    def checkpoints(self, model: Path, teacher: Path | None) -> Checkpoints:
        """Return the checkpoints of the job, in the folder of its file `model`.

        The launcher adds the interval to the stage's options; in the rule's command, changing it would restart training.
        """
        identity = {
            "recipe": self.arguments.recipe,
            "code": self.arguments.code,
            "data": self.header["sha256"],
            "teacher": None if teacher is None else sha256_of_file(teacher),
        }
        often = getattr(self.arguments, "checkpoints", {})
        return Checkpoints(model.with_name("checkpoint.safetensors"), identity, **often)

    def describe(self, history: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return what `describe_run` does."""
        return describe_run(
            self.arguments.recipe,
            self.header,
            history,
            schedule=self.training["schedule"],
            precision=self.training["precision"],
            device=self.device,
            threads=self.arguments.threads,
        )
