"""The graph of Figure 2's images at every depth of the reference network, as a figure and as an animation."""

from argparse import Namespace

from lgg.files import read_json
from lgg.pipeline.job import run
from lgg.reporting.depth_figures import animate_depths, draw_depths, moments
from lgg.reporting.figures import save_animation, save_figure


def main(arguments: Namespace) -> None:
    shown = read_json(arguments.geometry)["shown"]
    save_figure(draw_depths(shown), arguments.out_pdf, arguments.out_png)
    save_animation(*animate_depths(shown), moments(len(shown["depths"])), arguments.out_gif)


if __name__ == "__main__":
    run(main, inputs=("geometry",), outputs=("pdf", "png", "gif"))
