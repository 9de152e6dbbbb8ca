"""Figure 2: latent geometry graphs of twenty training images at three depths, and the distribution over many draws."""

from argparse import Namespace

from lgg.files import read_json
from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.geometry_figures import draw_graphs, draw_label_variation


def main(arguments: Namespace) -> None:
    geometry = read_json(arguments.geometry)
    save_figure(draw_graphs(geometry["shown"]), arguments.out_pdf, arguments.out_png)
    save_figure(draw_label_variation(geometry["label_variation"]), arguments.out_draws_pdf, arguments.out_draws_png)


if __name__ == "__main__":
    run(main, inputs=("geometry",), outputs=("pdf", "png", "draws_pdf", "draws_png"))
