"""Error of networks under every corruption and severity; one row for each of them and each seed."""

from argparse import Namespace

import torch

from lgg.data.storage import read_images
from lgg.devices import prepare
from lgg.evaluation.accuracy import error_percent, predict
from lgg.evaluation.corruptions import choose_images, corrupted_images
from lgg.files import write_rows
from lgg.stages.command import run
from lgg.training.checkpoint import load_model


def main(arguments: Namespace) -> None:
    recipe, settings = arguments.recipe, arguments.recipe["corruptions"]
    device = prepare(arguments.gpus, arguments.threads)
    data = read_images(arguments.test)
    positions = choose_images(data.labels, settings)
    labels = torch.from_numpy(data.labels[positions])
    networks = {
        seed: load_model(path, device, expected={"num_classes": len(data.classes)})
        for seed, path in zip(recipe["seeds"], arguments.models, strict=True)
    }
    rows = []
    for name, severity, images in corrupted_images(
        data, positions, settings, archive=arguments.corruptions, workers=arguments.threads
    ):
        for seed, network in networks.items():
            error = error_percent(predict(network, torch.from_numpy(images), device=device), labels)
            rows.append({"seed": seed, "corruption": name, "severity": severity, "images": len(labels), "error": error})
        print(f"{name} {severity}: error {rows[-1]['error']:.2f} % on {len(labels):,} images", flush=True)
    write_rows(arguments.out_corruptions, rows)


if __name__ == "__main__":
    run(main, inputs=("test",), lists=("models",), optional=("corruptions",), outputs=("corruptions",))
