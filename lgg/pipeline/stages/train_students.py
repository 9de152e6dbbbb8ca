"""Train students of one method from several seeds at once in one process, with or without a teacher (Section 4.1)."""

from argparse import Namespace
from typing import TYPE_CHECKING

import torch

from lgg.pipeline.job import run
from lgg.pipeline.stages.distill_student import load_objective
from lgg.pipeline.stages.networks import train_together_and_save
from lgg.training.objectives import Objective
from lgg.training.together import CrossEntropyTogether, DistillationTogether

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import TrainStudents


def main(arguments: Namespace) -> None:
    recipe: TrainStudents = arguments.recipe

    def objective(device: torch.device) -> Objective:
        if arguments.teacher is None:
            return CrossEntropyTogether()
        return DistillationTogether(load_objective(arguments, device))

    train_together_and_save(arguments, recipe, objective, teacher=arguments.teacher)


if __name__ == "__main__":
    run(main, inputs=("train",), optional=("teacher",), output_lists=("models", "histories", "metrics"))
