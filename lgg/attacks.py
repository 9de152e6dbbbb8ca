"""Attacks on the pixels of images: FGSM at a signal-to-noise ratio and PGD in an L∞ ball (Section 4.3, Appendix D).

A network is any module that maps images (B, 3, H, W) in [0, 1] to logits (B, C). It is attacked in evaluation mode, so
that its batch normalisation statistics do not change, and its mode is restored afterwards, even after an error. Only
gradients with respect to the images are computed, not those of the weights.

Attacks increase the cross-entropy by default, as in the paper. If a network is very confident about an image, the softmax
rounds to one, the gradient of the cross-entropy is zero and the image is not changed, so the error under attack is
underestimated. Multiplying all logits by 1,000, which changes no prediction, would be such a defence.
`loss="logit_difference"` attacks max_{j≠y} z_j − z_y, whose gradient does not vanish with the scale of the logits;
`lgg.evaluation.robustness.without_gradient` finds the images with a zero gradient.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgg.graph import at_least_float32

__all__ = ["add_noise", "fgsm", "loss_gradient", "noise_scale", "pgd"]

Form = Literal["pixels", "normalized"]
Loss = Literal["cross_entropy", "logit_difference"]


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    snr: float = 33.0,
    *,
    form: Form = "pixels",
    loss: Loss = "cross_entropy",
) -> Tensor:
    """Return the images after the fast gradient sign method (Goodfellow et al. 2015), (B, 3, H, W) in pixel units.

    The noise added to an image x of n values is ε·sign(∂loss/∂x) with ε = ‖x‖₂ / (√n · 10^(snr/20)), so the
    signal-to-noise ratio is `snr` decibels.

    Args:
        model: the network attacked.
        images: (B, 3, H, W) in [0, 1].
        labels: (B,) the true classes.
        snr: signal-to-noise ratio in decibels; infinity leaves the images unchanged.
        form: "pixels": x is the image and the result is clamped to [0, 1]. "normalized", used in Table 3: x is the
            normalised image (image − mean) / std and nothing is clamped; the result is converted back to pixel units, so
            that the network sees x plus the noise.
        loss: "cross_entropy" (the paper's), or "logit_difference" for max_{j≠y} z_j − z_y.

    Raises ValueError for an unknown form or loss, and for "normalized" if the network has no `mean` and `std`.
    """
    return add_noise(model, images, loss_gradient(model, images, labels, loss=loss).sign(), snr, form=form)


def add_noise(model: nn.Module, images: Tensor, signs: Tensor, snr: float, *, form: Form = "pixels") -> Tensor:
    """Return the images with noise along `signs` (B, 3, H, W) at `snr` decibels; the second half of `fgsm`.

    The signs do not depend on `snr`, so one gradient serves several ratios. Raises ValueError as `fgsm` does.
    """
    images = images.detach()
    if form == "pixels":
        return (images + noise_scale(images, snr) * signs).clamp(0, 1)
    if form == "normalized":
        mean, std = _normalization(model)
        return images + std * noise_scale((images - mean) / std, snr) * signs
    raise ValueError(f"form must be one of {', '.join(get_args(Form))}, not {form!r}")


def noise_scale(x: Tensor, snr: float) -> Tensor:
    """Return ε = ‖x‖₂ / (√n · 10^(snr/20)) for each input in `x` (B, ...), of n values each, shape (B, 1, …, 1)."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=tuple(range(1, x.dim())), keepdim=True)
    return norms / math.sqrt(x[0].numel()) * math.pow(10, -snr / 20)


def loss_gradient(model: nn.Module, images: Tensor, labels: Tensor, *, loss: Loss = "cross_entropy") -> Tensor:
    """Return the gradient of each image's `loss` with respect to its pixels, (B, 3, H, W); ValueError for an unknown loss."""
    with torch.enable_grad(), evaluation_mode(model):
        return _gradient(model, images.detach(), labels, loss)[0]


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    restarts: int = 1,
    random_start: bool = False,
    generator: torch.Generator | None = None,
    loss: Loss = "cross_entropy",
    stop_at_success: bool = False,
) -> Tensor:
    """Return the images after projected gradient ascent on `loss` (Madry et al. 2018), (B, 3, H, W).

    Each step adds `step_size` times the sign of the gradient and projects the result onto the images in [0, 1] that differ
    from the original by at most `epsilon` in each value. A start takes `steps` passes through the network, and one more if
    there are several starts; later starts process only images that are still classified correctly.

    Args:
        model: the network attacked.
        images: (B, 3, H, W) in [0, 1].
        labels: (B,) the true classes.
        epsilon: radius of the L∞ ball, in pixel units.
        step_size: of one step, in pixel units.
        steps: number of steps, at least 1.
        restarts: number of starts, at least 1. The first is the image itself, the others are uniform in the ball. An image
            that is misclassified after a start is not started again; for one that never is, the result with the largest
            loss is returned.
        random_start: whether the first start is random too.
        generator: random generator of the starts. They are drawn on its device, so a generator on the CPU gives the same
            starts on every device; without one they are drawn on the device of the images.
        loss: "cross_entropy", or "logit_difference" for max_{j≠y} z_j − z_y (see the module's docstring).
        stop_at_success: stop changing an image once it is misclassified, as the published code does. Otherwise the result
            is that of the last step, after which an image may be classified correctly again.

    Raises ValueError for arguments outside these ranges.
    """
    check_search(epsilon, step_size, steps, restarts)
    clean = images.detach()
    search = partial(
        ascend, model, epsilon=epsilon, step_size=step_size, steps=steps, loss=loss, stop_at_success=stop_at_success
    )
    with torch.enable_grad(), evaluation_mode(model):
        best = search(clean, clean + epsilon * _uniform_like(clean, generator) if random_start else clean, labels)
        if restarts == 1:
            return best
        losses, wrong = _assess(model, best, labels, loss)
        for _ in range(restarts - 1):
            # drawn for all images, so that an image's start does not depend on the success of others
            start = clean + epsilon * _uniform_like(clean, generator)
            left = (~wrong).nonzero()[:, 0]
            if not len(left):
                continue
            found = search(clean[left], start[left], labels[left])
            found_losses, found_wrong = _assess(model, found, labels[left], loss)
            better = found_wrong | (found_losses > losses[left])
            taken = left[better]
            best[taken], losses[taken], wrong[taken] = found[better], found_losses[better], found_wrong[better]
    return best


