"""What the stages that train or run networks share."""

import platform
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import torch

from lgg import models
from lgg.data.batches import Batches
from lgg.data.storage import ImageSet, read_header, read_images
from lgg.devices import prepare
from lgg.files import atomic_path, write_json
from lgg.models.base import ImageClassifier
from lgg.training.checkpoint import save_model
from lgg.training.fit import fit
from lgg.training.objectives import Objective
from lgg.training.schedule import total_epochs


def train_and_save(
    arguments: Namespace,
    make_objective: Callable[[torch.device], Objective],
    *,
    after_step: Callable[[ImageClassifier], None] | None = None,
    after_epoch: Callable[[ImageClassifier, ImageSet, torch.device, int], None] | None = None,
) -> None:
    """Train the network of ``arguments.recipe`` on ``arguments.train`` and write model, history and metrics.

    Weights and batches follow from the recipe's seed alone, so networks of one seed start alike and see the same
    batches whatever their method. The network has an output for each class, or ``recipe["dimensions"]`` where given.

    Args:
        make_objective: called with the device.
        after_step: called with the network after each step of the optimiser.
        after_epoch: called with the network, the training images, the device, and the number of epochs trained, from 0.
    """
    recipe, training = arguments.recipe, dict(arguments.recipe["training"])
    device = prepare(arguments.gpus, arguments.threads)
    data, header = read_images(arguments.train, verify=True), read_header(arguments.train)
    batches = make_batches(data, training.pop("batch_size"), recipe["seed"], training.pop("augmentation"), device)
    architecture, model = build_network(recipe, data, header, device)
    began = time.perf_counter()
    history = fit(
        model,
        make_objective(device),
        batches,
        **training,
        after_step=after_step and partial(after_step, model),
        after_epoch=after_epoch and partial(after_epoch, model, data, device),
    )
    seconds = time.perf_counter() - began
    save_model(arguments.out_model, model, architecture, {"recipe": recipe, "data_sha256": header["sha256"]})
    with atomic_path(arguments.out_history) as temporary:
        pd.DataFrame(history).to_csv(temporary, index=False)
    write_json(arguments.out_metrics, describe_run(arguments, device, header, seconds) | {"last_epoch": history[-1]})


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


def describe_run(arguments: Namespace, device: torch.device, header: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return what a reader of a training's result should know about how it came to be."""
    return {
        "recipe": arguments.recipe,
        "images": header["shape"][0],
        "data_sha256": header["sha256"],
        "epochs": total_epochs(arguments.recipe["training"]["schedule"]),
        "seconds": seconds,
        "device": device_name(device),
        "threads": arguments.threads,
        "torch": torch.__version__,
    }
