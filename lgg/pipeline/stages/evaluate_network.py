"""Error of a network on the test images, its size, and its agreement with the teacher: one row."""

from argparse import Namespace

import torch
from safetensors.torch import load, save_file

from lgg.data.storage import read_images
from lgg.devices import prepare
from lgg.evaluation.accuracy import agreement_percent, error_percent, predict
from lgg.evaluation.size import count_operations, count_parameters
from lgg.files import atomic_path, write_rows
from lgg.pipeline.job import run
from lgg.training.checkpoint import load_model

# the tensor (N,) in the file of predictions
CLASSES = "classes"


def main(arguments: Namespace) -> None:
    device = prepare(arguments.gpus, arguments.threads)
    data = read_images(arguments.test)
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    model = load_model(arguments.model, device, expected={"num_classes": len(data.classes)})
    predicted = predict(model, images, device=device)
    teacher = load(arguments.teacher.read_bytes())[CLASSES] if arguments.teacher else None
    row = {
        "images": len(labels),
        "error": error_percent(predicted, labels),
        "agreement": None if teacher is None else agreement_percent(predicted, teacher),
        "parameters": count_parameters(model),
        "operations": count_operations(model, images.shape[1]),
    }
    with atomic_path(arguments.out_predictions) as temporary:
        save_file({CLASSES: predicted}, temporary)
    write_rows(arguments.out_evaluation, [row])
    print(f"error {row['error']:.2f} % on {len(labels):,} images", flush=True)


if __name__ == "__main__":
    run(main, inputs=("test", "model"), optional=("teacher",), outputs=("evaluation", "predictions"))
