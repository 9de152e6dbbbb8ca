"""Train a student with a teacher (Section 4.1)."""

from argparse import Namespace

import torch

from lgg import losses
from lgg.data.storage import read_header
from lgg.stages.command import run
from lgg.stages.networks import train_and_save
from lgg.training.checkpoint import load_model
from lgg.training.objectives import Distillation


def main(arguments: Namespace) -> None:
    recipe = arguments.recipe
    # Hinton's factor T²; no other loss has a temperature
    weight = recipe["weight"] * recipe["options"].get("temperature", 1.0) ** 2

    def objective(device: torch.device) -> Distillation:
        classes = len(read_header(arguments.train)["classes"])
        teacher = load_model(arguments.teacher, device, expected={"num_classes": classes})
        return Distillation(teacher, losses.build(recipe["loss"], **recipe["options"]), weight, recipe["layers"])

    train_and_save(arguments, objective)


if __name__ == "__main__":
    run(main, inputs=("train", "teacher"), outputs=("model", "history", "metrics"))