def ascend(
    model: nn.Module,
    images: Tensor,
    start: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    loss: Loss = "cross_entropy",
    stop_at_success: bool = False,
) -> Tensor:
    """Return where the steps of `pgd` lead from `start` (B, 3, H, W), for a network in evaluation mode.

    The arguments are those of `pgd`. No value is read by the host, so this can be part of a captured CUDA graph.
    """
    lowest, highest = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)
    x = start.clamp(lowest, highest)
    for _ in range(steps):
        gradient, logits = _gradient(model, x, labels, loss)
        # the product is exact, so it does not matter whether it is rounded before the sum
        moved = torch.add(x, gradient.sign(), alpha=step_size).clamp(lowest, highest)
        if stop_at_success:
            moved = torch.where((logits.argmax(dim=1) != labels).view(-1, 1, 1, 1), x, moved)
        x = moved
    return x


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode, and restore the mode of each of its modules afterwards."""
    in_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in in_training:
            module.training = True


def _gradient(model: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return the gradient of each image's loss, in the shape of `images`, and the logits (B, C)."""
    images = images.detach().requires_grad_()
    logits = at_least_float32(model(images))
    # a sum, so that an image's gradient does not depend on the batch size
    return torch.autograd.grad(losses_of(logits, labels, loss).sum(), images)[0], logits.detach()


def losses_of(logits: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Return the loss of each image (B,), which attacks increase."""
    if loss == "cross_entropy":
        return F.cross_entropy(logits, labels, reduction="none")
    if loss == "logit_difference":
        own = labels[:, None]
        return logits.scatter(1, own, -torch.inf).amax(dim=1) - logits.gather(1, own)[:, 0]
    raise ValueError(f"loss must be one of {', '.join(get_args(Loss))}, not {loss!r}")


def _assess(model: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return the loss of each image (B,) and whether it is misclassified (B,).

    Not under no_grad, since autocast caches the cast weights, and the caller's next pass needs them with gradients.
    """
    logits = at_least_float32(model(images)).detach()
    return losses_of(logits, labels, loss), logits.argmax(dim=1) != labels


def _uniform_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return numbers uniform in [−1, 1) with the shape, type, device and memory format of `x`."""
    device = x.device if generator is None else generator.device
    drawn = torch.rand(x.shape, generator=generator, device=device, dtype=x.dtype)
    return torch.empty_like(x).copy_(2 * drawn - 1)


def _normalization(model: nn.Module) -> tuple[Tensor, Tensor]:
    mean, std = getattr(model, "mean", None), getattr(model, "std", None)
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        raise ValueError(
            f"form 'normalized' needs a network that normalises its own input, with tensors `mean` and `std`, as those of "
            f"lgg.models.build do; {type(model).__name__} has none. Use form 'pixels', or add these buffers."
        )
    return mean, std


def check_search(epsilon: float, step_size: float, steps: int, restarts: int) -> None:
    """Raise ValueError unless these are arguments of `pgd`."""
    # `not … >= 0` rejects NaN too
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be at least 0, not {epsilon}")
    if not step_size > 0:
        raise ValueError(f"step_size must be positive, not {step_size}")
    if steps < 1 or restarts < 1:
        raise ValueError(f"steps and restarts must be at least 1, not {steps} and {restarts}")
