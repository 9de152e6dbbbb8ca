"""A figure of the label variation of every layer while networks learn, with and without the regulariser."""

from argparse import Namespace

import pandas as pd

from lgg.reporting.figures import save_figure
from lgg.reporting.training_figures import draw_layer_variation
from lgg.stages.command import run


def main(arguments: Namespace) -> None:
    labels = {row["name"]: row["label"] for row in arguments.recipe["rows"]}
    parts = [
        pd.read_csv(path).assign(method=labels[path.parts[-3]], seed=int(path.parts[-2].removeprefix("seed")))
        for path in arguments.variations
    ]
    figure = draw_layer_variation(pd.concat(parts), list(labels.values()))
    save_figure(figure, arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, lists=("variations",), outputs=("pdf", "png"))
