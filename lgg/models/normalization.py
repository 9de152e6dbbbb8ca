"""Batch normalisation that is fast on CPUs even for few channels.

PyTorch's kernels for channels-last images process the channels of one pixel at a time, so with few channels most of a
vector register is unused: 8 channels take twenty times as long per value as 64. Here several pixels are treated as one
with correspondingly more channels, whose statistics are then combined. The state is that of `nn.BatchNorm2d`.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ATEN = torch.ops.aten

#: channels from which PyTorch's kernels are as fast: forward, and backward with batch statistics
WIDE, WIDE_BACKWARD = 32, 16
TARGET = 128  # channels of several pixels treated as one
LEAST = 2**15  # values in a batch below which the overhead exceeds the gain


class _Counting(threading.local):
    #: the counters of batches that layers have left to the end of the network's pass; None outside of one
    counters: list[Tensor] | None = None


_counting = _Counting()


@contextmanager
def counted_together() -> Iterator[None]:
    """Let the layers inside count their batches at the end, all in one operation on a GPU instead of one per layer."""
    if _counting.counters is not None or transformed():
        yield
        return
    counters: list[Tensor] = []
    _counting.counters = counters
    try:
        yield
    finally:
        _counting.counters = None
    if counters:
        torch._foreach_add_(counters, 1)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation of images (B, C, H, W), equal to `nn.BatchNorm2d` up to rounding; its argument is C."""

    def forward(self, x: Tensor) -> Tensor:
        groups = 1 if transformed() else _groups(x)
        if groups == 1:
            return self._by_pytorch(x)
        if not self.training:
            fixed = (self.running_mean, self.running_var)
            normalized: Tensor = _WideBatchNorm.apply(x, self.weight, self.bias, *fixed, self.eps, groups)[0]
            return normalized
        normalized, mean, variance = _WideBatchNorm.apply(x, self.weight, self.bias, None, None, self.eps, groups)
        self._remember(mean, variance, x.numel() // x.shape[1])
        return normalized

    def _by_pytorch(self, x: Tensor) -> Tensor:
        counters, counter = _counting.counters, self.num_batches_tracked
        if counters is None or counter is None or self.momentum is None or not self.training:
            return super().forward(x)
        # as the layer of PyTorch, apart from its counter
        self._check_input_dim(x)
        counters.append(counter)
        state = (self.running_mean, self.running_var, self.weight, self.bias)
        return F.batch_norm(x, *state, training=True, momentum=self.momentum, eps=self.eps)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        if self.num_batches_tracked is None:
            return
        if _counting.counters is None:
            self.num_batches_tracked.add_(1)
        else:
            _counting.counters.append(self.num_batches_tracked)


def transformed() -> bool:
    """Return whether torch.compile or a transform of torch.func is at work, which then use PyTorch's own implementation."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def _groups(x: Tensor) -> int:
    """Return how many pixels of `x` are treated as one; 1 if PyTorch's kernel is fast enough or `x` is not channels-last."""
    pixels, channels = x.numel() // max(1, x.shape[1]), x.shape[1]
    few = channels < WIDE and x.numel() >= LEAST
    if x.device.type != "cpu" or not few or not x.is_contiguous(memory_format=torch.channels_last):
        return 1
    return math.gcd(pixels, 1 << ((TARGET // channels).bit_length() - 1))


def _wide(x: Tensor, groups: int) -> Tensor:
    """Return channels-last images as one image (1, groups · C, 1, pixels / groups), without a copy."""
    rows = x.permute(0, 2, 3, 1).reshape(1, 1, -1, groups * x.shape[1])
    return rows.permute(0, 3, 1, 2)


def _narrow(wide: Tensor, like: Tensor) -> Tensor:
    """Return the inverse of `_wide`, in the shape of `like`."""
    size, channels, height, width = like.shape
    return wide.permute(0, 2, 3, 1).reshape(size, height, width, channels).permute(0, 3, 1, 2)


class _WideBatchNorm(torch.autograd.Function):
    """Normalised images, by the given statistics or by those of the batch, which are then returned too.

    With x̂ the normalised values before scale w and shift, g = ∂σ/∂y and s = w/√(var + ε), ∂σ/∂x is s g for given
    statistics, and s (g − mean(g) − x̂ mean(g x̂)) for batch statistics, with means over all pixels.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor | None,
        variance: Tensor | None,
        eps: float,
        groups: int,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        wide = _wide(x, groups)
        given = mean is not None and variance is not None
        if mean is None or variance is None:
            # running statistics are not used, but determine the type of the result
            forgotten = [weight.new_zeros(len(weight) * groups) for _ in range(2)]
            statistics = _ATEN.batch_norm_update_stats(wide, *forgotten, 0.0)
            means, variances = (each.view(groups, -1) for each in statistics)
            mean, variance = means.mean(dim=0), variances.mean(dim=0) + means.var(dim=0, correction=0)
        repeated = (each.repeat(groups) for each in (weight, bias, mean, variance))
        # written through a view, since the result of an autograd function may not be modified in place if it is a view
        normalized, unused = torch.empty_like(x), {name: weight.new_empty(0) for name in ("save_mean", "save_invstd")}
        _ATEN.native_batch_norm.out(wide, *repeated, False, 0.0, eps, out=_wide(normalized, groups), **unused)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.given, ctx.eps, ctx.groups = given, eps, groups
        if given:
            return normalized, None, None
        ctx.mark_non_differentiable(mean, variance)
        return normalized, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        backward = _ATEN.native_batch_norm_backward
        inverse = (variance + ctx.eps).rsqrt()
        wanted = list(ctx.needs_input_grad[:3])
        rest = (None,) * 4
        # a gradient that will be differentiated again must account for the statistics' dependence on x
        if not ctx.given and (x.shape[1] >= WIDE_BACKWARD or torch.is_grad_enabled()):
            return *backward(gradient, x, weight, None, None, mean, inverse, True, ctx.eps, wanted), *rest
        if not ctx.given:
            wanted = [True] * 3
        wide = _wide(x, ctx.groups)
        repeated = [each.repeat(ctx.groups) for each in (weight, mean, variance, mean, inverse)]
        to_x, to_weight, to_bias = backward(_wide(gradient, ctx.groups), wide, *repeated, False, ctx.eps, wanted)
        to_weight, to_bias = (
            None if each is None else each.view(ctx.groups, -1).sum(dim=0) for each in (to_weight, to_bias)
        )
        if not ctx.given:
            count = x.numel() // x.shape[1]
            slope = -weight * inverse.square() * to_weight / count
            offset = -weight * inverse * to_bias / count - mean * slope
            ones, zeros = torch.ones_like(mean), torch.zeros_like(mean)
            affine = (each.repeat(ctx.groups) for each in (slope, offset, zeros, ones))
            to_x = to_x + _ATEN.native_batch_norm(wide, *affine, False, 0.0, 0.0)[0]
        return None if to_x is None else _narrow(to_x, x), to_weight, to_bias, *rest
