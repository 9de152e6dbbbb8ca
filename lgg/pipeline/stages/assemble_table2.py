"""Table 2 from the errors of embeddings, and its supplement with every classifier."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg.data.storage import read_header
from lgg.pipeline.job import run
from lgg.reporting.embedding_table import embedding_table, write_embedding_table
from lgg.reporting.notes import data_notes, training_note
from lgg.reporting.seeds import read_methods
from lgg.reporting.tables import FORMS, files_of

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import AssembleTable2

TABLES = {"table2": "", "table2_supplement": "supplement_"}  # and how their arguments begin


def main(arguments: Namespace) -> None:
    recipe: AssembleTable2 = arguments.recipe
    evaluations, corruptions = read_methods(arguments.evaluations), read_methods(arguments.corruptions)
    train, test = read_header(arguments.train), read_header(arguments.test)
    trained = training_note(recipe["trained"], train["shape"][0])
    notes, side = data_notes([train["notes"], test["notes"]]), test["shape"][1]
    for table, prefix in TABLES.items():
        found = embedding_table(table, recipe["rows"], evaluations, corruptions, recipe["baseline"], side)
        write_embedding_table(table, found, trained, notes, files_of(arguments, prefix))


if __name__ == "__main__":
    run(
        main,
        inputs=("train", "test"),
        lists=("evaluations",),
        optional_lists=("corruptions",),
        outputs=[f"{prefix}{form}" for prefix in TABLES.values() for form in FORMS],
    )
