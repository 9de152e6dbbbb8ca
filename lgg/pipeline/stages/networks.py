"""What the stages that train networks share."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from lgg.data.batches import Batches
from lgg.data.storage import ImageSet, read_header, read_images
from lgg.devices import prepare
from lgg.errors import WeightsError
from lgg.files import sha256_of_file
from lgg.models.base import ImageClassifier
from lgg.training import optimizers
from lgg.training.fit import Run, fit_side_by_side
from lgg.training.objectives import Objective
from lgg.training.recorder import Recorder
from lgg.training.results import ResultFiles, describe_run
from lgg.training.resume import Checkpoints
from lgg.training.setup import build_network, make_batches

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import Network

Minimised = TypeVar("Minimised", bound=Objective)


def train_and_save(
    arguments: Namespace,
    recipe: "Network",
    make_objective: Callable[[torch.device], Minimised],
    *,
    architecture: Mapping[str, Any] | None = None,
    outputs: int | None = None,
    teacher: Path | None = None,
    after_step: Callable[[Minimised, ImageClassifier], None] | None = None,
    make_recorder: Callable[[Path, ImageSet, torch.device], Recorder] | None = None,
    records: Sequence[Path] = (),
) -> None:
    """Train a network of a recipe from each seed on ``arguments.train`` and write the model, history and metrics of each.

    The seeds are ``arguments.seeds``, or that of the recipe. Weights and batches depend on the seed alone, so networks of one
    seed start alike and see the same batches whatever their method. Several networks are trained side by side, each as it
    would be alone; a checkpoint of each, also of those that are finished, is kept until the results of all are written.

    Args:
        recipe: the stage's.
        make_objective: called with the device, for each network.
        architecture: arguments of the network on top of the recipe's.
        outputs: how many the network has; None for one for each class.
        teacher: the file of the teacher that the objective holds.
        after_step: called with the objective and the network after each step of the optimiser.
        make_recorder: called for each network with its file of `records`, the training images and the device; the file is
            written as well.
    """
    job = _Job(arguments, recipe, teacher)
    files = [
        ResultFiles(*paths)
        for paths in zip(arguments.out_model, arguments.out_history, arguments.out_metrics, strict=True)
    ]
    networks = []
    for number, (seed, results) in enumerate(zip(job.seeds, files, strict=True)):
        built_with, model = job.network(recipe["architecture"] | dict(architecture or {}), seed, outputs)
        objective = make_objective(job.device)
        run = Run(
            model,
            objective,
            job.batches(seed),
            **job.settings(model),
            after_step=after_step and partial(after_step, objective, model),
            recorder=make_recorder and make_recorder(records[number], job.data, job.device),
            checkpoints=job.checkpoints(seed, results.model),
            name=f"seed {seed}" if len(files) > 1 else "",
        )
        networks.append((seed, results, built_with, run))
    runs = [run for *_, run in networks]
    histories = fit_side_by_side(runs, captured=arguments.captured)
    for (seed, results, built_with, run), history in zip(networks, histories, strict=True):
        results.write(run.model, built_with, history, job.describe(seed, history))
        if run.recorder is not None:
            run.recorder.write()
    for run in runs:
        if run.checkpoints is not None:
            run.checkpoints.remove()


def identify(path: Path, digest: str) -> dict[str, str]:
    """Return the name of a file of weights and its SHA-256, for who reads the results.

    Args:
        path: the file.
        digest: its SHA-256 when the jobs were planned; "published" for weights that were downloaded since.

    Raises WeightsError if it has changed since then.
    """
    found = sha256_of_file(path)
    if digest not in (found, "published"):
        raise WeightsError(f"{path} has changed since the jobs were planned. Run the pipeline again.")
    return {"file": str(path), "sha256": found}


class _Job:
    """What all trainings begin with and end with: device, images, and what the settings of training make of them."""

    def __init__(self, arguments: Namespace, recipe: "Network", teacher: Path | None) -> None:
        self.arguments = arguments
        self.recipe = recipe
        self.training = recipe["training"]
        self.seeds: list[int] = arguments.seeds or [recipe["seed"]]
        self.teacher = None if teacher is None else sha256_of_file(teacher)
        self.device = prepare(arguments.gpus, arguments.threads)
        self.data = read_images(arguments.train, verify=True)
        self.header = read_header(arguments.train)
        #: the file of weights that training started from, if there is one
        self.started_from: dict[str, str] | None = None

    def network(
        self, architecture: Mapping[str, Any], seed: int, outputs: int | None
    ) -> tuple[dict[str, Any], ImageClassifier]:
        """Return what `build_network` does, with the weights that training starts from, if the job has any."""
        start = self.arguments.start
        if start and self.started_from is None:
            self.started_from = identify(start, self.recipe["start"])
        return build_network(
            architecture, self.data, self.header, seed=seed, device=self.device, outputs=outputs, start=start
        )

    @cached_property
    def _batches(self) -> Batches:
        size, augmentation = self.training["batch_size"], self.training["augmentation"]
        seed = self.seeds[0]
        return make_batches(self.data, batch_size=size, seed=seed, augmentation=augmentation, device=self.device)

    def batches(self, seed: int) -> Batches:
        """Return the batches that `seed` makes of the images, which all networks of the job share."""
        return self._batches.with_seed(seed)

    def settings(self, model: ImageClassifier) -> dict[str, Any]:
        """Return what `Run` takes of the settings of training."""
        return {
            "schedule": self.training["schedule"],
            "optimizer": optimizers.build(model.parameters(), **self.training["optimizer"]),
            "precision": self.training["precision"],
            "gradient_clipping": self.training["gradient_clipping"],
        }

    def checkpoints(self, seed: int, model: Path) -> Checkpoints:
        """Return the checkpoints of the network from `seed`, in the folder of its file `model`.

        They are the same whichever other networks the job trains. The launcher adds the interval to the stage's options; in
        the rule's command, changing it would restart training.
        """
        identity = {
            "recipe": {**self.recipe, "seed": seed},
            "code": self.arguments.code,
            "data": self.header["sha256"],
            "teacher": self.teacher,
        }
        return Checkpoints(model.with_name("checkpoint.safetensors"), identity, **self.arguments.checkpoints)

    def describe(self, seed: int, history: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return what `describe_run` does, and the seeds of all networks of the job if there are several."""
        about = describe_run(
            {**self.recipe, "seed": seed},
            self.header,
            history,
            schedule=self.training["schedule"],
            precision=self.training["precision"],
            device=self.device,
            threads=self.arguments.threads,
        )
        about |= {"started_from": self.started_from} if self.started_from else {}
        return about | ({"trained_together": self.seeds} if len(self.seeds) > 1 else {})
