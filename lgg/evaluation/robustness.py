"""Predictions under perturbations: attacks, noise, dropout, quantised weights, DeepFool (Section 4.3).

Networks are on `device` and are put into evaluation mode; images are (N, H, W, 3) uint8, labels (N,). Predictions are
classes, (N,) int64 on the CPU. Where `batch_size` is None, batches are as large as memory allows (`choose_batch_size`); its
value changes results by rounding at most.
"""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lgg.attacks import Form, add_noise, loss_gradient
from lgg.data.batches import deliver, in_order
from lgg.evaluation.accuracy import classes, predict
from lgg.evaluation.batching import Compute, batches_of, choose_batch_size, fixed_batch_size, gather
from lgg.models.base import ImageClassifier

#: takes a network, images (B, 3, H, W) in [0, 1] and labels (B,); returns attacked images in pixel units
Attack = Callable[[ImageClassifier, Tensor, Tensor], Tensor]


def predict_under_attack(
    model: ImageClassifier,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    target: ImageClassifier | None = None,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the predictions for images after `attack` on `model`, by `target` if it is given (transfer attack).

    For PGD from several or random starts use `lgg.evaluation.pgd.predict_under_pgd`, where these do not depend on the batch
    size.
    """
    judge = model if target is None else target
    judge.eval()

    def compute(batch: Tensor, batch_labels: Tensor) -> tuple[Tensor]:
        return (classes(judge, attack(model, batch, batch_labels)),)

    (found,) = _gather_with_gradients(compute, model, images, labels, batch_size, device)
    return found


def fgsm_curve(
    model: ImageClassifier,
    images: Tensor,
    labels: Tensor,
    snrs: Sequence[float],
    *,
    form: Form = "pixels",
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> dict[float, Tensor]:
    """Return the predictions under `lgg.attacks.fgsm` for each signal-to-noise ratio in decibels, in order.

    The gradient is computed once for all ratios. Raises ValueError as `fgsm` does.
    """

    def compute(batch: Tensor, batch_labels: Tensor) -> tuple[Tensor, ...]:
        signs = loss_gradient(model, batch, batch_labels).sign()
        return tuple(classes(model, add_noise(model, batch, signs, snr, form=form)) for snr in snrs)

    found = _gather_with_gradients(compute, model, images, labels, batch_size, device)
    return dict(zip(snrs, found, strict=True))


def without_gradient(
    model: ImageClassifier,
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return whether the gradient of the cross-entropy is zero everywhere, for each image, (N,) bool on the CPU.

    Attacks along its sign do not change such images, so the error under attack may be underestimated by their share.
    """

    def compute(batch: Tensor, batch_labels: Tensor) -> tuple[Tensor]:
        return ((loss_gradient(model, batch, batch_labels) == 0).flatten(1).all(dim=1),)

    (found,) = _gather_with_gradients(compute, model, images, labels, batch_size, device)
    return found


def predict_with_noise(
    model: ImageClassifier,
    images: Tensor,
    *,
    std: float,
    seed: int,
    clamp: bool = True,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the predictions for images with Gaussian noise of standard deviation `std`, in pixel units of [0, 1].

    The sum is clamped to [0, 1] unless `clamp` is False. The noise of an image depends only on the seed and the image's
    position, not on the batch size or the device.

    Raises ValueError if `std` is negative.
    """
    if not std >= 0:
        raise ValueError(f"std must be at least 0, not {std}")

    def compute(batch: Tensor, noise: Tensor) -> tuple[Tensor]:
        noisy = batch + std * noise
        return (classes(model, noisy.clamp(0, 1) if clamp else noisy),)

    model.eval()
    size = batch_size or choose_batch_size(model, images, device)
    batches = zip(in_order(images, size, device), deliver(_noise(images, size, seed), device), strict=True)
    (found,) = gather(compute, batches, len(images))
    return found


def _noise(images: Tensor, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Yield standard normal numbers for batches (B, 3, H, W) of the images (N, H, W, 3), drawn on the CPU."""
    count, height, width, channels = images.shape
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, count, batch_size):
        noise = torch.empty(min(batch_size, count - start), channels, height, width)
        # one draw per image: torch draws large tensors in groups of 16, so a joint draw would depend on the batch
        for one in noise:
            torch.randn(one.shape, generator=generator, out=one)
        yield noise


def predict_with_dropout(
    model: ImageClassifier,
    images: Tensor,
    *,
    rate: float,
    seed: int,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the predictions of a network with dropout of `rate` after each of its blocks.

    Each value of the output of each module in `model.dropout_places` is set to zero with probability `rate`, and otherwise
    divided by 1 − rate. Which values of an image are dropped depends only on the seed and the image's position, not on the
    batch size (after modules that run once in a pass) or the device. Drawing this on the CPU takes longer than the network on
    a GPU, so larger batches gain nothing.

    Raises ValueError if `rate` is not in [0, 1) or the network has no such modules.
    """
    model.eval()
    with _dropout_after_blocks(model, rate, seed) as generators:
        batches = zip(in_order(images, batch_size or fixed_batch_size(images), device))
        (found,) = gather(lambda batch: (classes(model, batch),), batches, len(images), generators=generators)
    return found


def predict_with_quantized_weights(
    model: ImageClassifier,
    images: Tensor,
    *,
    bits: int,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the predictions of a copy of the network with weights quantised to `bits` bits (see `quantized`)."""
    return predict(quantized(model, bits), images, batch_size=batch_size, device=device)


def quantized(model: ImageClassifier, bits: int) -> ImageClassifier:
    """Return a copy of the network whose weights with more than one axis are quantised to `bits` bits (see `quantize`).

    Biases and batch normalisation are not changed.
    """
    coarse = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in coarse.parameters():
            if parameter.dim() > 1:
                parameter.copy_(quantize(parameter, bits))
    return coarse


def quantize(weight: Tensor, bits: int) -> Tensor:
    """Return `weight`, of any shape, as fixed-point numbers of `bits` bits including the sign, truncated towards zero.

    The step is the power of two for which max|weight| ÷ step is at least 2^(bits − 2) and less than 2^(bits − 1), so there
    are at most 2^bits − 1 levels, including zero. This equals the truncation of the paper's published code, where all
    weights are below 2.

    Raises ValueError if `bits` is less than 2.
    """
    if bits < 2:
        raise ValueError(f"bits must be at least 2, for a level on either side of zero, not {bits}")
    _, exponent = torch.frexp(weight.abs().amax())
    # a power of two, so that the division is exact; an all-zero weight stays zero
    step = torch.ldexp(torch.ones((), dtype=weight.dtype, device=weight.device), exponent - (bits - 1))
    return (weight / step).trunc() * step


def deepfool_norms(
    model: ImageClassifier,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 50,
    candidates: int = 10,
    overshoot: float = 0.02,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return ‖r‖₂ / ‖image‖₂ of the perturbation r that DeepFool finds, (N,) float32 on the CPU, in pixel units.

    The mean over images is ρ_adv (Moosavi-Dezfooli et al. 2016, Eq. 15); larger is more robust. The value is NaN for images
    that are misclassified without perturbation, and infinite if DeepFool finds none in `steps` steps. Attacked images are
    in [0, 1].

    Args:
        model: the network.
        images, labels: (N, H, W, 3) uint8, and (N,) the true classes.
        steps: maximal number of linearisations of the network.
        candidates: number of most likely classes considered.
        overshoot: factor by which the perturbation is extended to cross the decision boundary.
        batch_size: number of images attacked together; it affects the values only by rounding. A batch takes as many steps
            as its most robust image, so large ones are no faster; None is `fixed_batch_size`.
        device: device of the network.

    Requires the package foolbox (ImportError without it).
    """
    # foolbox imports GitPython, whose import fails without this if git is not installed
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    from foolbox.attacks.deepfool import L2DeepFoolAttack
    from foolbox.models.pytorch import PyTorchModel

    labels, batch_size = labels.cpu(), batch_size or fixed_batch_size(images)
    right = (predict(model, images, batch_size=batch_size, device=device) == labels).nonzero()[:, 0]
    # otherwise foolbox would accumulate gradients of the weights
    frozen = copy.deepcopy(model).requires_grad_(False)
    network = PyTorchModel(frozen, bounds=(0, 1), device=device)
    attack = L2DeepFoolAttack(steps=steps, candidates=candidates, overshoot=overshoot)
    norms = torch.full((len(images),), torch.nan)

    def compute(batch: Tensor, batch_labels: Tensor) -> tuple[Tensor]:
        attacked, _, found = attack(network, batch, batch_labels, epsilons=None)
        return (torch.where(found, _lengths(attacked - batch) / _lengths(batch), torch.inf),)

    if len(right):
        batches = batches_of(images[right.to(images.device)], labels[right], batch_size, device)
        (found,) = gather(compute, batches, len(right))
        norms[right] = found
    return norms


def _lengths(x: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(x, dim=(1, 2, 3))
    return lengths


def _gather_with_gradients(
    compute: Compute,
    model: ImageClassifier,
    images: Tensor,
    labels: Tensor,
    batch_size: int | None,
    device: torch.device | str,
) -> tuple[Tensor, ...]:
    """Return what `gather` does for batches of images and labels, of a size for gradients of `model`."""
    model.eval()
    size = batch_size or choose_batch_size(model, images, device, gradients=True)
    return gather(compute, batches_of(images, labels, size, device), len(images))


@contextmanager
def _dropout_after_blocks(model: ImageClassifier, rate: float, seed: int) -> Iterator[list[torch.Generator]]:
    """Drop values of the outputs of the network's blocks; the generators from which this is drawn are given."""
    if not 0 <= rate < 1:
        raise ValueError(f"rate, the share of values dropped, must be at least 0 and less than 1, not {rate}")
    blocks = model.dropout_places
    if not blocks:
        raise ValueError(
            f"{type(model).__name__} has no blocks after which values could be dropped: name them in its `dropout_places`"
        )
    generators = [torch.Generator().manual_seed(seed * 1_000_003 + number) for number in range(len(blocks))]
    hooks = [
        block.register_forward_hook(_dropout(rate, generator))
        for block, generator in zip(blocks, generators, strict=True)
    ]
    try:
        yield generators
    finally:
        for hook in hooks:
            hook.remove()


def _dropout(rate: float, generator: torch.Generator) -> Callable[..., Any]:
    """Return a hook that drops values of a block's output, or of its first output if it returns a tuple."""

    def drop(x: Tensor) -> Tensor:
        # drawn on the CPU in the order of the images, so the result does not depend on batch size or device
        (kept,) = deliver([torch.rand(x.shape, generator=generator) >= rate], x.device)
        return x * kept / (1 - rate)

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        return drop(output) if isinstance(output, Tensor) else (drop(output[0]), *output[1:])

    return hook
