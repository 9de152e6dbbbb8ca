"""Figures of the errors under corruption: a heat map of methods by corruptions, and error against severity."""

from argparse import Namespace

import pandas as pd

from lgg.reporting.figures import save_figure
from lgg.reporting.robustness_figures import draw_corruption_heatmap, draw_error_against_severity
from lgg.stages.command import run


def main(arguments: Namespace) -> None:
    rows = arguments.recipe["rows"]
    parts = []
    for row, path in zip(rows, arguments.corruptions, strict=True):
        errors = pd.read_csv(path)
        if "classifier" in errors:
            errors = errors[errors["classifier"] == row["classifier"]]
        parts.append(errors.assign(method=row["label"]))
    errors = pd.concat(parts)
    labels = [row["label"] for row in rows]
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
