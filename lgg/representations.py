"""Representations of named layers of any network, collected as it runs (for the losses of Sections 4.1 to 4.3)."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, overload

import torch
from torch import Tensor, nn

#: by a layer's name: its output, and how often that had been written in place by then
_Found = dict[str, tuple[Tensor, int | None]]

#: names under which PyTorch's wrappers keep what they wrap: torch.compile, FSDP, checkpointed activations
WRAPPED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


class Tap(Sequence[Tensor]):
    """The outputs of some layers of a network in its last forward pass, in the order in which the layers were named.

    A sequence of tensors, one for each layer: it can be given to the losses as it is. Until the next forward pass begins it
    holds the last one's tensors, with their graph. A layer that runs several times in a pass has the output of its last
    run. Made by `tap`; ends with `close`, or at the end of a ``with`` block, and the network is as it was.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        network = _unwrapped(model)
        if any(isinstance(module, nn.DataParallel) for module in network.modules()):
            raise ValueError("nn.DataParallel runs copies of a network in threads; use DistributedDataParallel")
        if isinstance(layers, str):
            raise ValueError(f"layers are a list of names; put {layers!r} in a list")
        # as in the network itself, as in what wraps it, and without the wrappers inside it
        modules = {_bare(name): module for name, module in reversed([*network.named_modules()])}
        modules |= dict(model.named_modules()) | dict(network.named_modules())
        if unknown := [name for name in layers if name not in modules]:
            raise ValueError(_no_such_layer(unknown[0], [name for name, _ in network.named_modules()]))
        self.layers = tuple(layers)
        self._found: _Found = {}
        self._handles = [network.register_forward_pre_hook(_Forget(network, self._found))]
        self._handles += [
            modules[name].register_forward_hook(_Keep(modules[name], name, self._found))
            for name in dict.fromkeys(layers)
        ]

    def __len__(self) -> int:
        return len(self.layers)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        name = self.layers[index]
        if name not in self._found:
            raise RuntimeError(self._why_absent(name))
        output, version = self._found[name]
        if version is not None and output._version != version:
            raise RuntimeError(
                f"what follows layer {name!r} has overwritten its output, as nn.ReLU(inplace=True) does; "
                "name the layer that follows, or make that one not work in place"
            )
        return output

    def _why_absent(self, name: str) -> str:
        if not self._handles:
            return f"the tap of {', '.join(self.layers)} is closed; use its representations inside the `with` block"
        if not self._found:
            return (
                "no forward pass has gone through the tapped network yet. Where it was compiled and run before it was tapped, "
                "the compiled code does not know of the tap: call torch.compiler.reset() after tapping"
            )
        return f"layer {name!r} took no part in the last forward pass"

    def close(self) -> None:
        """Take the hooks off the network and let go of the tensors."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._found.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def tap(model: nn.Module, layers: Sequence[str]) -> Tap:
    """Return what collects the outputs of `layers` whenever `model` runs, without changing either.

    Works with any network, autocast, DistributedDataParallel and `torch.compile` (tap before the first run, or call
    ``torch.compiler.reset()`` after tapping). Gradients flow through what is collected.

        with lgg.tap(student, ["layer1", "layer4"]) as ours, lgg.tap(teacher, ["layer1", "layer4"]) as theirs:
            for images, labels in batches:
                with torch.no_grad():
                    teacher(images)
                loss = cross_entropy(student(images), labels) + 25 * GraphDistillation()(ours, theirs, labels)

    Args:
        model: any network.
        layers: names as in ``model.named_modules()``, in the order in which their representations are wanted. Those of a
            network that is compiled, distributed or sharded may be given as in the network itself: "layer1" for
            "module.layer1" or "_orig_mod.layer1". Their outputs must be tensors (B, ...).

    A copy of a tapped network is not tapped. Both can be written to a file; loading such a file as a whole network, rather
    than a state dict, needs this package.

    Raises ValueError for a layer that is not there, with the nearest names, and for nn.DataParallel. A layer whose output is
    no tensor, or a nested one, raises TypeError when it runs. Asking for the representation of a layer that did not run
    raises RuntimeError, and so does one that the next layer has overwritten, which goes unnoticed only under
    `torch.compile` and inference mode.
    """
    return Tap(model, layers)


@dataclass(frozen=True, eq=False)
class _Hook:
    """What a tap hangs on one module.

    A copy of the network, in memory or in a file, takes its hooks along, and must neither take the tensors with it (which
    autograd refuses) nor write into the tap of the original: there a hook becomes `_nothing`.
    """

    module: nn.Module

    def __reduce__(self) -> tuple[Any, ...]:
        return _no_hook, ()


@dataclass(frozen=True, eq=False)
class _Forget(_Hook):
    """Empties `found` before a pass of `module`."""

    found: _Found

    def __call__(self, module: nn.Module, _inputs: Any) -> None:
        if module is self.module:
            self.found.clear()


@dataclass(frozen=True, eq=False)
class _Keep(_Hook):
    """Puts the output of `module` into `found` by its name."""

    name: str
    found: _Found

    def __call__(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        if module is not self.module:
            return
        if not isinstance(output, Tensor):
            raise TypeError(
                f"layer {self.name!r} gives a {type(output).__name__}, not a tensor; name a layer inside it or after it"
            )
        if output.is_nested:
            raise TypeError(
                f"layer {self.name!r} gives a nested tensor, whose inputs have different lengths: nn.TransformerEncoder "
                "does so in evaluation mode where it is given a padding mask. Make it with enable_nested_tensor=False"
            )
        self.found[self.name] = output, _version(output)


def _no_hook() -> Any:
    return _nothing


def _nothing(*_: Any) -> None:
    """Do nothing: the hook of a copied network."""


def _version(output: Tensor) -> int | None:
    """Return how often `output` has been written in place; None where PyTorch does not count."""
    return None if torch.compiler.is_compiling() or output.is_inference() else output._version


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside a compiled, distributed or sharded one."""
    while True:
        names = [*WRAPPED, *(["module"] if isinstance(model, nn.parallel.DistributedDataParallel) else [])]
        inner = [model._modules[name] for name in names if model._modules.get(name) is not None]
        if not inner:
            return model
        (model,) = inner  # type: ignore[assignment]


def _bare(name: str) -> str:
    """Return a module's name without those of the wrappers on the way to it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPED)


def _no_such_layer(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, cutoff=0.4)
    hint = f"near to it are {', '.join(near)}; " if near else ""
    return f"the network has no layer {name!r}; {hint}print(*dict(model.named_modules())) shows all"
