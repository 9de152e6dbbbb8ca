"""A figure of one test image under every corruption at every severity."""

from argparse import Namespace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lgg.data.storage import read_images
from lgg.evaluation.corruptions import CLEAN, choose_images, corrupted_images
from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.robustness_figures import draw_corruption_examples

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DrawCorruptions


def main(arguments: Namespace) -> None:
    settings: DrawCorruptions = arguments.recipe
    data = read_images(arguments.test)
    chosen = choose_images(data.labels, settings)
    # the image with the most contrast: an even one, such as a piece of sky, shows little
    one = chosen[[data.images[chosen].std(axis=(1, 2, 3)).argmax()]]
    made: dict[str, dict[int, NDArray[np.uint8]]] = {}
    for name, severity, parts in corrupted_images(data, one, settings, archive=arguments.corruptions):
        made.setdefault(name, {})[severity] = next(parts)[0]
    (clean,) = made.pop(CLEAN).values()
    save_figure(draw_corruption_examples(made, clean), arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, inputs=("test",), optional=("corruptions",), outputs=("pdf", "png"))
