"""Error of a network under every corruption and severity, one row for each."""

from argparse import Namespace
from typing import TYPE_CHECKING

import torch

from lgg.data.storage import read_images
from lgg.devices import prepare
from lgg.evaluation.accuracy import error_percent, predict
from lgg.evaluation.corruptions import choose_images, corrupted_images
from lgg.files import write_rows
from lgg.pipeline.job import run
from lgg.training.checkpoint import load_model

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import EvaluateCorruptions


def main(arguments: Namespace) -> None:
    recipe: EvaluateCorruptions = arguments.recipe
    settings = recipe["corruptions"]
    device = prepare(arguments.gpus, arguments.threads)
    data = read_images(arguments.test)
    positions = choose_images(data.labels, settings)
    labels = torch.from_numpy(data.labels[positions])
    network = load_model(arguments.model, device, expected={"num_classes": len(data.classes)})
    rows = []
    for name, severity, parts in corrupted_images(
        data, positions, settings, archive=arguments.corruptions, workers=arguments.threads
    ):
        predicted = [predict(network, torch.from_numpy(images), device=device) for images in parts]
        error = error_percent(torch.cat(predicted), labels)
        rows.append({"corruption": name, "severity": severity, "images": len(labels), "error": error})
        print(f"{name} {severity}: error {error:.2f} % on {len(labels):,} images", flush=True)
    write_rows(arguments.out_corruptions, rows)


if __name__ == "__main__":
    run(main, inputs=("test", "model"), optional=("corruptions",), outputs=("corruptions",))
