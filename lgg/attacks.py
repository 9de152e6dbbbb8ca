"""Attacks on the pixels of images: FGSM at a signal-to-noise ratio and PGD in an L∞ ball (Section 4.3, Appendix D).

A network is any module that gives logits (B, C) for images (B, 3, H, W) in [0, 1]. It is attacked in evaluation mode,
so that the statistics of its batch normalisation stay as they are, and gets its mode back, also where an attack fails.
Only gradients with respect to the images are computed: autograd leaves out the work that leads to weights alone.

What attacks raise is by default the cross-entropy, as in the paper. Where a network is very sure of an image, its softmax is
one in floating point and the gradient of cross-entropy zero, so that the image is not moved and the error under attack is
too low: multiplying all logits by 1,000 is such a defence, and changes no prediction. `loss="logit_difference"` attacks
max_{j≠y} z_j − z_y, whose gradient does not depend on the size of the logits;
`lgg.evaluation.robustness.without_gradient` counts the images.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgg.graph import at_least_float32

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

    The noise of an image x of n values is ε·sign(∂loss/∂x) with ε = ‖x‖₂ / (√n · 10^(snr/20)), so that the ratio of
    signal to noise is `snr` decibels.

    Args:
        model: the network attacked.
        images: (B, 3, H, W) in [0, 1].
        labels: (B,) the true classes.
        snr: in decibels; infinity leaves the images as they are.
        form: "pixels": x is the image and the result is clamped to [0, 1]. "normalized", which Table 3 prints: x is the
            image as the network normalises it, (image − mean) / std, and nothing is clamped; the result is turned back
            to pixel units, so that the network sees x plus its noise.
        loss: "cross_entropy", the paper's, or "logit_difference" for max_{j≠y} z_j − z_y.

    Raises ValueError for an unknown form or loss, and for "normalized" where the network has no `mean` and `std`.
    """
    return add_noise(model, images, loss_gradient(model, images, labels, loss=loss).sign(), snr, form=form)


def add_noise(model: nn.Module, images: Tensor, signs: Tensor, snr: float, *, form: Form = "pixels") -> Tensor:
    """Return the images with noise along `signs` (B, 3, H, W) at `snr` decibels; the second half of `fgsm`.

    The signs do not depend on the ratio, so one gradient serves many. Raises ValueError as `fgsm` does.
    """
    images = images.detach()
    if form == "pixels":
        return (images + noise_scale(images, snr) * signs).clamp(0, 1)
    if form == "normalized":
        mean, std = _normalization(model)
        return images + std * noise_scale((images - mean) / std, snr) * signs
    raise ValueError(f"there is no form {form!r} of FGSM; there are {', '.join(get_args(Form))}")


