"""A figure of the errors, clean and under FGSM, against the weight γ of the label variation regulariser."""

from argparse import Namespace

import pandas as pd

from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.robustness_figures import draw_weight_sweep
from lgg.reporting.seeds import read_seeds


def main(arguments: Namespace) -> None:
    recipe = arguments.recipe
    found = read_seeds(arguments.evaluations)
    found["weight"] = found["method"].map({row["name"]: row["weight"] for row in recipe["rows"]})
    shown = {
        "clean_error": found["test"] == "clean",
        "fgsm_error": (found["test"] == "fgsm_normalized") & (found["level"] == recipe["fgsm_snr"]),
    }
    errors = {name: found[rows].set_index(["weight", "seed"])["value"] for name, rows in shown.items()}
    save_figure(draw_weight_sweep(pd.DataFrame(errors).reset_index()), arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, lists=("evaluations",), outputs=("pdf", "png"))
