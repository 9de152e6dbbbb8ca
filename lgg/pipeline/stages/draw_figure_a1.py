"""Figure A1: embeddings of the training images in the plane at initialisation, during training and at its end."""

from argparse import Namespace
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load

from lgg.data.storage import read_images
from lgg.evaluation.classifiers import fit, judge
from lgg.files import write_rows
from lgg.pipeline.job import run
from lgg.reporting.embedding_figures import draw_embeddings
from lgg.reporting.figures import save_figure

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DrawFigureA1

CLASSIFIER = "nearest_neighbours"


def main(arguments: Namespace) -> None:
    recipe: DrawFigureA1 = arguments.recipe
    train, test = read_images(arguments.train), read_images(arguments.test)
    rows, errors = {}, []
    for row, path in zip(recipe["rows"], arguments.positions, strict=True):
        positions = load(path.read_bytes())
        rows[row["label"]] = {epoch: np.asarray(positions[f"epoch{epoch}"]) for epoch in recipe["epochs"]}
        for epoch, trained_on in rows[row["label"]].items():
            # the seed has no effect on nearest neighbours
            classifier = fit(CLASSIFIER, trained_on, train.labels, seed=0, workers=arguments.threads)
            errors += judge(
                {CLASSIFIER: classifier.predict},
                positions[f"test_epoch{epoch}"],
                test.labels,
                method=row["name"],
                label=row["label"],
                epoch=epoch,
            )
    write_rows(arguments.out_errors, errors)
    shown = {label: {row["epoch"]: row["error"] for row in errors if row["label"] == label} for label in rows}
    directional = {row["label"] for row in recipe["rows"] if row["directional"]}
    figure = draw_embeddings(rows, train.labels, train.classes, directional=directional, errors=shown)
    save_figure(figure, arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, inputs=("train", "test"), lists=("positions",), outputs=("errors", "pdf", "png"))
