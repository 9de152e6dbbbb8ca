"""Table 3, its supplement, or the second robustness table, from the errors of networks under attacks and corruptions."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg.data.storage import read_header
from lgg.pipeline.job import run
from lgg.reporting.notes import data_notes, training_note
from lgg.reporting.robustness_table import describe_defences, robustness_table, write_robustness_table
from lgg.reporting.seeds import read_methods
from lgg.reporting.tables import FORMS, files_of

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import AssembleTable3


def main(arguments: Namespace) -> None:
    recipe: AssembleTable3 = arguments.recipe
    evaluations, corruptions = read_methods(arguments.evaluations), read_methods(arguments.corruptions)
    train, test = read_header(arguments.train), read_header(arguments.test)
    side = test["shape"][1]
    found = robustness_table(
        recipe["table"], recipe["rows"], evaluations, corruptions, recipe["baseline"], recipe["tests"], side
    )
    trained = [training_note(recipe["trained"], train["shape"][0]), *map(describe_defences, recipe["rows"])]
    notes = data_notes([train["notes"], test["notes"]])
    write_robustness_table(recipe["table"], found, " ".join(filter(None, trained)), notes, files_of(arguments))


if __name__ == "__main__":
    run(main, inputs=("train", "test"), lists=("evaluations",), optional_lists=("corruptions",), outputs=FORMS)
