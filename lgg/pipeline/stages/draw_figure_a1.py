"""Figure A1: embeddings of the training images in the plane at initialisation, during training and at its end."""

from argparse import Namespace
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load

from lgg.data.storage import read_images
from lgg.pipeline.job import run
from lgg.reporting.embedding_figures import draw_embeddings
from lgg.reporting.figures import save_figure

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DrawFigureA1


def main(arguments: Namespace) -> None:
    recipe: DrawFigureA1 = arguments.recipe
    data = read_images(arguments.train)
    rows = {}
    for row, path in zip(recipe["rows"], arguments.positions, strict=True):
        positions = load(path.read_bytes())
        rows[row["label"]] = {epoch: np.asarray(positions[f"epoch{epoch}"]) for epoch in recipe["epochs"]}
    directional = {row["label"] for row in recipe["rows"] if row["directional"]}
    figure = draw_embeddings(rows, data.labels, data.classes, directional=directional)
    save_figure(figure, arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, inputs=("train",), lists=("positions",), outputs=("pdf", "png"))
