"""What every network of this package has in common."""

from collections.abc import Sequence
from typing import Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Convolution(nn.Conv2d):
    """A convolution without bias over `size` × `size` pixels, zeros around the image so that its size is kept.

    Args:
        channels_in, channels_out: number of channels.
        size: side of the filters in pixels, odd.
        stride: step in pixels.
        scaled: convolve with W/√(2·size² + 1) in place of the stored weight W, as in Parseval networks (Cisse et al.
            2017). Where the rows of W are orthonormal no distance then grows, since overlapping windows stretch
            distances at most `size` times.
    """

    def __init__(
        self, channels_in: int, channels_out: int, size: int, stride: int = 1, *, scaled: bool = False
    ) -> None:
        super().__init__(channels_in, channels_out, size, stride, padding=size // 2, bias=False)
        self.scale = (2 * size**2 + 1) ** -0.5 if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        # the weight has far fewer values than the activations
        weight = self.weight if self.scale is None else self.weight * self.scale
        out: Tensor = self._conv_forward(x, weight, None)
        return out


class PointwiseConvolution(Convolution):
    """A 1×1 convolution without bias that takes every `stride`-th pixel: the shortcut where the shape changes.

    The pixels are taken first and convolved with stride 1, which gives the same values. PyTorch's strided 1×1
    convolution on the CPU writes outside its memory in the backward pass where there are few input channels
    (oneDNN issue 6035). They are taken by a pooling of single pixels: the gradient of a slice would come with channels
    first in memory, and adding it to one with channels last takes twenty times as long.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, *, scaled: bool = False) -> None:
        super().__init__(channels_in, channels_out, 1, scaled=scaled)
        self.taken = stride

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.avg_pool2d(x, 1, self.taken) if self.taken > 1 else x)


def average_pixels(x: Tensor) -> Tensor:
    """Return the mean over the pixels of (B, C, H, W), shape (B, C); the gradient comes with channels last in memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1)


class ImageClassifier(nn.Module):
    """Takes images in [0, 1], normalises them inside, and shows its representations on request.

    Normalisation is part of the network so that attacks work on pixels. Subclasses set `layers` and fill `_compute`.

    Args:
        mean, std: per-channel constants (3 values each).
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
        """Return logits (B, C) for images (B, 3, H, W) in [0, 1]; with the representations where asked for."""
        logits, representations = self._compute((x - self.mean) / self.std)
        return (logits, representations) if return_representations else logits
