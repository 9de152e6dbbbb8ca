"""What the stages that train networks share."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

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


def train_and_save(
    arguments: Namespace,
    make_objective: Callable[[torch.device], Objective],
    *,
    architecture: Mapping[str, Any] | None = None,
    after_step: Callable[[ImageClassifier], None] | None = None,
    make_recorder: Callable[[ImageSet, torch.device], Recorder] | None = None,
) -> None:
    """Train the network of ``arguments.recipe`` on ``arguments.train`` and write model, history and metrics.

    Weights and batches depend on the recipe's seed alone, so networks of one seed start alike and see the same batches
    whatever their method. The network has an output for each class, or ``recipe["dimensions"]`` where given.

    Args:
        make_objective: called with the device.
        architecture: arguments of the network on top of the recipe's.
        after_step: called with the network after each step of the optimiser.
        make_recorder: called with the training images and the device; its file is written as well.
    """
    recipe = arguments.recipe
    device = prepare(arguments.gpus, arguments.threads)
    data, header = read_images(arguments.train, verify=True), read_header(arguments.train)
    batches, training = make_batches(recipe, data, recipe["seed"], device)
    built_with, model = build_network(recipe, data, header, device, architecture)
    recorder = None if make_recorder is None else make_recorder(data, device)
    checkpoints = checkpoints_of(arguments, arguments.out_model, header)
    history = fit(
        model,
        make_objective(device),
        batches,
        optimizer=optimizers.build(model.parameters(), **training.pop("optimizer")),
        **training,
        after_step=after_step and partial(after_step, model),
        recorder=recorder,
        checkpoints=checkpoints,
    )
    about = describe_run(recipe, header, history, device, arguments.threads)
    files = ResultFiles(arguments.out_model, arguments.out_history, arguments.out_metrics)
    files.write(model, built_with, history, about)
    if recorder is not None:
        recorder.write()
    checkpoints.remove()


def train_together_and_save(arguments: Namespace, make_objective: Callable[[torch.device], Objective]) -> None:
    """Train a network of ``arguments.recipe`` from each of its `seeds`, all at once, and write what each alone would.

    Each is drawn from its own seed and sees its own batches, as alone; the results agree up to rounding.

    Args:
        make_objective: called with the device; an objective of networks together.
    """
    recipe = dict(arguments.recipe)
    seeds = recipe.pop("seeds")
    device = prepare(arguments.gpus, arguments.threads)
    data, header = read_images(arguments.train, verify=True), read_header(arguments.train)
    first, training = make_batches(recipe, data, seeds[0], device)
    built = [build_network(recipe | {"seed": seed}, data, header, device) for seed in seeds]
    members = [model for _, model in built]
    together = Together(members)
    batches = BatchesTogether([first.with_seed(seed) for seed in seeds])
    optimizer = optimizers.build(together.parameters(), **training.pop("optimizer"))
    checkpoints = checkpoints_of(arguments, arguments.out_models[0], header)
    history = fit(together, make_objective(device), batches, optimizer=optimizer, **training, checkpoints=checkpoints)
    together.separate(members)
    about = describe_run(arguments.recipe, header, history[:: len(seeds)], device, arguments.threads)
    about |= {"trained_together": seeds}
    paths = zip(arguments.out_models, arguments.out_histories, arguments.out_metrics, strict=True)
    for number, (files, (built_with, model)) in enumerate(zip(paths, built, strict=True)):
        own = [{key: value for key, value in row.items() if key != "network"} for row in history[number :: len(seeds)]]
        ResultFiles(*files).write(model, built_with, own, about | {"recipe": recipe | {"seed": seeds[number]}})
    checkpoints.remove()


def checkpoints_of(arguments: Namespace, model: Path, header: Mapping[str, Any]) -> Checkpoints:
    """Return the checkpoints of a job, in the folder of its file `model`.

    The launcher adds the interval to the stage's options; in the rule's command, changing it would restart training.
    """
    teacher = getattr(arguments, "teacher", None)
    identity = {
        "recipe": arguments.recipe,
        "code": arguments.code,
        "data": header["sha256"],
        "teacher": None if teacher is None else sha256_of_file(teacher),
    }
    often = getattr(arguments, "checkpoints", {})
    return Checkpoints(model.with_name("checkpoint.safetensors"), identity, **often)
