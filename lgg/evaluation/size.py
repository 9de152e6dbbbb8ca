"""How large a network is: parameters, operations for one image, shapes of its blocks."""

from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from lgg.models.base import ImageClassifier

if TYPE_CHECKING:
    from lgg.models.preact_resnet import PreActResNet18


def count_parameters(model: ImageClassifier) -> int:
    """Return the number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_operations(model: ImageClassifier, side: int = 32) -> int:
    """Return the multiply-accumulate operations of convolutions and linear layers for one image of `side` pixels."""
    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, side, side, device=device))
    return int(counter.get_total_flops()) // 2


def block_shapes(model: "PreActResNet18", side: int = 32) -> list[tuple[str, tuple[int, ...]]]:
    """Return name and output shape, without the batch, of each step of Figure 1 for one image of `side` pixels."""
    steps = [("image", torch.zeros(1, 3, side, side))]
    with torch.no_grad():
        steps.append(("conv", model.conv(steps[-1][1])))
        for number, block in enumerate(model.blocks, start=1):
            steps.append((f"block {number}", block(steps[-1][1])[0]))
        steps.append(("pooling", steps[-1][1].mean(dim=(2, 3))))
        steps.append(("linear", model.classifier(steps[-1][1])))
    return [(name, tuple(output.shape[1:])) for name, output in steps]
