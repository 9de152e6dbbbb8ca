"""A figure of the errors, clean and under FGSM, against the weight γ of the label variation regularizer."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.robustness_figures import draw_weight_sweep, weight_sweep
from lgg.reporting.seeds import read_seeds

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DrawWeightSweep


def main(arguments: Namespace) -> None:
    recipe: DrawWeightSweep = arguments.recipe
    found = read_seeds(arguments.evaluations)
    found["weight"] = found["method"].map({row["name"]: row["weight"] for row in recipe["rows"]})
    save_figure(draw_weight_sweep(weight_sweep(found, recipe["fgsm_snr"])), arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, lists=("evaluations",), outputs=("pdf", "png"))
