"""Representations of named layers of any network, collected by forward hooks (for the losses of Sections 4.1 to 4.3)."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, overload

import torch
from torch import Tensor, nn

#: layer name: (output, the output's version when it was collected)
_Found = dict[str, tuple[Tensor, int | None]]

#: names of wrapped modules inside PyTorch's wrappers: torch.compile, FSDP, checkpointed activations
WRAPPED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


class Tap(Sequence[Tensor]):
    """The outputs of selected layers in a network's last forward pass, in the order in which the layers were named.

    A sequence with one tensor per layer, which can be passed to the losses. It holds the tensors and their autograd graph
    until the next forward pass begins. For a layer that runs several times in a pass it holds the last output, or that of
    the run whose number follows the name. Created by `tap`; `close`, or the end of a ``with`` block, removes it from the
    network.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        network = _unwrapped(model)
        if any(isinstance(module, nn.DataParallel) for module in network.modules()):
            raise ValueError(
                "nn.DataParallel, which runs copies of a network, is not supported; use DistributedDataParallel"
            )
        if isinstance(layers, str):
            raise ValueError(f"layers must be a list of names; put {layers!r} in a list")
        # names without the wrappers inside the network, as in the wrapped model, and as in the network itself
        modules = {_bare(name): module for name, module in reversed([*network.named_modules()])}
        modules |= dict(model.named_modules()) | dict(network.named_modules())
        runs = {name: (name, None) if name in modules else _run(name) for name in layers}
        if unknown := [name for name, (path, _) in runs.items() if path not in modules]:
            raise ValueError(_no_such_layer(unknown[0], [name for name, _ in network.named_modules()]))
        self.layers = tuple(layers)
        self._found: _Found = {}
        self._runs: dict[str, int] = {}
        self._handles = [network.register_forward_pre_hook(_Forget(network, self._found, self._runs))]
        self._handles += [
            modules[path].register_forward_hook(_Keep(modules[path], name, self._found, run, self._runs))
            for name, (path, run) in runs.items()
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
                f"the output of layer {name!r} was overwritten by the layer after it, as nn.ReLU(inplace=True) does; "
                "tap the layer after it instead, or make that one work out of place"
            )
        return output

    def _why_absent(self, name: str) -> str:
        if not self._handles:
            return f"the tap of {', '.join(self.layers)} is closed; use its representations inside the `with` block"
        if name in self._runs:
            return f"layer {name!r} does not exist: the module ran {self._runs[name]} times in the last forward pass"
        if not self._found:
            return (
                "the tapped network has not run yet. If it was compiled and run before it was tapped, the compiled code "
                "does not include the tap: call torch.compiler.reset() after tapping"
            )
        return f"layer {name!r} did not run in the last forward pass"

    def close(self) -> None:
        """Remove the hooks from the network and release the tensors."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._found.clear()
        self._runs.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def tap(model: nn.Module, layers: Sequence[str]) -> Tap:
    """Return a `Tap`, a sequence of the outputs of `layers` in the last forward pass of `model`.

    Works with any network, autocast, DistributedDataParallel and `torch.compile` (tap before the first run, or call
    ``torch.compiler.reset()`` after tapping). Outputs are not changed, and gradients flow through them.

        with lgg.tap(student, ["layer1", "layer4"]) as ours, lgg.tap(teacher, ["layer1", "layer4"]) as theirs:
            for images, labels in batches:
                with torch.no_grad():
                    teacher(images)
                loss = cross_entropy(student(images), labels) + 25 * GraphDistillation()(ours, theirs, labels)

    Args:
        model: any network.
        layers: names as in ``model.named_modules()``, in the order of the returned representations. For a compiled,
            distributed or sharded network, names may omit the wrapper: "layer1" for "module.layer1" or
            "_orig_mod.layer1". Their outputs must be tensors (B, ...). Of a module that runs several times in a pass, as
            the ReLU that the layers of a block share, "layer1.0.relu#1" is the first run, "layer1.0.relu#2" the second; the
            name alone is the last.

    A copy of a tapped network is not tapped. Both can be saved; loading a file with a whole network, rather than a state
    dict, requires this package.

    Raises ValueError for an unknown layer, with the closest names, and for nn.DataParallel. A layer whose output is not a
    tensor, or is nested, raises TypeError when it runs. Reading the representation of a layer that did not run, or that the
    next layer has overwritten in place, raises RuntimeError; under `torch.compile` and in inference mode overwriting is not
    detected.
    """
    return Tap(model, layers)


@dataclass(frozen=True, eq=False)
class _Hook:
    """A hook of a tap on one module.

    Copying or saving a network copies its hooks. A copied hook must neither contain the tensors, which autograd does not
    allow, nor write into the tap of the original, so it becomes `_nothing`.
    """

    module: nn.Module

    def __reduce__(self) -> tuple[Any, ...]:
        return _no_hook, ()


@dataclass(frozen=True, eq=False)
class _Forget(_Hook):
    """Clears `found` and `runs` before a forward pass of `module`."""

    found: _Found
    runs: dict[str, int]

    def __call__(self, module: nn.Module, _inputs: Any) -> None:
        if module is self.module:
            self.found.clear()
            self.runs.clear()


@dataclass(frozen=True, eq=False)
class _Keep(_Hook):
    """Stores the output of run number `run` of `module`, or of its last, in `found` under `name`; counts in `runs`."""

    name: str
    found: _Found
    run: int | None
    runs: dict[str, int]

    def __call__(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        if module is not self.module:
            return
        if self.run is not None:
            self.runs[self.name] = self.runs.get(self.name, 0) + 1
            if self.runs[self.name] != self.run:
                return
        if not isinstance(output, Tensor):
            raise TypeError(
                f"layer {self.name!r} returns a {type(output).__name__}, not a tensor; tap a layer inside it or after it"
            )
        if output.is_nested:
            raise TypeError(
                f"layer {self.name!r} returns a nested tensor, whose inputs have different lengths: nn.TransformerEncoder "
                "does so in evaluation mode if it is given a padding mask. Create it with enable_nested_tensor=False"
            )
        self.found[self.name] = output, _version(output)


def _no_hook() -> Any:
    return _nothing


def _nothing(*_: Any) -> None:
    """Do nothing: the hook of a copied network."""


def _version(output: Tensor) -> int | None:
    """Return how often `output` has been modified in place; None if PyTorch does not count."""
    return None if torch.compiler.is_compiling() or output.is_inference() else output._version


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside a compiled, distributed or sharded one."""
    while True:
        names = [*WRAPPED, *(["module"] if isinstance(model, nn.parallel.DistributedDataParallel) else [])]
        inner = [model._modules[name] for name in names if model._modules.get(name) is not None]
        if not inner:
            return model
        (model,) = inner  # type: ignore[assignment]


def _run(name: str) -> tuple[str, int | None]:
    """Return the path and the number of the run in "path#number"; the name and None if it is no such name."""
    path, _, number = name.rpartition("#")
    return (path, int(number)) if number.isdecimal() and int(number) > 0 else (name, None)


def _bare(name: str) -> str:
    """Return a module's name without the names of wrappers in it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPED)


def _no_such_layer(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, cutoff=0.4)
    hint = f"the closest names are {', '.join(near)}; " if near else ""
    return f"the network has no layer {name!r}; {hint}print(*dict(model.named_modules())) lists all"
