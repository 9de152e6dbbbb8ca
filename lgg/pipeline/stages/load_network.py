"""A network that was trained elsewhere, from the file of its weights: a teacher, or a row of a table."""

from argparse import Namespace
from typing import TYPE_CHECKING

import torch

from lgg.data.storage import read_header, read_images
from lgg.defences.base import architecture_of
from lgg.devices import prepare
from lgg.files import write_json
from lgg.models.weights import check_classes, load_weights
from lgg.pipeline.job import run
from lgg.pipeline.stages.networks import identify
from lgg.pipeline.stages.train_robust_network import defences_of, record_layers
from lgg.training.checkpoint import save_model
from lgg.training.setup import build_network, fitted

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import LoadNetwork


def main(arguments: Namespace) -> None:
    recipe: LoadNetwork = arguments.recipe
    device = prepare(arguments.gpus, arguments.threads)
    data, header = read_images(arguments.train), read_header(arguments.train)
    about = {
        "recipe": recipe,
        "weights": identify(arguments.weights, recipe["weights"]),
        "data_sha256": header["sha256"],
    }
    architecture = recipe["architecture"] | architecture_of(defences_of(recipe.get("defences", [])))
    side = data.images.shape[1]
    architecture = fitted(architecture, header, len(data.classes), side, arguments.weights)
    built_with, model = build_network(architecture, data, header, seed=0, device=torch.device("cpu"))
    lines = check_classes(arguments.weights, data.classes)
    lines += load_weights(model, arguments.weights, own_constants="mean" in recipe["architecture"])
    print(*lines, sep="\n", end="\n" if lines else "", flush=True)
    model.to(device).eval()
    if arguments.out_label_variation:
        recorder = record_layers(arguments.out_label_variation, data, device)
        recorder.record(model, 0)
        recorder.write()
    save_model(arguments.out_model, model, built_with, about)
    write_json(arguments.out_metrics, {**about, "torch": torch.__version__})


if __name__ == "__main__":
    run(main, inputs=("train", "weights"), outputs=("model", "metrics"), optional_outputs=("label_variation",))
