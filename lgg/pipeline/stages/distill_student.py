"""Train a student with a teacher (Section 4.1)."""

from argparse import Namespace
from functools import partial
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
    from lgg.pipeline.recipe_types import DistillationLoss, DistilledStudents, DistillStudent


def objective_of(recipe: "DistillationLoss", teacher: ImageClassifier) -> Distillation:
    """Return the objective of a recipe's loss for students of `teacher`."""
    weight = recipe["weight"]
    if recipe["loss"] == "hinton":
        weight *= recipe["options"]["temperature"] ** 2
    return Distillation(teacher, losses.build(recipe["loss"], **recipe["options"]), weight, recipe["layers"])


def load_objective(arguments: Namespace, device: torch.device) -> Distillation:
    """Return the objective of ``arguments.recipe`` with the teacher in ``arguments.teacher``."""
    classes = len(read_header(arguments.train)["classes"])
    teacher = load_model(arguments.teacher, device, expected={"num_classes": classes})
    recipe: DistillStudent | DistilledStudents = arguments.recipe
    return objective_of(recipe, teacher)


def main(arguments: Namespace) -> None:
    recipe: DistillStudent = arguments.recipe
    train_and_save(arguments, recipe, partial(load_objective, arguments), teacher=arguments.teacher)


if __name__ == "__main__":
    run(main, inputs=("train", "teacher"), outputs=("model", "history", "metrics"))
