"""A figure of losses and errors while embeddings are trained, with the reference levels of label variation."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg.data.storage import read_header
from lgg.evaluation.reference_levels import reference_levels
from lgg.losses.label_variation import LabelVariation
from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.seeds import read_seeds
from lgg.reporting.training_figures import draw_training_curves

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DrawEmbeddingTraining


def main(arguments: Namespace) -> None:
    recipe: DrawEmbeddingTraining = arguments.recipe
    labels = {row["name"]: row["label"] for row in recipe["rows"]}
    classes = len(read_header(arguments.train)["classes"])
    levels = {
        row["label"]: reference_levels(
            LabelVariation(**row["options"]),
            classes=classes,
            dimensions=recipe["dimensions"] or classes,
            batch_size=recipe["batch_size"],
        )
        for row in recipe["rows"]
        if row["options"] is not None
    }
    found = read_seeds(arguments.histories)
    found["method"] = found["method"].map(labels)
    figure = draw_training_curves(found, list(labels.values()), levels=levels)
    save_figure(figure, arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, inputs=("train",), lists=("histories",), outputs=("pdf", "png"))
