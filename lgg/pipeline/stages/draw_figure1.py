"""Figure 1: the eight blocks of the reference network, with shapes read off the model itself."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg import models
from lgg.data.storage import read_header
from lgg.evaluation.size import block_shapes
from lgg.models.preact_resnet import PreActResNet18
from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.geometry_figures import draw_blocks

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DrawFigure1


def main(arguments: Namespace) -> None:
    recipe: DrawFigure1 = arguments.recipe
    classes = len(read_header(arguments.train)["classes"])
    model = models.build(num_classes=classes, **recipe["architecture"])
    assert isinstance(model, PreActResNet18)  # the configuration allows no other
    save_figure(draw_blocks(block_shapes(model.eval())), arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, inputs=("train",), outputs=("pdf", "png"))
