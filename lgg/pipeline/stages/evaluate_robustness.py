"""A network under attacks, noise, dropout and coarse weights (Section 4.3): one row for each test and level."""

from argparse import Namespace
from typing import TYPE_CHECKING

from lgg.data.storage import read_images
from lgg.devices import prepare
from lgg.evaluation.robustness_tests import prepare_case, run_tests
from lgg.files import write_rows
from lgg.pipeline.job import run
from lgg.training.checkpoint import load_model

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import EvaluateRobustness


def main(arguments: Namespace) -> None:
    recipe: EvaluateRobustness = arguments.recipe
    device = prepare(arguments.gpus, arguments.threads)
    data = read_images(arguments.test)
    expected = {"num_classes": len(data.classes)}
    network = load_model(arguments.model, device, expected=expected)
    source = load_model(arguments.source, device, expected=expected)
    rows = run_tests(prepare_case(network, source, data, recipe["tests"], device))
    write_rows(arguments.out_evaluation, rows)
    print(f"{len(rows)} tests done", flush=True)


if __name__ == "__main__":
    run(main, inputs=("test", "model", "source"), outputs=("evaluation",))