def noise_scale(x: Tensor, snr: float) -> Tensor:
    """Return ε = ‖x‖₂ / (√n · 10^(snr/20)) of each of the inputs `x` (B, ...) of n values, shape (B, 1, …, 1)."""
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

    Every step adds `step_size` times the sign of the gradient and goes back to the nearest image that differs from the
    original by at most `epsilon` in each value and lies in [0, 1]. A start takes as many passes through the network as
    it has steps, and one more where there are several, of those images only that no start before has led astray.

    Args:
        model: the network attacked.
        images: (B, 3, H, W) in [0, 1].
        labels: (B,) the true classes.
        epsilon: radius of the L∞ ball, in pixel units.
        step_size: of one step, in pixel units.
        steps: number of steps, at least 1.
        restarts: number of starts, at least 1. The first is at the image, the others are uniform in the ball. An image
            that a start has led astray is not started again; one that none has gets the result of the largest loss.
        random_start: whether the first start is random too.
        generator: of the random starts. They are drawn on its device, so a generator on the CPU gives the same starts
            on every device; without one they are drawn on the images' device.
        loss: "cross_entropy", or "logit_difference" for max_{j≠y} z_j − z_y, see the module.
        stop_at_success: leave an image as it is from the step on at which it is misclassified, as the published code does.
            Without it the last step counts, after which an image may be classified rightly again.

    Raises ValueError for arguments outside these ranges.
    """
    _check_search(epsilon, step_size, steps, restarts)
    clean = images.detach()
    lowest, highest = (clean - epsilon).clamp(0, 1), (clean + epsilon).clamp(0, 1)

    def search(start: Tensor, part: Tensor | slice) -> Tensor:
        x = start.clamp(lowest[part], highest[part])
        for _ in range(steps):
            gradient, logits = _gradient(model, x, labels[part], loss)
            moved = (x + step_size * gradient.sign()).clamp(lowest[part], highest[part])
            if stop_at_success:
                moved = torch.where((logits.argmax(dim=1) != labels[part]).view(-1, 1, 1, 1), x, moved)
            x = moved
        return x

    with torch.enable_grad(), evaluation_mode(model):
        best = search(clean + epsilon * _uniform_like(clean, generator) if random_start else clean, slice(None))
        if restarts == 1:
            return best
        losses, wrong = _assess(model, best, labels, loss)
        for _ in range(restarts - 1):
            # drawn for all images, so that no start depends on what became of others, in this batch or before it
            start = clean + epsilon * _uniform_like(clean, generator)
            left = (~wrong).nonzero()[:, 0]
            if not len(left):
                continue
            found = search(start[left], left)
            found_losses, found_wrong = _assess(model, found, labels[left], loss)
            better = found_wrong | (found_losses > losses[left])
            taken = left[better]
            best[taken], losses[taken], wrong[taken] = found[better], found_losses[better], found_wrong[better]
    return best


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode, and each of its modules back into its own mode afterwards."""
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
    # a sum, so that an image's gradient does not depend on how many others there are
    return torch.autograd.grad(_losses(logits, labels, loss).sum(), images)[0], logits.detach()


def _losses(logits: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Return the loss of each image (B,), what an attack raises."""
    if loss == "cross_entropy":
        return F.cross_entropy(logits, labels, reduction="none")
    if loss == "logit_difference":
        own = labels[:, None]
        return logits.scatter(1, own, -torch.inf).amax(dim=1) - logits.gather(1, own)[:, 0]
    raise ValueError(f"there is no loss {loss!r} to attack; there are {', '.join(get_args(Loss))}")


def _assess(model: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return the loss of each image (B,) and whether it is misclassified (B,).

    Not under no_grad, so that the cast weights that autocast keeps from here serve the caller's own pass, gradients too.
    """
    logits = at_least_float32(model(images)).detach()
    return _losses(logits, labels, loss), logits.argmax(dim=1) != labels


def _uniform_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return numbers uniform in [−1, 1), in shape, type, device and memory format those of `x`."""
    device = x.device if generator is None else generator.device
    drawn = torch.rand(x.shape, generator=generator, device=device, dtype=x.dtype)
    return torch.empty_like(x).copy_(2 * drawn - 1)


def _normalization(model: nn.Module) -> tuple[Tensor, Tensor]:
    mean, std = getattr(model, "mean", None), getattr(model, "std", None)
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        raise ValueError(
            f"form 'normalized' needs a network that normalises its images inside, with tensors `mean` and `std`, as "
            f"lgg.models.build gives it; {type(model).__name__} has none. Use form 'pixels', or give it these buffers."
        )
    return mean, std


def _check_search(epsilon: float, step_size: float, steps: int, restarts: int) -> None:
    # written so that NaN is refused too
    if not epsilon >= 0:
        raise ValueError(f"epsilon is the radius of a ball: at least 0, not {epsilon}")
    if not step_size > 0:
        raise ValueError(f"step_size must be larger than 0, not {step_size}")
    if steps < 1 or restarts < 1:
        raise ValueError(f"steps and restarts are at least 1, not {steps} and {restarts}")
