"""The tests that networks are put to (Section 4.3): what each gives, one row for each of its levels.

A test is a function of one `Case` and bears the name of the measure that tables show (`lgg.reporting.measures`). A row holds
`level` (what the test's strength is, None where there is nothing to choose), `images` (how many), `measure` and `value`:
"error" and "share" are in percent, "relative_norm" is the median of ‖r‖/‖x‖. Attacks add `steps` and `restarts`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lgg.attacks import Form, fgsm
from lgg.data.draws import draw_evenly
from lgg.data.storage import ImageSet
from lgg.evaluation.accuracy import error_percent, predict
from lgg.evaluation.pgd import predict_under_pgd
from lgg.evaluation.robustness import (
    deepfool_norms,
    fgsm_curve,
    predict_under_attack,
    predict_with_dropout,
    predict_with_noise,
    predict_with_quantized_weights,
)
from lgg.evaluation.robustness import without_gradient as find_without_gradient
from lgg.models.base import ImageClassifier

Row = dict[str, Any]


@dataclass(frozen=True)
class Labelled:
    """Images (N, H, W, 3) uint8 and their true classes (N,)."""

    images: Tensor
    labels: Tensor

    def error(self, predicted: Tensor, **more: Any) -> Row:
        """Return the row of an error in percent, of predictions (N,); `more` are its other columns."""
        return _row(len(self.labels), "error", error_percent(predicted, self.labels), **more)


@dataclass(frozen=True)
class Case:
    """A network under test and what it is tested with.

    Attributes:
        network: on `device`.
        source: another network, whose attacked images are shown to `network`.
        whole: all test images.
        attacked: those under attack.
        for_deepfool: those for DeepFool; None where it is left out.
        settings: `robustness.tests` of the configuration.
        device: where both networks are.
    """

    network: ImageClassifier
    source: ImageClassifier
    whole: Labelled
    attacked: Labelled
    for_deepfool: Labelled | None
    settings: Mapping[str, Any]
    device: torch.device | str


def prepare_case(
    network: ImageClassifier,
    source: ImageClassifier,
    data: ImageSet,
    settings: Mapping[str, Any],
    device: torch.device | str = "cpu",
) -> Case:
    """Return a case with the images that `settings` choose; DataError where there are fewer."""
    whole = Labelled(torch.from_numpy(data.images), torch.from_numpy(data.labels))

    def drawn(key: str) -> Labelled:
        chosen = draw_evenly(data.labels, settings[key], settings["seed"], f"robustness.tests.{key}")
        if len(chosen) == len(data.labels):
            return whole  # without a copy, which may not fit into memory
        positions = torch.from_numpy(chosen)
        return Labelled(whole.images[positions], whole.labels[positions])

    for_deepfool = drawn("deepfool_images") if settings["deepfool_images"] else None
    return Case(network, source, whole, drawn("images"), for_deepfool, settings, device)


def run_tests(case: Case) -> list[Row]:
    """Return the rows of all tests, each with the name of its `test`."""
    return [{"test": name, **row} for name, test in TESTS.items() for row in test(case)]


# --- on all images -------------------------------------------------------------------------------------------------------


def clean(case: Case) -> Iterator[Row]:
    """Yield the error on all test images as they are."""
    yield case.whole.error(predict(case.network, case.whole.images, device=case.device))


def gaussian_noise(case: Case) -> Iterator[Row]:
    """Yield the error on all test images with Gaussian noise of standard deviation `noise_std`."""
    std, seed = case.settings["noise_std"], case.settings["seed"]
    predicted = predict_with_noise(case.network, case.whole.images, std=std, seed=seed, device=case.device)
    yield case.whole.error(predicted, level=std)


def dropout(case: Case) -> Iterator[Row]:
    """Yield the error on all test images with dropout of `dropout_rate` after each block; nothing of a network without."""
    if not case.network.dropout_places:
        return
    rate, seed = case.settings["dropout_rate"], case.settings["seed"]
    predicted = predict_with_dropout(case.network, case.whole.images, rate=rate, seed=seed, device=case.device)
    yield case.whole.error(predicted, level=rate)


def quantized_weights(case: Case) -> Iterator[Row]:
    """Yield the error on all test images of the network with weights of `weight_bits` bits."""
    bits = case.settings["weight_bits"]
    predicted = predict_with_quantized_weights(case.network, case.whole.images, bits=bits, device=case.device)
    yield case.whole.error(predicted, level=bits)


# --- on the images under attack ------------------------------------------------------------------------------------------


def clean_attacked_images(case: Case) -> Iterator[Row]:
    """Yield the error on the images under attack, as they are."""
    yield case.attacked.error(predict(case.network, case.attacked.images, device=case.device))


def without_gradient(case: Case) -> Iterator[Row]:
    """Yield the share of images whose cross-entropy has a gradient of zero, which attacks along it do not change."""
    attacked = case.attacked
    still = find_without_gradient(case.network, attacked.images, attacked.labels, device=case.device)
    yield _row(len(still), "share", 100.0 * still.double().mean().item())


def fgsm_pixels(case: Case) -> Iterator[Row]:
    """Yield the errors under FGSM on pixels, at the ratios of the curve and of the tables."""
    return _fgsm(case, "pixels")


def fgsm_normalized(case: Case) -> Iterator[Row]:
    """Yield the errors under FGSM on normalised inputs, at the ratios of the curve and of the tables."""
    return _fgsm(case, "normalized")


def pgd(case: Case) -> Iterator[Row]:
    """Yield the error under PGD."""
    yield _pgd(case, case.settings["pgd"], case.network)


def strong_pgd(case: Case) -> Iterator[Row]:
    """Yield the error under the stronger PGD, a check for gradient masking."""
    yield _pgd(case, case.settings["strong_pgd"], case.network)


def transfer_fgsm(case: Case) -> Iterator[Row]:
    """Yield the error on images that FGSM on pixels crafts on the source."""
    snr = case.settings["fgsm_snr"]
    attack, attacked = partial(fgsm, snr=snr, form="pixels"), case.attacked
    predicted = predict_under_attack(
        *(case.source, attacked.images, attacked.labels), attack, target=case.network, device=case.device
    )
    yield attacked.error(predicted, level=snr, steps=1, restarts=1)


def transfer_pgd(case: Case) -> Iterator[Row]:
    """Yield the error on images that PGD crafts on the source."""
    yield _pgd(case, case.settings["pgd"], case.source)


def deepfool(case: Case) -> Iterator[Row]:
    """Yield the median relative norm of the perturbations that DeepFool finds; nothing where it gets no images."""
    if case.for_deepfool is None:
        return
    norms = deepfool_norms(case.network, case.for_deepfool.images, case.for_deepfool.labels, device=case.device)
    # an image that the network misclassifies as it is needs no perturbation: so all networks are judged on the same images
    norms = norms.nan_to_num(nan=0.0, posinf=math.inf)
    # a median, since images for which DeepFool finds nothing count as infinitely far
    yield _row(len(norms), "relative_norm", norms.median().item())


def _row(images: int, measure: str, value: float, *, level: float | None = None, **more: Any) -> Row:
    return {"level": level, "images": images, "measure": measure, "value": value, **more}


def _fgsm(case: Case, form: Form) -> Iterator[Row]:
    attacked = case.attacked
    levels = sorted({*case.settings["curve_snrs"], case.settings["fgsm_snr"]}, reverse=True)
    curve = fgsm_curve(case.network, attacked.images, attacked.labels, levels, form=form, device=case.device)
    for level, predicted in curve.items():
        yield attacked.error(predicted, level=level, steps=1, restarts=1)


def _pgd(case: Case, settings: Mapping[str, Any], crafted_on: ImageClassifier) -> Row:
    attacked, seed = case.attacked, case.settings["seed"]
    predicted = predict_under_pgd(
        *(crafted_on, attacked.images, attacked.labels), **settings, seed=seed, target=case.network, device=case.device
    )
    return attacked.error(predicted, level=settings["epsilon"], steps=settings["steps"], restarts=settings["restarts"])


#: the tests by name, in the order of their rows
TESTS: Mapping[str, Callable[[Case], Iterator[Row]]] = {
    test.__name__: test
    for test in (
        *(clean, gaussian_noise, dropout, quantized_weights),
        *(clean_attacked_images, without_gradient, fgsm_pixels, fgsm_normalized),
        *(pgd, strong_pgd, transfer_fgsm, transfer_pgd, deepfool),
    )
}
