"""The networks, and the one function that builds them by name."""

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

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)


def module_of(name: str) -> str:
    """Return the module, as ``lgg.models.…``, that holds the network `name`; KeyError where there is none."""
    return f"{__name__}.{_EXPORTS[name][0]}"


def build(
    name: str,
    *,
    num_classes: int,
    mean: Sequence[float] = CIFAR10_MEAN,
    std: Sequence[float] = CIFAR10_STD,
    **options: Any,
) -> "ImageClassifier":
    """Return a new network, its weights drawn from torch's generator, those of convolutions with channels last in memory.

    ``model(x)`` takes images (B, 3, H, W) in [0, 1] and gives logits (B, num_classes);
    ``model(x, return_representations=True)`` gives (logits, list of the tensors named by ``model.layers``).

    Args:
        name: "wide_resnet" (options `depth`, `width`) or "preact_resnet18" (options `base_width`, `parseval`,
            `bottleneck`).
        num_classes: number of outputs.
        mean: of each channel, which the network subtracts from its images; that of CIFAR-10 by default.
        std: of each channel, which it then divides by; that of CIFAR-10 by default.

    Raises ValueError for a name or option that does not exist.
    """
    if name not in _EXPORTS:
        raise ValueError(f"there is no network {name!r}; there are {', '.join(sorted(_EXPORTS))}")
    import torch  # here, since recipes read the table above without it

    network = getattr(importlib.import_module(module_of(name)), _EXPORTS[name][1])
    arguments = {"num_classes": num_classes, "mean": mean, "std": std, **options}
    try:
        inspect.signature(network).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"network {name!r} does not take these options: {error}") from None
    model: ImageClassifier = network(**arguments)
    return model.to(memory_format=torch.channels_last)
