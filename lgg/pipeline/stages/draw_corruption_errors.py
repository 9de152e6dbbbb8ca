"""Figures of the errors under corruption: a heat map of methods by corruptions, and error against severity."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.robustness_figures import draw_corruption_heatmap, draw_error_against_severity
from lgg.reporting.seeds import read_seeds

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import DrawCorruptionErrors


def main(arguments: Namespace) -> None:
    recipe: DrawCorruptionErrors = arguments.recipe
    rows = {row["name"]: row for row in recipe["rows"]}
    errors = read_seeds(arguments.corruptions)
    if "classifier" in errors:
        errors = errors[errors["classifier"] == errors["method"].map(lambda name: rows[name]["classifier"])]
    errors["method"] = errors["method"].map(lambda name: rows[name]["label"])
    labels = [row["label"] for row in rows.values()]
    corruptions = list(dict.fromkeys(errors["corruption"]))
    by_corruption = errors.groupby(["method", "corruption"])["error"].mean().unstack().loc[labels, corruptions]
    by_severity = errors.groupby(["method", "seed", "severity"], sort=False)["error"].mean().reset_index()
    save_figure(
        draw_corruption_heatmap(by_corruption.rename(columns={"none": "clean"})),
        arguments.out_heatmap_pdf,
        arguments.out_heatmap_png,
    )
    save_figure(
        draw_error_against_severity(by_severity, labels), arguments.out_severity_pdf, arguments.out_severity_png
    )


if __name__ == "__main__":
    run(main, lists=("corruptions",), outputs=("heatmap_pdf", "heatmap_png", "severity_pdf", "severity_png"))
