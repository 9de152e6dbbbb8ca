"""A figure of accuracy under FGSM against its signal-to-noise ratio, in both forms of the attack."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.robustness_figures import draw_accuracy_against_snr, snr_curves
from lgg.reporting.seeds import read_seeds

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DrawSnrCurves


def main(arguments: Namespace) -> None:
    recipe: DrawSnrCurves = arguments.recipe
    labels = {row["name"]: row["label"] for row in recipe["rows"]}
    evaluation = read_seeds(arguments.evaluations)
    evaluation["method"] = evaluation["method"].map(labels)
    figure = draw_accuracy_against_snr(snr_curves(evaluation), list(labels.values()), recipe["fgsm_snr"])
    save_figure(figure, arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, lists=("evaluations",), outputs=("pdf", "png"))
