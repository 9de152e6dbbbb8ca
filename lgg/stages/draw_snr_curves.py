"""A figure of accuracy under FGSM against its signal-to-noise ratio, in both forms of the attack."""

import math
from argparse import Namespace

import pandas as pd

from lgg.reporting.figures import save_figure
from lgg.reporting.robustness_figures import draw_accuracy_against_snr
from lgg.stages.command import run


def main(arguments: Namespace) -> None:
    rows = arguments.recipe["rows"]
    parts = []
    for row, path in zip(rows, arguments.evaluations, strict=True):
        evaluation = pd.read_csv(path)
        for form in ("pixels", "normalized"):
            curve = evaluation[evaluation["test"].isin(["clean_attacked_images", f"fgsm_{form}"])]
            parts.append(
                pd.DataFrame(
                    {
                        "method": row["label"],
                        "form": form,
                        "snr": curve["level"].fillna(math.inf),
                        "seed": curve["seed"],
                        "accuracy": 100.0 - curve["value"],
                    }
                )
            )
    labels = [row["label"] for row in rows]
    figure = draw_accuracy_against_snr(pd.concat(parts), labels, arguments.recipe["fgsm_snr"])
    save_figure(figure, arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, lists=("evaluations",), outputs=("pdf", "png"))
