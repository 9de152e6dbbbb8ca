"""What the stages that train or run networks share."""

import platform
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lgg import models
from lgg.data.batches import Batches
from lgg.data.storage import ImageSet, read_header, read_images
from lgg.devices import precision_on, prepare
from lgg.files import sha256_of_file, write_json, write_rows
from lgg.models.base import ImageClassifier
from lgg.training.checkpoint import save_model
from lgg.training.fit import fit
from lgg.training.objectives import Objective
from lgg.training.resume import Checkpoints
from lgg.training.schedule import total_epochs
from lgg.training.together import BatchesTogether, Together


def train_and_save(
    arguments: Namespace,
    make_objective: Callable[[torch.device], Objective],
    *,
    after_step: Callable[[ImageClassifier], None] | None = None,
    after_epoch: Callable[[ImageClassifier, ImageSet, torch.device, int], None] | None = None,
    kept: dict[str, Tensor] | None = None,
    write_more: Callable[[], None] | None = None,
) -> None:
    """Train the network of ``arguments.recipe`` on ``arguments.train`` and write model, history and metrics.

    Weights and batches follow from the recipe's seed alone, so networks of one seed start alike and see the same
    batches whatever their method. The network has an output for each class, or ``recipe["dimensions"]`` where given.

    Args:
        make_objective: called with the device.
        after_step: called with the network after each step of the optimiser.
        after_epoch: called with the network, the training images, the device, and the number of epochs trained, from 0.
        kept: what `after_epoch` collects.
        write_more: writes the stage's further files, while the checkpoint is still there.
    """
    recipe, training = arguments.recipe, dict(arguments.recipe["training"])
    device = prepare(arguments.gpus, arguments.threads)
    data, header = read_images(arguments.train, verify=True), read_header(arguments.train)
    batches = make_batches(data, training.pop("batch_size"), recipe["seed"], training.pop("augmentation"), device)
    architecture, model = build_network(recipe, data, header, device)
    checkpoints = checkpoints_beside(arguments.out_model, arguments, header)
    history = fit(
        model,
        make_objective(device),
        batches,
        **training,
        after_step=after_step and partial(after_step, model),
        after_epoch=after_epoch and partial(after_epoch, model, data, device),
        checkpoints=checkpoints,
        kept=kept,
    )
    about = describe_run(arguments, device, header, history)
    _save(arguments.out_model, arguments.out_history, arguments.out_metrics, model, architecture, history, about)
    if write_more is not None:
        write_more()
    checkpoints.remove()


def train_together_and_save(arguments: Namespace, make_objective: Callable[[torch.device], Objective]) -> None:
    """Train a network of ``arguments.recipe`` from each of its `seeds`, all at once, and write what each alone would.

    Each is drawn from its own seed and sees its own batches, as alone; the results agree but for rounding.

    Args:
        make_objective: called with the device; an objective of networks together.
    """
    recipe, training = dict(arguments.recipe), dict(arguments.recipe["training"])
    seeds = recipe.pop("seeds")
    device = prepare(arguments.gpus, arguments.threads)
    data, header = read_images(arguments.train, verify=True), read_header(arguments.train)
    first = make_batches(data, training.pop("batch_size"), seeds[0], training.pop("augmentation"), device)
    built = [build_network(recipe | {"seed": seed}, data, header, device) for seed in seeds]
    members = [model for _, model in built]
    together = Together(members)
    batches = BatchesTogether([first.with_seed(seed) for seed in seeds])
    checkpoints = checkpoints_beside(arguments.out_models[0], arguments, header)
    history = fit(together, make_objective(device), batches, **training, checkpoints=checkpoints)
    together.separate(members)
    about = describe_run(arguments, device, header, history[:: len(seeds)]) | {"trained_together": seeds}
    files = zip(arguments.out_models, arguments.out_histories, arguments.out_metrics, strict=True)
    for number, (paths, (architecture, model)) in enumerate(zip(files, built, strict=True)):
        own = [{key: value for key, value in row.items() if key != "network"} for row in history[number :: len(seeds)]]
        _save(*paths, model, architecture, own, about | {"recipe": recipe | {"seed": seeds[number]}})
    checkpoints.remove()


def checkpoints_beside(model: Path, arguments: Namespace, header: dict[str, Any]) -> Checkpoints:
    """Return the checkpoints of a training beside the file `model` that it ends in.

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


def _save(
    out_model: Path,
    out_history: Path,
    out_metrics: Path,
    model: ImageClassifier,
    architecture: dict[str, Any],
    history: list[dict[str, Any]],
    about: dict[str, Any],
) -> None:
    notes = {"recipe": about["recipe"], "data_sha256": about["data_sha256"]}
    save_model(out_model, model, architecture, notes)
    write_rows(out_history, history)
    write_json(out_metrics, about | {"last_epoch": history[-1]})


def build_network(
    recipe: dict[str, Any], data: ImageSet, header: dict[str, Any], device: torch.device
) -> tuple[dict[str, Any], ImageClassifier]:
    """Return what the network of a recipe is built with, and the network itself, drawn by the recipe's seed."""
    architecture = recipe["architecture"] | {
        "num_classes": recipe.get("dimensions") or len(data.classes),
        "mean": header["mean"],
        "std": header["std"],
    }
    torch.manual_seed(recipe["seed"])
    return architecture, models.build(**architecture).to(device)


def make_batches(data: ImageSet, batch_size: int, seed: int, augmentation: str, device: torch.device) -> Batches:
    return Batches(
        torch.from_numpy(data.images),
        torch.from_numpy(data.labels),
        batch_size=batch_size,
        seed=seed,
        augmentation=augmentation,
        device=device,
    )


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"


def describe_run(
    arguments: Namespace, device: torch.device, header: dict[str, Any], history: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what a reader of a training's result should know about how it came to be."""
    return {
        "recipe": arguments.recipe,
        "images": header["shape"][0],
        "data_sha256": header["sha256"],
        "epochs": total_epochs(arguments.recipe["training"]["schedule"]),
        "seconds": sum(row["seconds"] for row in history),  # of all epochs, also those before an interruption
        "device": device_name(device),
        "precision": precision_on(device, arguments.recipe["training"]["precision"]),
        "threads": arguments.threads,
        "torch": torch.__version__,
    }
