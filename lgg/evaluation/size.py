"""The size of a network: number of parameters, operations per image, shapes on the way through it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lgg.models.base import ImageClassifier

if TYPE_CHECKING:
    from lgg.models.preact_resnet import PreActResNet18


def count_parameters(model: ImageClassifier) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_operations(model: ImageClassifier, side: int = 32) -> int:
    """Return the number of multiply-accumulate operations for one image of side `side`.

    Those of convolutions, linear layers, attention and other products of matrices; what adds or scales counts nothing.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad(), _attention_as_products():
        model(_blank(model, side))
    return int(counter.get_total_flops()) // 2  # a multiplication and an addition each


@contextmanager
def _attention_as_products() -> Iterator[None]:
    """Let PyTorch compute attention by products of matrices, which are counted, where it has a kernel of its own."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def step_shapes(model: ImageClassifier, side: int = 32) -> list[tuple[str, tuple[int, ...]]]:
    """Return the name and the output shape, without the batch axis, of each step of Figure 1 for one image of side `side`.

    The steps of the pre-activation ResNet18 are its blocks and what is around them, those of other networks their
    representations between image and logits. `model` is in evaluation mode.
    """
    from lgg.models.preact_resnet import PreActResNet18

    image = _blank(model, side)
    with torch.no_grad():
        if isinstance(model, PreActResNet18):
            steps = _block_outputs(model, image)
        else:
            logits, representations = model(image, return_representations=True)
            steps = [("image", image), *zip(model.layers, representations, strict=True), ("logits", logits)]
    return [(name, tuple(output.shape[1:])) for name, output in steps]


def _block_outputs(model: "PreActResNet18", image: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    steps = [("image", image), ("conv", model.conv(image))]
    for number, block in enumerate(model.blocks, start=1):
        steps.append((f"block {number}", block(steps[-1][1])[0]))
    steps.append(("pooling", steps[-1][1].mean(dim=(2, 3))))
    if model.bottleneck is not None:
        steps.append(("bottleneck", model.bottleneck(steps[-1][1])))
    return [*steps, ("linear", model.classifier(steps[-1][1]))]


def _blank(model: ImageClassifier, side: int) -> torch.Tensor:
    return torch.zeros(1, 3, side, side, device=model.mean.device)
