"""Table 1 from the evaluations of teacher and students, and a figure of it."""

from argparse import Namespace
from typing import TYPE_CHECKING

import pandas as pd

from lgg.data.storage import read_header
from lgg.pipeline.job import run
from lgg.reporting.distillation_figure import draw_agreement
from lgg.reporting.distillation_table import table1, write_table1
from lgg.reporting.figures import save_figure
from lgg.reporting.notes import data_notes, training_note
from lgg.reporting.seeds import read_methods
from lgg.reporting.tables import FORMS, files_of

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import AssembleTable1


def main(arguments: Namespace) -> None:
    recipe: AssembleTable1 = arguments.recipe
    evaluations = read_methods(arguments.evaluations)
    teacher = recipe["teacher"]
    if teacher is not None:
        evaluations[teacher] = pd.read_csv(arguments.teacher)
    table = table1(recipe["rows"], evaluations, recipe["baseline"], teacher)
    train, test = read_header(arguments.train), read_header(arguments.test)
    notes = [training_note(recipe["trained"], train["shape"][0]), *data_notes([train["notes"], test["notes"]])]
    write_table1(table, notes, files_of(arguments))
    save_figure(draw_agreement(recipe["rows"], evaluations, teacher), arguments.out_pdf, arguments.out_png)


if __name__ == "__main__":
    run(main, inputs=("train", "test"), lists=("evaluations",), optional=("teacher",), outputs=(*FORMS, "pdf", "png"))
