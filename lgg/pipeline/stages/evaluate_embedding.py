"""Errors of classifiers on frozen embeddings of test images, as they are and under the recipe's corruptions (Section 4.2)."""

from argparse import Namespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lgg.data.storage import read_images
from lgg.devices import prepare
from lgg.evaluation.classifiers import fit_all, judge
from lgg.evaluation.corruptions import choose_images, corrupted_images
from lgg.evaluation.embeddings import features, standardizer
from lgg.files import write_rows
from lgg.pipeline.job import run
from lgg.training.checkpoint import load_model

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import EvaluateEmbedding


def main(arguments: Namespace) -> None:
    recipe: EvaluateEmbedding = arguments.recipe
    settings, normalization = recipe["corruptions"], recipe["normalize_embeddings"]
    device = prepare(arguments.gpus, arguments.threads)
    train, test = read_images(arguments.train), read_images(arguments.test)
    own, workers = recipe["own_classifier"], arguments.threads
    network = load_model(arguments.model, device, expected={"num_classes": len(train.classes)} if own else None)

    def embedded(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return features(network, torch.from_numpy(images), unit_length=normalization is True, device=device)

    trained_on = embedded(train.images)
    normalized = standardizer(trained_on) if normalization == "batch" else np.asarray
    classifiers = fit_all(
        normalized(trained_on), train.labels, recipe["seed"], outputs_are_classes=own, workers=workers
    )
    print(f"classifiers fitted on {len(trained_on):,} training images", flush=True)
    rows = judge(classifiers, normalized(embedded(test.images)), test.labels, training_images=len(trained_on))
    write_rows(arguments.out_evaluation, rows)
    if settings is None:
        return
    positions = choose_images(test.labels, settings)
    corrupted: list[dict[str, Any]] = []
    for name, severity, parts in corrupted_images(
        test, positions, settings, archive=arguments.corruptions, workers=workers
    ):
        vectors = normalized(np.concatenate([embedded(images) for images in parts]))
        corrupted += judge(classifiers, vectors, test.labels[positions], corruption=name, severity=severity)
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
