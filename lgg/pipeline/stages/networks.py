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
from lgg.training.together import BatchesTogether, Together

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import Training, TrainNetwork, TrainStudents


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
    training, seed = recipe["training"], recipe["seed"]
    device = prepare(arguments.gpus, arguments.threads)
    data, header = read_images(arguments.train, verify=True), read_header(arguments.train)
    built = recipe["architecture"] | dict(architecture or {})
    built_with, model = build_network(built, data, header, seed=seed, device=device, outputs=outputs)
    recorder = None if make_recorder is None else make_recorder(data, device)
    checkpoints = _checkpoints(arguments, arguments.out_model, header, teacher)
    history = fit(
        model,
        make_objective(device),
        _batches(training, data, seed, device),
        **_settings(training, model.parameters()),
        after_step=after_step and partial(after_step, model),
        recorder=recorder,
        checkpoints=checkpoints,
    )
    files = ResultFiles(arguments.out_model, arguments.out_history, arguments.out_metrics)
    files.write(model, built_with, history, _describe(arguments, training, header, history, device))
    if recorder is not None:
        recorder.write()
    checkpoints.remove()


def train_together_and_save(
    arguments: Namespace,
    recipe: "TrainStudents",
    make_objective: Callable[[torch.device], Objective],
    *,
    teacher: Path | None = None,
) -> None:
    """Train a network of a recipe from each of its `seeds`, all at once, and write what each alone would.

    Each is drawn from its own seed and sees its own batches, as alone; the results agree up to rounding.

    Args:
        recipe: the stage's.
        make_objective: called with the device; an objective of networks together.
        teacher: the file of the teacher that the objective holds.
    """
    training, seeds = recipe["training"], recipe["seeds"]
    device = prepare(arguments.gpus, arguments.threads)
    data, header = read_images(arguments.train, verify=True), read_header(arguments.train)
    built = [build_network(recipe["architecture"], data, header, seed=seed, device=device) for seed in seeds]
    members = [model for _, model in built]
    together = Together(members)
    first = _batches(training, data, seeds[0], device)
    batches = BatchesTogether([first.with_seed(seed) for seed in seeds])
    settings = _settings(training, together.parameters())
    checkpoints = _checkpoints(arguments, arguments.out_models[0], header, teacher)
    history = fit(together, make_objective(device), batches, **settings, checkpoints=checkpoints)
    together.separate(members)
    about = _describe(arguments, training, header, history[:: len(seeds)], device) | {"trained_together": seeds}
    common = {key: value for key, value in recipe.items() if key != "seeds"}
    paths = zip(arguments.out_models, arguments.out_histories, arguments.out_metrics, strict=True)
    for number, (files, (built_with, model)) in enumerate(zip(paths, built, strict=True)):
        own = [{key: value for key, value in row.items() if key != "network"} for row in history[number :: len(seeds)]]
        ResultFiles(*files).write(model, built_with, own, about | {"recipe": common | {"seed": seeds[number]}})
    checkpoints.remove()


def _batches(training: "Training", data: ImageSet, seed: int, device: torch.device) -> Batches:
    size, augmentation = training["batch_size"], training["augmentation"]
    return make_batches(data, batch_size=size, seed=seed, augmentation=augmentation, device=device)


def _settings(training: "Training", parameters: Iterable[Tensor]) -> dict[str, Any]:
    """Return what `fit` takes of the settings of a training."""
    return {
        "schedule": training["schedule"],
        "optimizer": optimizers.build(parameters, **training["optimizer"]),
        "precision": training["precision"],
        "compilation": training["compilation"],
    }


def _describe(
    arguments: Namespace,
    training: "Training",
    header: Mapping[str, Any],
    history: Sequence[dict[str, Any]],
    device: torch.device,
) -> dict[str, Any]:
    return describe_run(
        arguments.recipe,
        header,
        history,
        schedule=training["schedule"],
        precision=training["precision"],
        device=device,
        threads=arguments.threads,
    )


def _checkpoints(arguments: Namespace, model: Path, header: Mapping[str, Any], teacher: Path | None) -> Checkpoints:
    """Return the checkpoints of a job, in the folder of its file `model`.

    The launcher adds the interval to the stage's options; in the rule's command, changing it would restart training.
    """
    identity = {
        "recipe": arguments.recipe,
        "code": arguments.code,
        "data": header["sha256"],
        "teacher": None if teacher is None else sha256_of_file(teacher),
    }
    often = getattr(arguments, "checkpoints", {})
    return Checkpoints(model.with_name("checkpoint.safetensors"), identity, **often)
