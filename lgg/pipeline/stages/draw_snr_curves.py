"""A figure of accuracy under FGSM against its signal-to-noise ratio, in both forms of the attack."""

from argparse import Namespace

from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.robustness_figures import draw_accuracy_against_snr, snr_curves
from lgg.reporting.seeds import read_seeds


def main(arguments: Namespace) -> None:
    labels = {row["name"]: row["label"] for row in arguments.recipe["rows"]}
    evaluation = read_seeds(arguments.evaluations)
    evaluation["method"] = evaluation["method"].map(labels)
    figure = draw_accuracy_against_snr(snr_curves(evaluation), list(labels.values()), arguments.recipe["fgsm_snr"])
    save_figure(figure, arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, lists=("evaluations",), outputs=("pdf", "png"))
