"""What a step of training costs under each method, measured by turns in one process with nothing else beside (Table A1)."""

from argparse import Namespace
from functools import partial
from typing import Any

import torch

from lgg.data.storage import ImageSet, read_header, read_images
from lgg.devices import prepare
from lgg.files import write_json, write_rows
from lgg.pipeline import machine
from lgg.pipeline.job import run
from lgg.pipeline.stages import distill_student, train_embedding, train_robust_network
from lgg.pipeline.stages.networks import build_network, device_name, make_batches
from lgg.training.objectives import CrossEntropy, Objective
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
        | {"device": device_name(device), "threads": arguments.threads, "torch": torch.__version__}
        | {"images": len(data.labels), "rounds": recipe["rounds"], "steps": recipe["steps"], "precision": precisions},
    )


def make_trial(row: dict[str, Any], data: ImageSet, header: dict[str, Any], device: torch.device) -> Trial:
    """Return the training that a row of the recipe describes, ready to be timed."""
    own, training = row["recipe"], dict(row["recipe"]["training"])
    _, model = build_network(own, data, header, device)
    batches = make_batches(data, training.pop("batch_size"), own["seed"], training.pop("augmentation"), device)
    after_step = None
    if row["section"] == "robustness":
        objective: Objective = train_robust_network.objective_of(own, device)
        if retract := train_robust_network.retraction_of(own):
            after_step = partial(retract, model)
    elif row["section"] == "embedding":
        objective = train_embedding.objective_of(own, device)
    elif row["teacher"] is None:
        objective = CrossEntropy()
    else:
        # what it knows makes no difference to the time
        _, teacher = build_network(own | {"architecture": row["teacher"]}, data, header, device)
        objective = distill_student.objective_of(own, teacher)
    return Trial(model, objective, batches, **training, after_step=after_step)


if __name__ == "__main__":
    run(main, inputs=("train",), outputs=("times", "machine"))
