"""The networks of the paper, built by name."""

import importlib
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lgg.models.base import ImageClassifier

# name: (module, class)
_EXPORTS = {
    "wide_resnet": ("wide_resnet", "WideResNet"),
    "preact_resnet18": ("preact_resnet", "PreActResNet18"),
}

__all__ = ["CIFAR10_MEAN", "CIFAR10_STD", "build"]

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)


def __dir__() -> list[str]:
    return sorted(__all__)


def module_of(name: str) -> str:
    """Return the full name of the module of the network `name`; KeyError if there is none."""
    return f"{__name__}.{_EXPORTS[name][0]}"


def build(
    name: str,
    *,
    num_classes: int,
    mean: Sequence[float] = CIFAR10_MEAN,
    std: Sequence[float] = CIFAR10_STD,
    **options: Any,
) -> "ImageClassifier":
    """Return a new network in channels-last memory format, with weights drawn from torch's generator.

    ``model(x)`` maps images (B, 3, H, W) in [0, 1] to logits (B, num_classes);
    ``model(x, return_representations=True)`` returns the logits and a list of the tensors named in ``model.layers``.

    Args:
        name: "wide_resnet" (options `depth`, `width`) or "preact_resnet18" (options `base_width`, `parseval`,
            `bottleneck`).
        num_classes: number of outputs.
        mean: mean of each channel, subtracted from the images; that of CIFAR-10 by default.
        std: standard deviation of each channel, which they are then divided by; that of CIFAR-10 by default.

    Raises ValueError for an unknown name or option.
    """
    if name not in _EXPORTS:
        raise ValueError(f"there is no network {name!r}; there are {', '.join(sorted(_EXPORTS))}")
    import torch  # imported here, since recipes read the table above without torch

    network = getattr(importlib.import_module(module_of(name)), _EXPORTS[name][1])
    arguments = {"num_classes": num_classes, "mean": mean, "std": std, **options}
    try:
        inspect.signature(network).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"network {name!r} does not accept these options: {error}") from None
    model: ImageClassifier = network(**arguments)
    return model.to(memory_format=torch.channels_last)
