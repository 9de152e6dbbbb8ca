"""A figure of the errors, clean and under FGSM, against the weight γ of the label variation regulariser."""

from argparse import Namespace

import pandas as pd

from lgg.reporting.figures import save_figure
from lgg.reporting.robustness_figures import draw_weight_sweep
from lgg.stages.command import run


def main(arguments: Namespace) -> None:
    recipe = arguments.recipe
    paths = {0.0: arguments.baseline}
    paths |= {row["weight"]: path for row, path in zip(recipe["rows"], arguments.evaluations, strict=True)}
    parts = []
    for weight, path in paths.items():
        evaluation = pd.read_csv(path)
        attacked = evaluation[(evaluation["test"] == "fgsm_normalized") & (evaluation["level"] == recipe["fgsm_snr"])]
        by_seed = pd.DataFrame(
            {
                "clean_error": evaluation[evaluation["test"] == "clean"].set_index("seed")["value"],
                "fgsm_error": attacked.set_index("seed")["value"],
            }
        )
        parts.append(by_seed.reset_index().assign(weight=weight))
    save_figure(draw_weight_sweep(pd.concat(parts)), arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, inputs=("baseline",), lists=("evaluations",), outputs=("pdf", "png"))
