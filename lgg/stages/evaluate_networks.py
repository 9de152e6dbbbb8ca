"""Error of networks on the test images, their size, and how often they agree with the teacher; one row a seed."""

from argparse import Namespace

import torch
from safetensors.torch import load_file, save_file

from lgg.data.storage import read_images
from lgg.devices import prepare
from lgg.evaluation.accuracy import agreement_percent, error_percent, predict
from lgg.evaluation.size import count_operations, count_parameters
from lgg.files import atomic_path, write_rows
from lgg.stages.command import run
from lgg.training.checkpoint import load_model


def main(arguments: Namespace) -> None:
    device = prepare(arguments.gpus, arguments.threads)
    data = read_images(arguments.test)
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    teacher = load_file(arguments.teacher) if arguments.teacher else {}
    rows, predictions = [], {}
    for seed, path in zip(arguments.recipe["seeds"], arguments.models, strict=True):
        model = load_model(path, device, expected={"num_classes": len(data.classes)})
        predicted = predict(model, images, device=device)
        predictions[f"seed{seed}"] = predicted
        agreements = [agreement_percent(predicted, other) for other in teacher.values()]
        rows.append(
            {
                "seed": seed,
                "images": len(labels),
                "error": error_percent(predicted, labels),
                "agreement": agreements[0] if agreements else None,
                "parameters": count_parameters(model),
                "operations": count_operations(model, images.shape[1]),
            }
        )
        print(f"seed {seed}: error {rows[-1]['error']:.2f} % on {len(labels):,} images", flush=True)
    with atomic_path(arguments.out_predictions) as temporary:
        save_file(predictions, temporary)
    write_rows(arguments.out_evaluation, rows)


if __name__ == "__main__":
    run(main, inputs=("test",), lists=("models",), optional=("teacher",), outputs=("evaluation", "predictions"))
