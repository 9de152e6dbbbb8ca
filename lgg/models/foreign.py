"""Networks of torchvision and timm and networks in files of your own, as image classifiers with named representations."""

import difflib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lgg.errors import NetworkError
from lgg.models import library
from lgg.models.base import ImageClassifier
from lgg.models.layers import BOTTLENECK, Traced, block_paths, choose, classifier_of, collected, follow, shadow
from lgg.models.own_file import code_digest, import_file, one_line

Stem = Literal["auto", "small", "standard"]
Layers = str | Sequence[str]

#: side in pixels up to which "auto" is the stem for small images
SMALL = 64
#: torchvision's networks with further classifiers inside, which only their first training needs
_AUXILIARY = ("googlenet", "inception_v3")


class ForeignNetwork(ImageClassifier):
    """A network that was not written for this package, with the normalisation in front of it.

    `network` is the original module. Its layers are found by one pass over noise when it is built, and representations are
    collected by hooks while it runs with ``return_representations=True``; without, it runs as it is, apart from two kinds of
    layers in it: in-place dropout works out of place, since it would overwrite representations in training, and adaptive
    pooling has a deterministic gradient on a GPU (`AverageCells`).

    Args:
        network: maps normalised images (B, 3, S, S) to logits (B, num_classes). If it returns a tuple, the first entry is
            taken.
        title: what messages call it.
        code: statements that make it as `network` in plain PyTorch.
        num_classes: number of outputs.
        mean, std: of each channel (3 values each).
        image_size: S in pixels.
        layers: the representations: "stages", "relus", or names and shell patterns of modules; see `lgg.models.layers.choose`.
        stem: "small" makes a first convolution of stride 2 one of stride 1, 7×7 filters of it 3×3, and drops the max-pool
            that follows; "auto" does so for images of at most 64 pixels.
        bottleneck: number of units of an additional linear layer before the classifier, whose output is then the last
            representation, "bottleneck"; None: no such layer.

    Attributes:
        stem: "small" if it was changed, otherwise "standard".
        traced: all layers, of `lgg.models.layers.trace`.
        code: the statements, with those that change the stem and insert a bottleneck.

    Raises NetworkError for a network that does not run on such images or has another number of outputs, for layers that do
    not exist, and where a small stem or a bottleneck cannot be made.
    """

    def __init__(
        self,
        network: nn.Module,
        title: str,
        code: Sequence[str],
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int,
        layers: Layers = "stages",
        stem: Stem = "auto",
        bottleneck: int | None = None,
    ) -> None:
        super().__init__(mean, std)
        self.title = title
        self.code = list(code)
        for module in network.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.inplace = False
            if type(module) is nn.AdaptiveAvgPool2d:
                module.__class__ = AverageCells
        traced = self._follow(network, image_size, num_classes)
        self.stem: Stem = "standard"
        if stem == "small" or (stem == "auto" and image_size <= SMALL):
            changes = _shrink_stem(network, traced, must=stem == "small", title=title)
            if changes:
                self.stem, traced = "small", self._follow(network, image_size, num_classes)
            self.code += changes
        elif stem not in ("auto", "standard"):
            raise NetworkError(f'stem must be "auto", "small" or "standard", not {stem!r}')
        classifier = classifier_of(traced, num_classes)
        self.heads = () if classifier is None else (f"network.{classifier}",)
        narrow = None
        if bottleneck is not None:
            narrow, change = _insert_bottleneck(network, classifier, bottleneck, title)
            self.code.append(change)
            traced = self._follow(network, image_size, num_classes)
        self.network = network
        self.traced = [_renamed(one) if one.place.path == narrow else one for one in traced]
        chosen = choose(self.traced, layers)
        if narrow is not None and chosen[-1].name != BOTTLENECK:
            chosen.append(next(one for one in self.traced if one.name == BOTTLENECK))
        self.layers = tuple(one.name for one in chosen)
        self._places = [one.place for one in chosen]
        self._block_paths = block_paths(traced)

    def _follow(self, network: nn.Module, image_size: int, num_classes: int) -> list[Traced]:
        size = f"images of {image_size} × {image_size} pixels"
        try:
            try:
                traced, output = follow(shadow(network), image_size)
            except Exception:  # such as code that reads values, or makes tensors on another device
                traced, output = follow(network, image_size)
        except Exception as error:  # whatever the code of others raises
            raise NetworkError(
                f"{self.title} cannot process {size}: {one_line(error)}. Use larger images (data.image_size), or another "
                "stem or other arguments of the network, such as img_size where timm's take it"
            ) from error
        logits = _logits(output)
        if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] != num_classes:
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise NetworkError(
                f"{self.title} must return logits (B, {num_classes}), one for each of the {num_classes} classes, but for 2 "
                f"{size} it returns {shape}"
            )
        return traced

    @property
    def dropout_places(self) -> tuple[nn.Module, ...]:
        """The blocks: the innermost modules of several layers that everything passes through; without any, the stages."""
        return tuple(self.network.get_submodule(path) for path in self._block_paths)

    def forward(self, x: Tensor, return_representations: bool = False) -> Any:
        """Return logits (B, C) for images (B, 3, S, S) in [0, 1], with the list of representations if requested."""
        x = (x - self.mean) / self.std
        if not return_representations:
            return _logits(self.network(x))
        with collected(self.network, self._places) as taken:
            logits = _logits(self.network(x))
            return logits, taken(self.layers)


