"""Train a network on the labels alone: a teacher, a baseline student, the reference network of Figure 2."""

from argparse import Namespace

from lgg.pipeline.job import run
from lgg.pipeline.stages.networks import train_and_save
from lgg.training.objectives import CrossEntropy


def main(arguments: Namespace) -> None:
    train_and_save(arguments, lambda _: CrossEntropy())


if __name__ == "__main__":
    run(main, inputs=("train",), outputs=("model", "history", "metrics"))
