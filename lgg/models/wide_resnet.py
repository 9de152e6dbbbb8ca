"""The wide residual networks of the distillation experiments (Section 4.1; Zagoruyko and Komodakis 2016)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lgg.models.base import Convolution, ImageClassifier, PointwiseConvolution, average_pixels
from lgg.models.normalization import BatchNorm

STEM_CHANNELS = 16  # for any width, as in the published code


class BasicBlock(nn.Module):
    """conv-bn-relu-conv-bn, add, relu; the shortcut has a 1×1 convolution and bn if the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Convolution(channels_in, channels_out, 3, stride)
        self.bn1 = BatchNorm(channels_out)
        self.conv2 = Convolution(channels_out, channels_out, 3)
        self.bn2 = BatchNorm(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                PointwiseConvolution(channels_in, channels_out, stride), BatchNorm(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out, inplace=True)


class WideResNet(ImageClassifier):
    """WideResNet-`depth`-`width` for small images: three stages of (depth − 4)/6 blocks with 16w, 32w, 64w channels.

    Representations: the outputs of stages 1 and 2 and the pooled vector, all non-negative. With 10 classes
    WideResNet-28-1 has 369,690 parameters, WideResNet-28-0.5 has 94,154.

    Args:
        num_classes: number of outputs.
        mean: mean of each channel (3 values), subtracted from the images.
        std: standard deviation of each channel (3 values), which they are then divided by.
        depth: number of layers, 6n + 4.
        width: w.
        bottleneck: number of units of an additional linear layer between pooling and classifier, whose output is the last
            representation and the only one with negative values; None: no such layer.

    Raises ValueError if the depth is not 6n + 4, the width is too small for a single channel or the bottleneck below 1.
    """

    layers: tuple[str, ...] = ("stage1", "stage2", "pool")

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        depth: int,
        width: float,
        bottleneck: int | None = None,
    ) -> None:
        super().__init__(mean, std)
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(
                f"depth must be 6n + 4 with n at least 1 (10, 16, 22, 28, …) for a wide residual network, not {depth}"
            )
        if int(STEM_CHANNELS * width) < 1:
            raise ValueError(f"with width {width} the first stage has no channels")
        if bottleneck is not None and bottleneck < 1:
            raise ValueError(
                f"bottleneck, the number of units before the classifier, must be at least 1, not {bottleneck}"
            )
        base = int(STEM_CHANNELS * width)
        self.conv = Convolution(3, STEM_CHANNELS, 3)
        self.bn = BatchNorm(STEM_CHANNELS)
        blocks = (depth - 4) // 6
        self.stage1 = _stage(STEM_CHANNELS, base, blocks, stride=1)
        self.stage2 = _stage(base, 2 * base, blocks, stride=2)
        self.stage3 = _stage(2 * base, 4 * base, blocks, stride=2)
        self.bottleneck: nn.Linear | None = None
        if bottleneck is not None:
            self.bottleneck = nn.Linear(4 * base, bottleneck)
            self.layers = (*self.layers, "bottleneck")
        self.classifier = nn.Linear(bottleneck or 4 * base, num_classes)

    @property
    def dropout_places(self) -> tuple[nn.Module, ...]:
        """The residual blocks of the three stages."""
        return (*self.stage1, *self.stage2, *self.stage3)

    def _compute(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = F.relu(self.bn(self.conv(x)), inplace=True)
        stage1 = self.stage1(x)
        stage2 = self.stage2(stage1)
        pool = average_pixels(self.stage3(stage2))
        representations = [stage1, stage2, pool]
        if self.bottleneck is not None:
            pool = self.bottleneck(pool)
            representations.append(pool)
        return self.classifier(pool), representations


def _stage(channels_in: int, channels_out: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(channels_in, channels_out, stride)
    return nn.Sequential(first, *(BasicBlock(channels_out, channels_out, 1) for _ in range(blocks - 1)))
