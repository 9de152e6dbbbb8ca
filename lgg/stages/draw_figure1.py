"""Figure 1: the eight blocks of the reference network."""

from argparse import Namespace

from lgg.reporting.figures import draw_blocks, save_figure
from lgg.stages.command import run


def main(arguments: Namespace) -> None:
    save_figure(draw_blocks(arguments.recipe["architecture"]), arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, outputs=("pdf", "png"))
