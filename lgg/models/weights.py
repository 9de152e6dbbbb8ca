"""Weights in files of others and in those of this package: reading them, and loading them into a network."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from lgg.errors import WeightsError
from lgg.files import naming, read_tensors_metadata
from lgg.models.base import ImageClassifier

#: keys under which training scripts store the state dict of a network
_WRAPPED = ("state_dict", "model", "model_state_dict")
#: prefixes of wrapped networks: DistributedDataParallel, torch.compile
_WRAPPERS = ("module.", "_orig_mod.")
#: weights of torchvision's GoogLeNet and Inception that only their first training needs
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
#: what this package's networks normalise images by
_CONSTANTS = ("mean", "std")
#: mismatches that a message lists
SHOWN = 5


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors in a file of weights, by name, on the CPU.

    The file is in the format safetensors, or written by ``torch.save``: a state dict, or a dict with one under "state_dict",
    "model" or "model_state_dict". The prefixes "module." and "_orig_mod." are removed. Nothing in it is run.

    Raises WeightsError for a missing or damaged file, one that holds a pickled module or no state dict, and for values that
    are not finite, with the tensor's name; OSError if the file cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    state = _without_wrappers(_read_safetensors(path) if _is_safetensors(path) else _read_pytorch(path))
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(
                f"{path}: {name} holds values that are not finite (NaN or infinite), as after a training that diverged. Use "
                "the weights of an earlier epoch"
            )
    return state


def read_header(path: str | Path) -> dict[str, Any]:
    """Return what the header of a safetensors file states about the network, among it `mean`, `std` and `source` if known.

    Of this package's model files it is the architecture; of the files of `lgg.export` and `lgg.models.pretrained` what these
    write. Empty for other files. Raises WeightsError if the file is missing or damaged.
    """
    header = _read_notes(path)
    return dict(header.get("architecture", header))


def check_classes(path: str | Path, classes: Sequence[str]) -> list[str]:
    """Return a line for the log if a file of weights states other classes than those of the images, in order.

    Raises WeightsError if they are the same in another order, for a network that is used as it is.
    """
    theirs = _read_notes(path).get("classes")
    if not theirs or list(theirs) == list(classes):
        return []
    if sorted(theirs) == sorted(classes):
        raise WeightsError(
            f"{path}: the file's classes have another order than those of the images: {_some('the file has', theirs)}; "
            f"{_some('the images have', classes)}. So its outputs would be taken for other classes: number the images' as the "
            "file does, or order the rows of the network's last layer as the images' classes"
        )
    return [
        f"{path}: states other names of classes than the images have: {_some('the file has', theirs)}; "
        f"{_some('the images have', classes)}. Its outputs are taken in their order."
    ]


def _read_notes(path: str | Path) -> dict[str, Any]:
    """Return what this package wrote into the header of a safetensors file; empty for other files."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    if not _is_safetensors(path):
        return {}
    try:
        header = json.loads(read_tensors_metadata(path).get("lgg", "{}"))
    except ValueError as error:
        raise WeightsError(f"{path}: damaged: {error}. Get the file again") from None
    return header if isinstance(header, dict) else {}


def _is_safetensors(path: Path) -> bool:
    with naming(path), path.open("rb") as file:
        start = file.read(9)
    return path.suffix == ".safetensors" or start[8:] == b"{"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with naming(path):
        content = path.read_bytes()
    try:
        return dict(load(content))
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{path}: damaged, or not in the format safetensors: {error}. Get the file again") from None


