"""Errors of classifiers on a network's frozen embeddings, of test images as they are and under corruptions (Section 4.2).

There is no table of the latter where the recipe has no corruptions.
"""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lgg.data.storage import read_images
from lgg.devices import prepare
from lgg.evaluation.accuracy import error_percent
from lgg.evaluation.corruptions import choose_images, corrupted_images
from lgg.evaluation.embeddings import CLASSIFIERS, features, fit
from lgg.files import write_rows
from lgg.pipeline.job import run
from lgg.training.checkpoint import load_model

OWN = "own"


def main(arguments: Namespace) -> None:
    recipe, settings = arguments.recipe, arguments.recipe["corruptions"]
    device = prepare(arguments.gpus, arguments.threads)
    train, test = read_images(arguments.train), read_images(arguments.test)
    own = recipe["own_classifier"]
    network = load_model(arguments.model, device, expected={"num_classes": len(train.classes)} if own else None)

    def embedded(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return features(network, torch.from_numpy(images), unit_length=recipe["unit_length"], device=device)

    trained_on = embedded(train.images)
    classifiers: dict[str, Callable[[NDArray[np.float32]], NDArray[Any]]] = {
        name: fit(name, trained_on, train.labels, recipe["seed"], workers=arguments.threads).predict
        for name in CLASSIFIERS
    }
    if own:
        classifiers = {OWN: lambda outputs: outputs.argmax(axis=1), **classifiers}
    print(f"classifiers fitted on {len(trained_on):,} training images", flush=True)

    def rows(images: NDArray[np.uint8], labels: NDArray[np.int64], **columns: Any) -> list[dict[str, Any]]:
        shown, truth = embedded(images), torch.from_numpy(labels)
        return [
            {
                "classifier": name,
                **columns,
                "images": len(truth),
                "error": error_percent(torch.from_numpy(predict(shown)), truth),
            }
            for name, predict in classifiers.items()
        ]

    write_rows(arguments.out_evaluation, rows(test.images, test.labels, training_images=len(trained_on)))
    if settings is None:
        return
    positions = choose_images(test.labels, settings)
    corrupted: list[dict[str, Any]] = []
    for name, severity, pixels in corrupted_images(
        test, positions, settings, archive=arguments.corruptions, workers=arguments.threads
    ):
        corrupted += rows(pixels, test.labels[positions], corruption=name, severity=severity)
        print(f"{name} {severity}: done", flush=True)
    write_rows(arguments.out_corruptions, corrupted)


if __name__ == "__main__":
    run(
        main,
        inputs=("train", "test", "model"),
        optional=("corruptions",),
        outputs=("evaluation",),
        optional_outputs=("corruptions",),
    )
