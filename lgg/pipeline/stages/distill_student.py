"""Train a student with a teacher (Section 4.1)."""

from argparse import Namespace
from functools import cache, partial
from typing import TYPE_CHECKING

import torch

from lgg import losses
from lgg.data.storage import read_header
from lgg.models.base import ImageClassifier
from lgg.pipeline.job import run
from lgg.pipeline.stages.networks import train_and_save
from lgg.training.checkpoint import load_model
from lgg.training.objectives import Distillation

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DistillationLoss, DistillStudent


def objective_of(recipe: "DistillationLoss", teacher: ImageClassifier, label_smoothing: float = 0.0) -> Distillation:
    """Return the objective of a recipe's loss for students of `teacher`."""
    weight = recipe["weight"]
    if recipe["loss"] == "hinton":
        weight *= recipe["options"]["temperature"] ** 2
    criterion = losses.build(recipe["loss"], **recipe["options"])
    return Distillation(teacher, criterion, weight, recipe["layers"], label_smoothing)


def load_teacher(arguments: Namespace, device: torch.device) -> ImageClassifier:
    """Return the teacher in ``arguments.teacher``, which knows the classes of the training images."""
    classes = len(read_header(arguments.train)["classes"])
    # what is drawn for a student does not depend on whether it is the first one, for which the teacher is loaded
    with torch.random.fork_rng(devices=()):
        return load_model(arguments.teacher, device, expected={"num_classes": classes})


def main(arguments: Namespace) -> None:
    recipe: DistillStudent = arguments.recipe
    teacher = cache(partial(load_teacher, arguments))  # one for all students
    smoothing = recipe["training"]["label_smoothing"]
    train_and_save(
        arguments, recipe, lambda device: objective_of(recipe, teacher(device), smoothing), teacher=arguments.teacher
    )


if __name__ == "__main__":
    run(main, inputs=("train", "teacher"), output_lists=("model", "history", "metrics"))