def _read_pytorch(path: Path) -> dict[str, Tensor]:
    with naming(path):
        file = path.read_bytes()
    try:
        content = torch.load(io.BytesIO(file), map_location="cpu", weights_only=True)
    except Exception as error:  # of damaged files PyTorch raises many kinds
        # an archive, or in the former format a pickle
        if not file.startswith((b"PK", b"\x80")) or "Weights only load failed" not in str(error):
            raise WeightsError(f"{path}: damaged, or not a file of PyTorch ({_first_line(error)})") from None
        raise WeightsError(
            f"{path}: holds more than tensors, such as a whole network that was pickled, which could run any code when it is "
            "read. Where it was made, and if you trust it, save its weights alone: "
            "torch.save(network.state_dict(), 'weights.pt')"
        ) from None
    for key in _WRAPPED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds no state dict, but a {type(content).__name__}")
    others = [key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if others or not content:
        keys = ", ".join(map(str, [*content][:SHOWN]))
        inside = next((key for key, value in content.items() if isinstance(value, Mapping) and value), None)
        raise WeightsError(
            f"{path}: holds no state dict, which would map names to tensors; its keys are {keys or 'none'}"
            + (f", and {others[0]!r} is no tensor" if others else "")
            + ". Save the state dict alone: "
            + (
                "torch.save(network.state_dict(), 'weights.pt')"
                if inside is None
                else f"if it is under {inside!r}, torch.save(torch.load({path.name!r})[{inside!r}], 'weights.pt')"
            )
        )
    return dict(content)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"


def _without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state = {name: tensor for name, tensor in state.items() if name != "n_averaged"}  # of averaged weights
    while True:
        prefix = next((one for one in _WRAPPERS if state and all(name.startswith(one) for name in state)), None)
        if prefix is None:
            return state
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def load_weights(
    model: ImageClassifier, path: str | Path, *, new_classifier: bool = False, own_constants: bool = False
) -> list[str]:
    """Load a file of weights into a network, all or nothing, and return lines for the log.

    Its names are those of the original network (torchvision's, timm's, your own) or of a model file of this package, whose
    mean and standard deviation are then loaded too; either may follow a constant prefix, as "encoder.".

    Args:
        model: the network.
        path: the file, as `read_state_dict` takes it.
        new_classifier: whether the network keeps its own classifier if that of the file has another number of outputs, or
            the network has a bottleneck and the file has none: for weights that a training starts from.
        own_constants: whether the network keeps its mean and standard deviation, whatever the file has.

    Raises WeightsError, which lists what differs, if the file does not fit, and where `read_state_dict` does.
    """
    own = model.state_dict()
    inner = "network." if any(name.startswith("network.") for name in own) else ""
    given = _named_alike(read_state_dict(path), own, inner)
    if own_constants:
        given = {name: tensor for name, tensor in given.items() if name not in _CONSTANTS}
    lines: list[str] = []
    if auxiliary := [name for name in given if name.removeprefix(inner).startswith(_AUXILIARY) and name not in own]:
        lines.append(f"{path}: its {len(auxiliary)} weights of auxiliary classifiers are not used.")
        given = {name: tensor for name, tensor in given.items() if name not in auxiliary}
    heads = tuple(f"{name}." for name in model.heads)
    misfits = _compare(own, given)
    if misfits.names and all(name.startswith(heads) for name in misfits.names):
        theirs, ours = _outputs(given, heads), _outputs(own, heads)
        if new_classifier and (theirs != ours or misfits.missing):
            given = {name: tensor for name, tensor in given.items() if not name.startswith(heads)}
            misfits = _Misfits((), (), ())
            has = (
                "it has no classifier, so there is"
                if theirs is None
                else f"its classifier of {theirs} outputs is replaced by"
            )
            lines.append(f"{path}: {has} a new one of {ours}; all else is loaded.")
        elif misfits.differing == misfits.names and theirs != ours:
            raise WeightsError(
                f"{path}: the file's classifier has {theirs} outputs, the images have {ours} classes. A network whose "
                "training starts from these weights gets a new classifier; one that is used as it is must have been trained "
                "on the same classes"
            )
    if misfits.names:
        raise WeightsError(
            f"{path}: its weights do not fit the network: {misfits.message(own, given, inner)}. Check the network's name and "
            "arguments, its stem and the size of the images among them"
        )
    model.load_state_dict({**own, **given})
    return lines


@dataclass(frozen=True)
class _Misfits:
    """Names that the file lacks, that the network does not have, and whose shapes differ."""

    missing: tuple[str, ...]
    left: tuple[str, ...]
    differing: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.missing, *self.left, *self.differing)

    def message(self, own: Mapping[str, Tensor], given: Mapping[str, Tensor], inner: str) -> str:
        shapes = [
            f"{name} ({_size(given[name])} in the file, {_size(own[name])} in the network)" for name in self.differing
        ]
        parts = (("it lacks", self.missing), ("the network has no", self.left), ("shapes differ of", shapes))
        return "; ".join(_some(what, [name.removeprefix(inner) for name in names]) for what, names in parts if names)


def _compare(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> _Misfits:
    # files of old versions of PyTorch have no counters of batches
    optional = {*_CONSTANTS, *(name for name in own if name.endswith("num_batches_tracked"))}
    return _Misfits(
        tuple(name for name in own if name not in given and name not in optional),
        tuple(name for name in given if name not in own),
        tuple(name for name in own if name in given and own[name].shape != given[name].shape),
    )


def _outputs(state: Mapping[str, Tensor], heads: tuple[str, ...]) -> int | None:
    """Return the number of outputs of the classifier, whose name follows that of a bottleneck."""
    found = [name for name in sorted(state) if name.startswith(heads) and name.endswith("weight")]
    return int(state[found[-1]].shape[0]) if found else None


def _named_alike(state: Mapping[str, Tensor], own: Mapping[str, Tensor], inner: str) -> dict[str, Tensor]:
    """Return the file's tensors under the names that they have in the network, as far as possible."""

    def fit(names: Mapping[str, Any]) -> int:
        return sum(name in own for name in names)

    prefixes = {"", *_constant_prefixes([*state])}
    candidates = [
        {f"{front}{name.removeprefix(prefix)}": tensor for name, tensor in state.items()}
        for prefix in sorted(prefixes)
        for front in sorted({"", inner})
    ]
    return max(candidates, key=fit)


def _constant_prefixes(names: Sequence[str]) -> Iterator[str]:
    """Yield the prefixes that all names have, up to each of their dots."""
    shared = names[0].split(".")[:-1] if names else []
    for count in range(1, len(shared) + 1):
        prefix = ".".join(shared[:count]) + "."
        if all(name.startswith(prefix) for name in names):
            yield prefix


def _some(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} others" if len(names) > SHOWN else ""
    return f"{what} {', '.join(names[:SHOWN])}{more}"


def _size(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a single value"
