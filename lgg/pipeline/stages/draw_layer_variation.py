"""A figure of the label variation of every layer during training, with and without the regularizer."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.seeds import read_seeds
from lgg.reporting.training_figures import draw_layer_variation

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DrawLayerVariation


def main(arguments: Namespace) -> None:
    recipe: DrawLayerVariation = arguments.recipe
    labels = {row["name"]: row["label"] for row in recipe["rows"]}
    found = read_seeds(arguments.variations)
    found["method"] = found["method"].map(labels)
    figure = draw_layer_variation(found, list(labels.values()))
    save_figure(figure, arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, lists=("variations",), outputs=("pdf", "png"))