class AverageCells(nn.AdaptiveAvgPool2d):
    """Adaptive average pooling, as in VGG, by products of matrices on a GPU whose results must be reproducible.

    The gradient of PyTorch's own has no deterministic form there, unless a single pixel is left.
    """

    def forward(self, x: Tensor) -> Tensor:
        size = self.output_size if isinstance(self.output_size, tuple) else (self.output_size,) * 2
        if size == (1, 1) or not (x.is_cuda and torch.are_deterministic_algorithms_enabled()):
            return super().forward(x)
        return average_cells(x, size)


def average_cells(x: Tensor, size: Sequence[int | None]) -> Tensor:
    """Return what ``F.adaptive_avg_pool2d`` does: means of (B, C, H, W) over a grid of `size` cells, which may overlap."""
    rows, columns = (_weights(length, cells or length, x) for length, cells in zip(x.shape[-2:], size, strict=True))
    return rows @ x @ columns.T


def _weights(length: int, cells: int, like: Tensor) -> Tensor:
    """Return the matrix (cells, length) that averages cell i from ⌊i·length/cells⌋ to before ⌈(i + 1)·length/cells⌉."""
    cell = torch.arange(cells, device=like.device)[:, None]
    place = torch.arange(length, device=like.device)
    inside = (place >= cell * length // cells) & (place < ((cell + 1) * length + cells - 1) // cells)
    return (inside / inside.sum(dim=1, keepdim=True)).to(like.dtype)


class TorchvisionNetwork(ForeignNetwork):
    """A classification network of torchvision.

    Args:
        model: as in ``torchvision.models.list_models()``.
        arguments: those of its constructor.
        num_classes, mean, std, image_size, layers, stem, bottleneck: see `ForeignNetwork`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int,
        model: str,
        arguments: Mapping[str, Any] | None = None,
        layers: Layers = "stages",
        stem: Stem = "auto",
        bottleneck: int | None = None,
    ) -> None:
        models = library("torchvision", f"the network {model!r}").models
        names = models.list_models(module=models)
        if model not in names:
            raise NetworkError(f"torchvision has no classification network {model!r}; {_near(model, names)}")
        given = _without_weights(dict(arguments or {}), ("weights",))
        if model in _AUXILIARY:
            given = {"aux_logits": False, "init_weights": True, **given}
        if model.startswith("vit_"):
            given = {"image_size": image_size, **given}
        title = f"torchvision's {model}"
        given = {"weights": None, "num_classes": num_classes, **given}
        network = _constructed(title, models.get_model, model, **given)
        super().__init__(
            network,
            title,
            ["import torchvision", f"network = torchvision.models.get_model({_call(repr(model), given)})"],
            num_classes=num_classes,
            mean=mean,
            std=std,
            image_size=image_size,
            layers=layers,
            stem=stem,
            bottleneck=bottleneck,
        )


class TimmNetwork(ForeignNetwork):
    """A network of timm, which must be installed.

    Args:
        model: as in ``timm.list_models()``.
        arguments: those of ``timm.create_model``.
        num_classes, mean, std, image_size, layers, stem, bottleneck: see `ForeignNetwork`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int,
        model: str,
        arguments: Mapping[str, Any] | None = None,
        layers: Layers = "stages",
        stem: Stem = "auto",
        bottleneck: int | None = None,
    ) -> None:
        timm = library("timm", f"the network {model!r}")
        if ":" in model:
            raise NetworkError(
                f"{model!r} is described on a hub, from where it would be fetched wherever the network is built; give the "
                "name of its architecture and a file of its weights"
            )
        if not timm.is_model(model.partition(".")[0]):
            raise NetworkError(f"timm has no network {model!r}; {_near(model, timm.list_models())}")
        given = _without_weights(
            dict(arguments or {}), ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")
        )
        settings = timm.get_pretrained_cfg(model.partition(".")[0])
        if settings is not None and settings.fixed_input_size:
            given = {"img_size": image_size, **given}
        title = f"timm's {model}"
        given = {"pretrained": False, "num_classes": num_classes, **given}
        network = _constructed(title, timm.create_model, model, **given)
        super().__init__(
            network,
            title,
            ["import timm", f"network = timm.create_model({_call(repr(model), given)})"],
            num_classes=num_classes,
            mean=mean,
            std=std,
            image_size=image_size,
            layers=layers,
            stem=stem,
            bottleneck=bottleneck,
        )


