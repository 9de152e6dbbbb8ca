"""Errors of classifiers on frozen embeddings, on the test images as they are and under every corruption (Section 4.2)."""

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lgg.data.storage import read_images
from lgg.devices import prepare
from lgg.evaluation.accuracy import error_percent
from lgg.evaluation.corruptions import choose_images, corrupted_images
from lgg.evaluation.embeddings import CLASSIFIERS, features, fit
from lgg.files import write_rows
from lgg.models.base import ImageClassifier
from lgg.stages.command import run
from lgg.training.checkpoint import load_model

OWN = "own"


class _Judged:
    """A network with the classifiers that were fitted on its embeddings of the training images."""

    def __init__(
        self,
        network: ImageClassifier,
        images: Tensor,
        labels: Tensor,
        *,
        seed: int,
        own: bool,
        unit_length: bool,
        device: torch.device,
        workers: int,
    ) -> None:
        self.network, self.own = network, own
        self.options: dict[str, Any] = {"unit_length": unit_length, "device": device}
        embedded = features(network, images, **self.options)
        self.classifiers = {name: fit(name, embedded, labels.numpy(), seed, workers=workers) for name in CLASSIFIERS}

    def errors(self, images: Tensor, labels: Tensor) -> Iterator[tuple[str, float]]:
        """Yield classifier and error in percent on images (N, H, W, 3)."""
        embedded = features(self.network, images, **self.options)
        if self.own:
            yield OWN, error_percent(torch.from_numpy(embedded).argmax(dim=1), labels)
        for name, classifier in self.classifiers.items():
            yield name, error_percent(torch.from_numpy(classifier.predict(embedded)), labels)


def main(arguments: Namespace) -> None:
    recipe, settings = arguments.recipe, arguments.recipe["corruptions"]
    device = prepare(arguments.gpus, arguments.threads)
    train, test = read_images(arguments.train), read_images(arguments.test)
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    judged: dict[int, _Judged] = {}
    for seed, path in zip(recipe["seeds"], arguments.models, strict=True):
        judged[seed] = _Judged(
            load_model(
                path, device, expected={"num_classes": len(train.classes)} if recipe["own_classifier"] else None
            ),
            images,
            labels,
            seed=seed,
            own=recipe["own_classifier"],
            unit_length=recipe["unit_length"],
            device=device,
            workers=arguments.threads,
        )
        print(f"seed {seed}: classifiers fitted on {len(labels):,} training images", flush=True)

    def rows(pixels: Tensor, truth: Tensor, **columns: Any) -> list[dict[str, Any]]:
        return [
            {"seed": seed, "classifier": name, **columns, "images": len(truth), "error": error}
            for seed, one in judged.items()
            for name, error in one.errors(pixels, truth)
        ]

    clean = rows(torch.from_numpy(test.images), torch.from_numpy(test.labels), training_images=len(labels))
    positions = choose_images(test.labels, settings)
    truth = torch.from_numpy(test.labels[positions])
    corrupted: list[dict[str, Any]] = []
    for name, severity, pixels in corrupted_images(
        test, positions, settings, archive=arguments.corruptions, workers=arguments.threads
    ):
        corrupted += rows(torch.from_numpy(pixels), truth, corruption=name, severity=severity)
        print(f"{name} {severity}: done", flush=True)
    write_rows(arguments.out_evaluation, clean)
    write_rows(arguments.out_corruptions, corrupted)


if __name__ == "__main__":
    run(
        main,
        inputs=("train", "test"),
        lists=("models",),
        optional=("corruptions",),
        outputs=("evaluation", "corruptions"),
    )
