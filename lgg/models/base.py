"""Layers and the base class of the networks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgg.models.normalization import counted_together, transformed


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

    #: what the network has prepared for the pass it is in, see `prepared_weights`
    prepared: Tensor | None = None

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

    def forward(self, x: Tensor) -> Tensor:
        weight = self.prepared
        if weight is None:
            # scale the weight, which has far fewer values than the activations
            weight = self.weight if self.scale is None else self.weight * self.scale
        out: Tensor = self._conv_forward(x, weight, None)
        return out


@contextmanager
def prepared_weights(model: nn.Module) -> Iterator[None]:
    """Scale the weights of all `Convolution` layers of `model`, and cast them as autocast would, in one operation each.

    The layers use them inside. On a GPU an operation for each weight, and one for each gradient, would cost more than its
    arithmetic. Values and gradients are the same.
    """
    layers = [] if transformed() else [layer for layer in model.modules() if isinstance(layer, Convolution)]
    dtype = _autocast_type([layer.weight for layer in layers])
    if dtype is None:
        layers = [layer for layer in layers if layer.scale is not None]
    if not layers:
        yield
        return
    scaled = any(layer.scale is not None for layer in layers)
    factors = [1.0 if layer.scale is None else layer.scale for layer in layers] if scaled else None
    weights = _Prepared.apply(factors, dtype, *(layer.weight for layer in layers))
    for layer, weight in zip(layers, weights, strict=True):
        layer.prepared = weight
    try:
        yield
    finally:
        for layer in layers:
            layer.prepared = None


def _autocast_type(weights: Sequence[Tensor]) -> torch.dtype | None:
    """Return the type that autocast casts these weights to; None if it does not, or if they are not all float32."""
    kinds = {(weight.device.type, weight.dtype) for weight in weights}
    if len(kinds) != 1:
        return None
    ((device, dtype),) = kinds
    enabled = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if enabled and dtype == torch.float32 else None


class _Prepared(torch.autograd.Function):
    """Tensors times a factor each (unless `factors` is None), in the wider of their type and `dtype`, cast to `dtype`."""

    @staticmethod
    def forward(
        ctx: Any, factors: Sequence[float] | None, dtype: torch.dtype | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.factors, ctx.dtype = factors, None if dtype is None else tensors[0].dtype
        results = list(tensors)
        if dtype is not None:
            results = _cast(results, torch.promote_types(dtype, results[0].dtype))
        if factors is not None:
            results = list(torch._foreach_mul(results, factors))
        return tuple(results if dtype is None else _cast(results, dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        # of layers that were used, so that the others have no gradient rather than zeros
        places = [place for place, gradient in enumerate(gradients) if gradient is not None]
        factors = None if ctx.factors is None else [ctx.factors[place] for place in places]
        found: list[Tensor | None] = [None] * len(gradients)
        results = _Prepared.apply(factors, ctx.dtype, *(gradients[place] for place in places)) if places else ()
        for place, result in zip(places, results, strict=True):
            found[place] = result
        return None, None, *found


def _cast(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    if tensors[0].dtype == dtype:
        return tensors
    results = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    torch._foreach_copy_(results, tensors)
    return results


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

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.avg_pool2d(x, 1, self.taken) if self.taken > 1 else x)


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
    #: names of the modules that depend on the classes: the classifier, and a bottleneck before it
    heads: tuple[str, ...] = ("bottleneck", "classifier")

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32).view(1, -1, 1, 1))

    @property
    def dropout_places(self) -> tuple[nn.Module, ...]:
        """The modules after whose outputs the dropout test of Section 4.3 drops values: `blocks`, if the network has them."""
        blocks = getattr(self, "blocks", None)
        return tuple(blocks) if isinstance(blocks, nn.ModuleList) else ()

    def _compute(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        raise NotImplementedError

    @overload
    def forward(self, x: Tensor, return_representations: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, x: Tensor, return_representations: Literal[True]) -> tuple[Tensor, list[Tensor]]: ...

    def forward(self, x: Tensor, return_representations: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Return logits (B, C) for images (B, 3, H, W) in [0, 1], with the list of representations if requested."""
        with counted_together(), prepared_weights(self):
            logits, representations = self._compute((x - self.mean) / self.std)
        return (logits, representations) if return_representations else logits
