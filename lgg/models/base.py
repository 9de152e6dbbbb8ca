"""What every network of this package has in common."""

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor, nn


class PointwiseConvolution(nn.Conv2d):
    """A 1×1 convolution without bias that takes every `stride`-th pixel: the shortcut where the shape changes.

    The pixels are taken first and convolved with stride 1, which gives the same values. PyTorch's strided 1×1
    convolution on the CPU writes outside its memory in the backward pass where there are few input channels
    (oneDNN issue 6035).
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__(channels_in, channels_out, 1, bias=False)
        self.taken = stride

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, :, :: self.taken, :: self.taken])


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
