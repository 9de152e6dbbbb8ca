"""The pre-activation ResNet18 of Sections 3, 4.2 and 4.3 (He et al. 2016)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lgg.models.base import Convolution, ImageClassifier, PointwiseConvolution, average_pixels
from lgg.models.normalization import BatchNorm


class PreActBlock(nn.Module):
    """bn-relu-conv-bn-relu-conv plus shortcut; if the shape changes, the shortcut is a 1×1 convolution of the first relu.

    With `parseval` the convolutions are scaled, and the output is the mean of branch and shortcut in place of their sum, a
    convex combination (Cisse et al. 2017).
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, *, parseval: bool = False) -> None:
        super().__init__()
        self.bn1 = BatchNorm(channels_in)
        self.conv1 = Convolution(channels_in, channels_out, 3, stride, scaled=parseval)
        self.bn2 = BatchNorm(channels_out)
        # the mean's ½ is a factor of the weights where there are any
        part = 0.5 if parseval else 1.0
        self.conv2 = Convolution(channels_out, channels_out, 3, scaled=parseval, share=part)
        self.shortcut: PointwiseConvolution | None = None
        self.kept = part
        if stride != 1 or channels_in != channels_out:
            self.shortcut = PointwiseConvolution(channels_in, channels_out, stride, scaled=parseval, share=part)
            self.kept = 1.0

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the block's output and the outputs of its two ReLUs."""
        first = F.relu(self.bn1(x), inplace=True)
        second = F.relu(self.bn2(self.conv1(first)), inplace=True)
        residual = x if self.shortcut is None else self.shortcut(first)
        return self.conv2(second).add_(residual, alpha=self.kept), [first, second]


class PreActResNet18(ImageClassifier):
    """Pre-activation ResNet18 for small images: eight blocks with w, w, 2w, 2w, 4w, 4w, 8w, 8w channels.

    Representations: the outputs of all 17 ReLUs, two in each block and the one before pooling, all non-negative. The
    output of block b after its ReLU is thus the first representation of block b + 1. With base width 64 and 10 classes
    the network has 11,171,146 parameters. As in the published code, there is no batch normalisation before the last ReLU.

    Args:
        num_classes: number of outputs.
        mean: mean of each channel (3 values), subtracted from the images.
        std: standard deviation of each channel (3 values), which they are then divided by.
        base_width: w.
        parseval: scale the weight of every convolution by 1/√(2·kh·kw + 1) in the forward pass, and use the mean of branch
            and shortcut in place of their sum, as in Parseval networks (Cisse et al. 2017).
        bottleneck: number of units of an additional linear layer between pooling and classifier, whose output is the last
            representation and the only one with negative values; None: no such layer.

    Raises ValueError for a width or bottleneck below 1.
    """

    # written out, since the pipeline reads them without importing the class
    layers: tuple[str, ...] = (
        "block1.relu1", "block1.relu2", "block2.relu1", "block2.relu2", "block3.relu1", "block3.relu2",
        "block4.relu1", "block4.relu2", "block5.relu1", "block5.relu2", "block6.relu1", "block6.relu2",
        "block7.relu1", "block7.relu2", "block8.relu1", "block8.relu2", "final.relu",
    )  # fmt: skip

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        base_width: int = 64,
        parseval: bool = False,
        bottleneck: int | None = None,
    ) -> None:
        super().__init__(mean, std)
        if base_width < 1:
            raise ValueError(
                f"base_width, the number of channels of the first blocks, must be at least 1, not {base_width}"
            )
        if bottleneck is not None and bottleneck < 1:
            raise ValueError(
                f"bottleneck, the number of units before the classifier, must be at least 1, not {bottleneck}"
            )
        self.conv = Convolution(3, base_width, 3, scaled=parseval)
        widths = [base_width * factor for factor in (1, 1, 2, 2, 4, 4, 8, 8)]
        strides = (1, 1, 2, 1, 2, 1, 2, 1)
        self.blocks = nn.ModuleList(
            PreActBlock(before, width, stride, parseval=parseval)
            for before, width, stride in zip([base_width, *widths[:-1]], widths, strides, strict=True)
        )
        self.bottleneck: nn.Linear | None = None
        if bottleneck is not None:
            self.bottleneck = nn.Linear(widths[-1], bottleneck)
            self.layers = (*self.layers, "bottleneck")
        self.classifier = nn.Linear(bottleneck or widths[-1], num_classes)

    def _compute(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.conv(x)
        representations: list[Tensor] = []
        for block in self.blocks:
            x, relus = block(x)
            representations += relus
        last = F.relu(x, inplace=True)
        representations.append(last)
        pooled = average_pixels(last)
        if self.bottleneck is not None:
            pooled = self.bottleneck(pooled)
            representations.append(pooled)
        return self.classifier(pooled), representations
