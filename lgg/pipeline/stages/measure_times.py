"""What a step of training costs under each method, interleaved in one process with nothing else running (Table A1)."""

from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from lgg.data.storage import ImageSet, read_header, read_images
from lgg.devices import name_of, prepare
from lgg.files import write_json, write_rows
from lgg.pipeline import machine
from lgg.pipeline.job import run
from lgg.pipeline.stages import distill_student, train_embedding, train_robust_network
from lgg.training import optimizers
from lgg.training.objectives import CrossEntropy, Objective
from lgg.training.setup import build_network, make_batches
from lgg.training.timing import Trial, measure

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import MeasureTimes, TimedRow

SEED = 0  # which makes no difference to the time


def main(arguments: Namespace) -> None:
    recipe: MeasureTimes = arguments.recipe
    device = prepare(arguments.gpus, arguments.threads)
    data, header = read_images(arguments.train, verify=True), read_header(arguments.train)
    trials = {row["name"]: make_trial(row, data, header, device, arguments.captured) for row in recipe["rows"]}
    times = measure(trials, rounds=recipe["rounds"], steps=recipe["steps"])
    write_rows(arguments.out_times, times)
    precisions = {name: trial.precision for name, trial in trials.items()}
    replayed = [name for name, trial in trials.items() if trial.step.is_captured]
    write_json(
        arguments.out_machine,
        machine.describe()
        | {"device": name_of(device), "threads": arguments.threads, "torch": torch.__version__}
        | {
            "images": len(data.labels),
            "rounds": recipe["rounds"],
            "steps": recipe["steps"],
            "precision": precisions,
            "captured": replayed,
        },
    )


def make_trial(
    row: "TimedRow", data: ImageSet, header: Mapping[str, Any], device: torch.device, captured: bool = False
) -> Trial:
    """Return the training run that a row of the recipe describes, ready to be timed, its steps `captured` or not."""
    training, architecture = row["recipe"]["training"], row["recipe"]["architecture"]
    smoothing = training["label_smoothing"]
    network = partial(build_network, data=data, header=header, seed=SEED, device=device)
    outputs: int | None = None
    robust = None
    if row["section"] == "robustness":
        objective: Objective = (robust := train_robust_network.objective_of(row["recipe"], smoothing))
        architecture = architecture | robust.architecture
    elif row["section"] == "embedding":
        objective, outputs = (
            train_embedding.objective_of(row["recipe"], device, smoothing),
            row["recipe"].get("dimensions"),
        )
    elif row["teacher"] is None:
        objective = CrossEntropy(smoothing)
    else:
        # what it knows makes no difference to the time
        _, teacher = network(row["teacher"])
        objective = distill_student.objective_of(row["recipe"], teacher, smoothing)
    _, model = network(architecture, outputs=outputs)
    size, augmentation = training["batch_size"], training["augmentation"]
    return Trial(
        model,
        objective,
        make_batches(data, batch_size=size, seed=SEED, augmentation=augmentation, device=device),
        optimizer=optimizers.build(model.parameters(), **training["optimizer"]),
        precision=training["precision"],
        gradient_clipping=training["gradient_clipping"],
        after_step=None if robust is None else partial(robust.after_step, model),
        captured=captured,
    )


if __name__ == "__main__":
    run(main, inputs=("train",), outputs=("times", "machine"))
