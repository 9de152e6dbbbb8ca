"""Layers and the base class of the networks."""

from collections.abc import Sequence
from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgg.models.normalization import counted_together


class Convolution(nn.Conv2d):
    """A `size` × `size` convolution without bias, zero-padded so that the size of the image is kept.

    Args:
        channels_in, channels_out: number of channels.
        size: side of the filters in pixels, odd.
        stride: step in pixels.
        scaled: convolve with W/√(2·size² + 1) in place of the stored weight W, as in Parseval networks (Cisse et al.
            2017). If the rows of W are orthonormal, distances then do not grow, since overlapping windows increase
            them by a factor of at most `size`.
        share: with `scaled`, another factor of the weight.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        size: int,
        stride: int = 1,
        *,
        scaled: bool = False,
        share: float = 1.0,
    ) -> None:
        super().__init__(channels_in, channels_out, size, stride, padding=size // 2, bias=False)
        self.scale = share * (2 * size**2 + 1) ** -0.5 if scaled else None

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the convolution of images (B, C, H, W); with `weight`, if there is one, in place of the scaled weight."""
        if weight is None:
            # scale the weight, which has far fewer values than the activations
            weight = self.weight if self.scale is None else self.weight * self.scale
        out: Tensor = self._conv_forward(x, weight, None)
        return out


def scaled_weights(model: nn.Module) -> dict[nn.Module, Tensor]:
    """Return the scaled weight of each scaled convolution in `model`, computed in one operation on a GPU."""
    layers = [layer for layer in model.modules() if isinstance(layer, Convolution) and layer.scale is not None]
    if not layers:
        return {}
    return dict(
        zip(layers, _Scaled.apply([layer.scale for layer in layers], *(one.weight for one in layers)), strict=True)
    )


class _Scaled(torch.autograd.Function):
    """Tensors times a factor each; autograd would start an operation for the gradient of each."""

    @staticmethod
    def forward(factors: list[float], *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch._foreach_mul(tensors, factors))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ARG004
        ctx.factors = inputs[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_Scaled.apply(ctx.factors, *gradients)


class PointwiseConvolution(Convolution):
    """A 1×1 convolution without bias on every `stride`-th pixel: the shortcut of blocks that change the shape.

    The pixels are selected first and convolved with stride 1, which gives the same values: the backward pass of PyTorch's
    strided 1×1 convolution on the CPU writes out of bounds for few input channels (oneDNN issue 6035). They are selected
    by pooling single pixels: the gradient of a slice would be channels-first in memory, and adding it to a channels-last
    one takes twenty times as long.
    """

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, *, scaled: bool = False, share: float = 1.0
    ) -> None:
        super().__init__(channels_in, channels_out, 1, scaled=scaled, share=share)
        self.taken = stride

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        return super().forward(F.avg_pool2d(x, 1, self.taken) if self.taken > 1 else x, weight)


def average_pixels(x: Tensor) -> Tensor:
    """Return the mean over the pixels of (B, C, H, W), shape (B, C), with a gradient that is channels-last in memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1)


class ImageClassifier(nn.Module):
    """Base class of networks that take images in [0, 1], normalise them, and optionally return representations.

    Normalisation is part of the network so that attacks work on pixels. Subclasses set `layers` and implement `_compute`.

    Args:
        mean, std: mean and standard deviation of each channel (3 values each).
    """

    #: names of the representations, in the order in which they are returned
    layers: tuple[str, ...]
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(1, -1, 1, 1))

    def _compute(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        raise NotImplementedError

    @overload
    def forward(self, x: Tensor, return_representations: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, x: Tensor, return_representations: Literal[True]) -> tuple[Tensor, list[Tensor]]: ...

    def forward(self, x: Tensor, return_representations: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Return logits (B, C) for images (B, 3, H, W) in [0, 1], with the list of representations if requested."""
        with counted_together():
            logits, representations = self._compute((x - self.mean) / self.std)
        return (logits, representations) if return_representations else logits
