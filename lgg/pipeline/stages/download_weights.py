"""The weights that a library publishes for one of its networks, downloaded once."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg.models.pretrained import fetch
from lgg.pipeline.job import run

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DownloadWeights


def main(arguments: Namespace) -> None:
    recipe: DownloadWeights = arguments.recipe
    fetch(recipe["name"], recipe["model"], arguments.out_weights)


if __name__ == "__main__":
    run(main, outputs=("weights",))
