"""A figure of what trainings went through, from their histories."""

from argparse import Namespace

import pandas as pd

from lgg.reporting.figures import save_figure
from lgg.reporting.training_figures import draw_training_curves
from lgg.stages.command import run


def main(arguments: Namespace) -> None:
    labels = {row["name"]: row["label"] for row in arguments.recipe["rows"]}
    parts = [
        pd.read_csv(path).assign(method=labels[path.parts[-3]], seed=int(path.parts[-2].removeprefix("seed")))
        for path in arguments.histories
    ]
    figure = draw_training_curves(pd.concat(parts), list(labels.values()))
    save_figure(figure, arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, lists=("histories",), outputs=("pdf", "png"))
