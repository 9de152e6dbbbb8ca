"""A network under attacks, noise, dropout and coarse weights (Section 4.3): one row for each test and level."""

import math
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lgg.attacks import Form, fgsm, pgd
from lgg.data.draws import draw_evenly
from lgg.data.storage import read_images
from lgg.devices import prepare
from lgg.evaluation.accuracy import error_percent, predict
from lgg.evaluation.robustness import (
    deepfool_norms,
    fgsm_curve,
    predict_under_attack,
    predict_with_dropout,
    predict_with_noise,
    predict_with_quantized_weights,
    without_gradient,
)
from lgg.files import write_rows
from lgg.models.base import ImageClassifier
from lgg.pipeline.job import run
from lgg.training.checkpoint import load_model

FORMS: tuple[Form, ...] = ("pixels", "normalized")
Row = dict[str, Any]


def _row(
    test: str, images: int, value: float, *, level: float | None = None, measure: str = "error", **more: Any
) -> Row:
    """Return a row; `error` and `share` are in percent, `relative_norm` the median of ‖r‖/‖x‖ over the images."""
    return {"test": test, "level": level, "images": images, "measure": measure, "value": value, **more}


def _on_all_images(
    network: ImageClassifier, images: Tensor, labels: Tensor, tests: Row, device: torch.device
) -> Iterator[Row]:
    count, seed = len(labels), tests["seed"]
    std, rate, bits = tests["noise_std"], tests["dropout_rate"], tests["weight_bits"]
    for test, level, predicted in (
        ("clean", None, predict(network, images, device=device)),
        ("gaussian_noise", std, predict_with_noise(network, images, std=std, seed=seed, device=device)),
        ("dropout", rate, predict_with_dropout(network, images, rate=rate, seed=seed, device=device)),
        ("quantized_weights", bits, predict_with_quantized_weights(network, images, bits=bits, device=device)),
    ):
        yield _row(test, count, error_percent(predicted, labels), level=level)


def _under_attack(
    network: ImageClassifier,
    source: ImageClassifier,
    images: Tensor,
    labels: Tensor,
    tests: Row,
    device: torch.device,
) -> Iterator[Row]:
    """Yield the rows of attacks on the network itself and of those that `source` suffers, shown to the network."""
    count, snr = len(labels), tests["fgsm_snr"]
    yield _row("clean_attacked_images", count, error_percent(predict(network, images, device=device), labels))
    still = without_gradient(network, images, labels, device=device)
    yield _row("without_gradient", count, 100.0 * still.double().mean().item(), measure="share")
    for form in FORMS:
        levels = sorted({*tests["curve_snrs"], snr}, reverse=True)
        for level, predicted in fgsm_curve(network, images, labels, levels, form=form, device=device).items():
            yield _row(f"fgsm_{form}", count, error_percent(predicted, labels), level=level, steps=1, restarts=1)
    for test, settings in (("pgd", tests["pgd"]), ("strong_pgd", tests["strong_pgd"])):
        predicted = predict_under_attack(network, images, labels, _pgd(settings, tests["seed"]), device=device)
        yield _row(test, count, error_percent(predicted, labels), **_described(settings))
    for test, attack, described in (
        ("transfer_fgsm", partial(fgsm, snr=snr, form="pixels"), {"level": snr, "steps": 1, "restarts": 1}),
        ("transfer_pgd", _pgd(tests["pgd"], tests["seed"]), _described(tests["pgd"])),
    ):
        predicted = predict_under_attack(source, images, labels, attack, target=network, device=device)
        yield _row(test, count, error_percent(predicted, labels), **described)


def _pgd(settings: Row, seed: int) -> Any:
    return partial(pgd, **settings, generator=torch.Generator().manual_seed(seed))


def _described(settings: Row) -> Row:
    return {"level": settings["epsilon"], "steps": settings["steps"], "restarts": settings["restarts"]}


def _deepfool(network: ImageClassifier, images: Tensor, labels: Tensor, device: torch.device) -> Row:
    # an image that the network gets wrong as it is needs no perturbation: so all networks are judged on the same images
    norms = deepfool_norms(network, images, labels, device=device).nan_to_num(nan=0.0, posinf=math.inf)
    # a median, since images for which DeepFool finds nothing count as infinitely far
    return _row("deepfool", len(norms), norms.median().item(), measure="relative_norm")


def main(arguments: Namespace) -> None:
    tests = arguments.recipe["tests"]
    device = prepare(arguments.gpus, arguments.threads)
    data = read_images(arguments.test)
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)

    def part(count: int | None, key: str) -> Tensor:
        return torch.from_numpy(draw_evenly(data.labels, count, tests["seed"], f"robustness.tests.{key}"))

    attacked = part(tests["images"], "images")
    # dropout goes after the blocks of this network, the only one of Section 4.3
    expected = {"name": "preact_resnet18", "num_classes": len(data.classes)}
    network = load_model(arguments.model, device, expected=expected)
    source = load_model(arguments.source, device, expected=expected)
    rows = [
        *_on_all_images(network, images, labels, tests, device),
        *_under_attack(network, source, images[attacked], labels[attacked], tests, device),
    ]
    if tests["deepfool_images"]:
        chosen = part(tests["deepfool_images"], "deepfool_images")
        rows.append(_deepfool(network, images[chosen], labels[chosen], device))
    write_rows(arguments.out_evaluation, rows)
    print(f"{len(rows)} tests done", flush=True)


if __name__ == "__main__":
    run(main, inputs=("test", "model", "source"), outputs=("evaluation",))
