"""The size of a network: number of parameters, operations per image, shapes of its blocks."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lgg.models.base import ImageClassifier

if TYPE_CHECKING:
    from lgg.models.preact_resnet import PreActResNet18


def count_parameters(model: ImageClassifier) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_operations(model: ImageClassifier, side: int = 32) -> int:
    """Return the number of multiply-accumulate operations of convolutions and linear layers for one image of side `side`."""
    operations = 0

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal operations
        weight = module.weight
        # each output value is a sum over one filter or matrix row
        operations += output[0].numel() * weight[0].numel()  # type: ignore[index]

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, side, side, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return operations


def block_shapes(model: "PreActResNet18", side: int = 32) -> list[tuple[str, tuple[int, ...]]]:
    """Return the name and the output shape, without the batch axis, of each step of Figure 1 for one image of side `side`."""
    steps = [("image", torch.zeros(1, 3, side, side))]
    with torch.no_grad():
        steps.append(("conv", model.conv(steps[-1][1])))
        for number, block in enumerate(model.blocks, start=1):
            steps.append((f"block {number}", block(steps[-1][1])[0]))
        steps.append(("pooling", steps[-1][1].mean(dim=(2, 3))))
        steps.append(("linear", model.classifier(steps[-1][1])))
    return [(name, tuple(output.shape[1:])) for name, output in steps]
