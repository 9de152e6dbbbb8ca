"""A figure of losses and errors during training, from the histories."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.seeds import read_seeds
from lgg.reporting.training_figures import draw_training_curves

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DrawTrainingCurves


def main(arguments: Namespace) -> None:
    recipe: DrawTrainingCurves = arguments.recipe
    labels = {row["name"]: row["label"] for row in recipe["rows"]}
    found = read_seeds(arguments.histories)
    found["method"] = found["method"].map(labels)
    figure = draw_training_curves(found, list(labels.values()))
    save_figure(figure, arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, lists=("histories",), outputs=("pdf", "png"))
