"""Figure 1: the reference network step by step, with shapes read off the model itself."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg import models
from lgg.data.storage import read_header
from lgg.evaluation.size import step_shapes
from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.geometry_figures import draw_steps

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DrawFigure1


def main(arguments: Namespace) -> None:
    recipe: DrawFigure1 = arguments.recipe
    header = read_header(arguments.train)
    side = header["shape"][1]
    model = models.build(num_classes=len(header["classes"]), image_size=side, **recipe["architecture"])
    save_figure(draw_steps(step_shapes(model.eval(), side)), arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, inputs=("train",), outputs=("pdf", "png"))
