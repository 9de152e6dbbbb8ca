"""Table A1 from the times of training under each method, and a figure of it."""

from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from lgg.data.storage import read_header
from lgg.files import read_json
from lgg.pipeline.job import run
from lgg.reporting.figures import save_figure
from lgg.reporting.tables import FORMS, files_of
from lgg.reporting.time_table import time_table, write_time_table
from lgg.reporting.times_figure import draw_times

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import AssembleTableA1, TimesRow


def main(arguments: Namespace) -> None:
    recipe: AssembleTableA1 = arguments.recipe
    machine = read_json(arguments.machine)
    images = read_header(arguments.train)["shape"][0]
    table = time_table(recipe["rows"], pd.read_csv(arguments.times), images)
    notes = [
        f"Measured on {machine['device']}, {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads "
        f"of PyTorch {machine['torch']} on {machine['system']}; {machine['rounds']} rounds of {machine['steps']} steps.",
        f"{images:,} training images. Precision: " + _precisions(recipe["rows"], machine["precision"]),
        *_replays(recipe["rows"], machine.get("captured", [])),
    ]
    if adversarial := recipe["adversarial"]:
        notes.append(
            f"Adversarial training here: {adversarial['steps']} steps of PGD, so {adversarial['steps'] + 1} forward and "
            "backward passes."
        )
    write_time_table(table, notes, files_of(arguments))
    save_figure(draw_times(table), arguments.out_pdf, arguments.out_png)


def _precisions(rows: Sequence["TimesRow"], found: dict[str, str]) -> str:
    """Return each precision with the methods that were timed in it."""
    labels: dict[str, list[str]] = {}
    for row in rows:
        labels.setdefault(found[row["name"]], []).append(row["label"])
    if len(labels) == 1:
        return f"{next(iter(labels))} (all)."
    return "; ".join(f"{precision} ({', '.join(own)})" for precision, own in labels.items()) + "."


def _replays(rows: Sequence["TimesRow"], captured: Sequence[str]) -> list[str]:
    """Return a note on the methods whose steps were replayed as CUDA graphs, if there are any."""
    labels = [row["label"] for row in rows if row["name"] in captured]
    which = "all methods" if len(labels) == len(rows) else ", ".join(labels)
    return [f"Steps were replayed as CUDA graphs (resources.captured_steps): {which}."] if labels else []


if __name__ == "__main__":
    run(main, inputs=("train", "times", "machine"), outputs=(*FORMS, "pdf", "png"))
