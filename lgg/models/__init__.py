"""The networks of the paper, and those of torchvision, timm and files of your own, built by name."""

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

# those that were not written for this package, whose layers are found by running them: name: (module, class)
_FOREIGN = {
    "torchvision": ("foreign", "TorchvisionNetwork"),
    "timm": ("foreign", "TimmNetwork"),
    "file": ("foreign", "FileNetwork"),
}

__all__ = ["CIFAR10_MEAN", "CIFAR10_STD", "build"]

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)


def __dir__() -> list[str]:
    return sorted(__all__)


def is_foreign(name: str) -> bool:
    """Return whether `name` is that of networks that were not written for this package, which need an `image_size`."""
    return name in _FOREIGN


def module_of(name: str) -> str:
    """Return the full name of the module of the network `name`; KeyError if there is none."""
    return f"{__name__}.{(_EXPORTS | _FOREIGN)[name][0]}"


def library(name: str, wanted: str) -> Any:
    """Return the library `name`, which this package does not require; NetworkError if `wanted` of it cannot be had."""
    from lgg.errors import NetworkError

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NetworkError(f"{wanted} needs the package {name}: pip install {name} ({error})") from None


def build(
    name: str,
    *,
    num_classes: int,
    mean: Sequence[float] = CIFAR10_MEAN,
    std: Sequence[float] = CIFAR10_STD,
    image_size: int | None = None,
    **options: Any,
) -> "ImageClassifier":
    """Return a new network in channels-last memory format, with weights drawn from torch's generator.

    ``model(x)`` maps images (B, 3, H, W) in [0, 1] to logits (B, num_classes);
    ``model(x, return_representations=True)`` returns the logits and a list of the tensors named in ``model.layers``.

    Args:
        name: "wide_resnet" (options `depth`, `width`, `bottleneck`), "preact_resnet18" (options `base_width`, `parseval`,
            `bottleneck`), "torchvision" or "timm" (options `model`, `arguments`, `layers`, `stem`, `bottleneck`), or "file"
            (options `path`, `class`, `digest`, and those but `model`).
        num_classes: number of outputs.
        mean: mean of each channel, subtracted from the images; that of CIFAR-10 by default.
        std: standard deviation of each channel, which they are then divided by; that of CIFAR-10 by default.
        image_size: side of the images in pixels, which "torchvision", "timm" and "file" need; the others take any.

    Raises ValueError for an unknown name or option; NetworkError, which is one, where a network of other origin cannot be
    built for such images.
    """
    known = _EXPORTS | _FOREIGN
    if name not in known:
        raise ValueError(f"there is no network {name!r}; there are {', '.join(sorted(known))}")
    import torch  # imported here, since recipes read the tables above without torch

    network = getattr(importlib.import_module(module_of(name)), known[name][1])
    arguments = {"num_classes": num_classes, "mean": mean, "std": std, **options}
    if is_foreign(name):
        if image_size is None:
            raise ValueError(f"network {name!r} needs image_size, the side of the images in pixels")
        arguments["image_size"] = image_size
        if "class" in arguments:  # no name that Python allows for an argument
            arguments["class_name"] = arguments.pop("class")
    _place_parseval(name, network, arguments)
    try:
        inspect.signature(network).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"network {name!r} does not accept these options: {error}") from None
    model: ImageClassifier = network(**arguments)
    return model.to(memory_format=torch.channels_last)


def _place_parseval(name: str, network: Any, arguments: dict[str, Any]) -> None:
    """Hand the argument `parseval` on to the class in a file of your own; NetworkError if a network has no such argument."""
    if not arguments.get("parseval") or "parseval" in inspect.signature(network).parameters:
        return
    if name != "file":
        from lgg.errors import NetworkError

        raise NetworkError(
            f"the defence parseval needs a network whose class takes the argument `parseval`: it scales convolutions and "
            f"averages residuals, as preact_resnet18 does, but {name!r} does not. Leave the defence out, or use such a network"
        )
    arguments["arguments"] = {**(arguments.get("arguments") or {}), "parseval": arguments.pop("parseval")}
