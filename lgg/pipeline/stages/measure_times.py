"""What a step of training costs under each method, interleaved in one process with nothing else running (Table A1)."""

from argparse import Namespace
from functools import partial
from typing import Any

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


def main(arguments: Namespace) -> None:
    recipe = arguments.recipe
    device = prepare(arguments.gpus, arguments.threads)
    data, header = read_images(arguments.train, verify=True), read_header(arguments.train)
    trials = {row["name"]: make_trial(row, data, header, device) for row in recipe["rows"]}
    times = measure(trials, rounds=recipe["rounds"], steps=recipe["steps"])
    write_rows(arguments.out_times, times)
    precisions = {name: trial.precision for name, trial in trials.items()}
    write_json(
        arguments.out_machine,
        machine.describe()
        | {"device": name_of(device), "threads": arguments.threads, "torch": torch.__version__}
        | {"images": len(data.labels), "rounds": recipe["rounds"], "steps": recipe["steps"], "precision": precisions},
    )


def make_trial(row: dict[str, Any], data: ImageSet, header: dict[str, Any], device: torch.device) -> Trial:
    """Return the training run that a row of the recipe describes, ready to be timed."""
    own = row["recipe"]
    robust = train_robust_network.objective_of(own) if row["section"] == "robustness" else None
    _, model = build_network(own, data, header, device, robust.architecture if robust else None)
    batches, training = make_batches(own, data, own["seed"], device)
    optimizer = optimizers.build(model.parameters(), **training.pop("optimizer"))
    if robust is not None:
        objective: Objective = robust
    elif row["section"] == "embedding":
        objective = train_embedding.objective_of(own, device)
    elif row["teacher"] is None:
        objective = CrossEntropy()
    else:
        # what it knows makes no difference to the time
        _, teacher = build_network(own | {"architecture": row["teacher"]}, data, header, device)
        objective = distill_student.objective_of(own, teacher)
    after_step = None if robust is None else partial(robust.after_step, model)
    return Trial(model, objective, batches, optimizer=optimizer, **training, after_step=after_step)


if __name__ == "__main__":
    run(main, inputs=("train",), outputs=("times", "machine"))
