"""A figure of accuracy under FGSM against its signal-to-noise ratio, in both forms of the attack."""

import math
from argparse import Namespace

import pandas as pd

from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.robustness_figures import draw_accuracy_against_snr
from lgg.reporting.seeds import read_seeds


def main(arguments: Namespace) -> None:
    labels = {row["name"]: row["label"] for row in arguments.recipe["rows"]}
    evaluation = read_seeds(arguments.evaluations)
    evaluation["method"] = evaluation["method"].map(labels)
    parts = []
    for form in ("pixels", "normalized"):
        curve = evaluation[evaluation["test"].isin(["clean_attacked_images", f"fgsm_{form}"])]
        values = {"form": form, "snr": curve["level"].fillna(math.inf), "accuracy": 100.0 - curve["value"]}
        parts.append(curve[["method", "seed"]].assign(**values))
    figure = draw_accuracy_against_snr(pd.concat(parts), list(labels.values()), arguments.recipe["fgsm_snr"])
    save_figure(figure, arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, lists=("evaluations",), outputs=("pdf", "png"))