class FileNetwork(ForeignNetwork):
    """A network that a Python file of your own defines.

    Args:
        path: the file. Its folder can be imported from while it is loaded.
        class_name: a subclass of nn.Module in it, or a function that returns a network; ``class`` in configurations. It is
            called with `arguments`, and with `num_classes` if it takes that.
        digest: of the code that is meant (`lgg.models.own_file.code_digest`); None for any.
        arguments: those of the class.
        num_classes, mean, std, image_size, layers, stem, bottleneck: see `ForeignNetwork`; the network is as the file has
            it unless a small stem is asked for.

    Raises NetworkError also if the file is missing, does not run, or is not the one of `digest`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int,
        path: str,
        class_name: str,
        digest: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        layers: Layers = "stages",
        stem: Stem = "standard",
        bottleneck: int | None = None,
    ) -> None:
        title = f"{class_name} of {path}"
        found = code_digest(path)
        if digest not in (None, found):
            raise NetworkError(
                f"{path}: its code is not the one that this network was built with (digest {found}, not {digest}). Undo the "
                "change, or run the pipeline again"
            )
        maker = getattr(import_file(path, found), class_name, None)
        if not callable(maker):
            raise NetworkError(f"{path}: there is no class {class_name!r} in it")
        given = dict(arguments or {})
        if _takes(maker, "num_classes"):
            given = {"num_classes": num_classes, **given}
        network = _constructed(title, maker, **given)
        if not isinstance(network, nn.Module):
            raise NetworkError(f"{title} is not an nn.Module, but a {type(network).__name__}")
        if isinstance(network, ImageClassifier):
            raise NetworkError(
                f"{title} is an ImageClassifier, which normalises images itself: register it in lgg/models/__init__.py "
                "instead, or derive it from nn.Module"
            )
        super().__init__(
            network,
            title,
            [f"from {Path(path).stem} import {class_name}", f"network = {class_name}({_call(given)})"],
            num_classes=num_classes,
            mean=mean,
            std=std,
            image_size=image_size,
            layers=layers,
            stem=stem,
            bottleneck=bottleneck,
        )


def _constructed(title: str, maker: Callable[..., Any], *args: Any, **given: Any) -> Any:
    try:
        return maker(*args, **given)
    except Exception as error:  # whatever the code of others raises
        raise NetworkError(
            f"{title} cannot be built with the arguments {_call(given) or '(none)'}: {one_line(error)}"
        ) from error


def _call(*given: Any) -> str:
    """Return arguments as in the text of a call: texts, and mappings of those that are named."""
    parts = [[one] if isinstance(one, str) else [f"{name}={value!r}" for name, value in one.items()] for one in given]
    return ", ".join(part for some in parts for part in some)


def _takes(maker: Callable[..., Any], argument: str) -> bool:
    try:
        parameters = inspect.signature(maker).parameters
    except (TypeError, ValueError):
        return False
    return argument in parameters


def _without_weights(arguments: dict[str, Any], refused: Sequence[str]) -> dict[str, Any]:
    for name in refused:
        if arguments.get(name):
            raise NetworkError(
                f"the argument {name!r} would download weights wherever the network is built; use `pretrained: true` of the "
                "configuration, or `weights` with a file"
            )
    return {name: value for name, value in arguments.items() if name not in refused}


def _near(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, cutoff=0.5)
    return f"the closest names are {', '.join(near)}" if near else f"there are {', '.join(names[:20])} and others"


def _logits(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def _renamed(one: Traced) -> Traced:
    return Traced(**{**vars(one), "name": BOTTLENECK})


def _shrink_stem(network: nn.Module, traced: Sequence[Traced], *, must: bool, title: str) -> list[str]:
    """Make the first convolution one of stride 1, drop the max-pool that follows it; return the changes as code."""
    modules = [(one.place.path, network.get_submodule(one.place.path)) for one in traced if not one.place.is_input]
    place = next((place for place, (_, module) in enumerate(modules) if isinstance(module, nn.Conv2d)), None)
    first = None if place is None else modules[place][1]
    if place is None or not isinstance(first, nn.Conv2d) or max(first.stride) == 1:
        return []
    if min(first.kernel_size) <= max(first.stride):
        if must:
            size = "×".join(map(str, first.kernel_size))
            raise NetworkError(
                f'{title} cuts images into patches of {size}, which stem: "small" cannot change: use an argument of the '
                'network for smaller patches, if it has one, and stem: "standard"'
            )
        return []
    changes = [_refine(network, modules[place][0], first)]
    for path, module in modules[place + 1 :]:
        if isinstance(module, nn.MaxPool2d) and _stride(module) > 1:
            network.set_submodule(path, nn.Identity())
            changes.append(f"network.set_submodule({path!r}, torch.nn.Identity())")
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and _stride(module) > 1:
            break
    return changes


def _stride(module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) -> int:
    return module.stride if isinstance(module.stride, int) else max(module.stride)


def _refine(network: nn.Module, path: str, old: nn.Conv2d) -> str:
    """Make a convolution one of stride 1, with 3×3 filters in place of 7×7 or more: the centres of those that were drawn."""
    size = min(old.kernel_size)
    if size < 7:
        old.stride = (1, 1)
        return f"network.get_submodule({path!r}).stride = (1, 1)"
    new = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, groups=old.groups, bias=old.bias is not None)
    new.bias = old.bias
    margin = (size - 3) // 2
    # scaled, so that outputs have the variance that they would have had: sums of 3² products instead of size²
    new.weight = nn.Parameter(old.weight.detach()[..., margin : margin + 3, margin : margin + 3] * (size / 3))
    network.set_submodule(path, new)
    given = {"padding": 1, "groups": old.groups, "bias": old.bias is not None}
    made = f"torch.nn.Conv2d({_call(str(old.in_channels), str(old.out_channels), '3', given)})"
    return f"network.set_submodule({path!r}, {made})"


def _insert_bottleneck(network: nn.Module, path: str | None, units: int, title: str) -> tuple[str, str]:
    """Put a linear layer of so many units before the classifier; return its path, and the change as code."""
    if units < 1:
        raise NetworkError(f"bottleneck, the number of units before the classifier, must be at least 1, not {units}")
    last = None if path is None else network.get_submodule(path)
    if path is None or not isinstance(last, nn.Linear):
        raise NetworkError(f"{title} has no linear layer as its classifier, before which a bottleneck could be placed")
    biased = {"bias": last.bias is not None}
    layers = {
        BOTTLENECK: nn.Linear(last.in_features, units),
        "classifier": nn.Linear(units, last.out_features, **biased),
    }
    network.set_submodule(path, nn.Sequential(OrderedDict(layers)).to(last.weight))
    made = [
        f"{BOTTLENECK}=torch.nn.Linear({last.in_features}, {units})",
        f"classifier=torch.nn.Linear({_call(str(units), str(last.out_features), biased)})",
    ]
    change = f"network.set_submodule({path!r}, torch.nn.Sequential(collections.OrderedDict({', '.join(made)})))"
    return f"{path}.{BOTTLENECK}", change
