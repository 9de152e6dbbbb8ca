"""Networks as safetensors files, with the architecture in the header. Nothing is pickled."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from lgg import models
from lgg.errors import ModelFileError, NetworkError
from lgg.files import atomic_path, naming, read_tensors_metadata
from lgg.models.base import ImageClassifier

FORMAT = "lgg-model-1"


def save_model(
    path: str | Path, model: ImageClassifier, architecture: Mapping[str, Any], notes: Mapping[str, Any]
) -> None:
    """Write the weights of `model` to `path`, atomically.

    Args:
        architecture: the arguments of `lgg.models.build` for this network; the normalisation constants may be left out,
            since the weights include them.
        notes: further information for readers of the file, as JSON can hold it, such as recipe and seed.
    """
    header = json.dumps({"format": FORMAT, "architecture": dict(architecture), "notes": dict(notes)}, sort_keys=True)
    # copies, since a file cannot hold tensors that share memory, as layers with the same weights have
    weights = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(weights, temporary, metadata={"lgg": header})


def read_architecture(path: str | Path) -> dict[str, Any]:
    """Return the architecture stated in a model file.

    Raises ModelFileError if `path` is not a complete model file, and OSError if it cannot be read, in which case it may be
    intact.
    """
    try:
        header = json.loads(read_tensors_metadata(path).get("lgg", "{}"))
    except (FileNotFoundError, IsADirectoryError):
        raise ModelFileError(f"{path}: there is no such file") from None
    except ValueError as error:
        raise ModelFileError(
            f"{path}: damaged, or not a model file ({error}). If a run wrote it, remove it and run the pipeline again."
        ) from None
    if header.get("format") != FORMAT:
        raise ModelFileError(f"{path}: not a model file written by lgg")
    return dict(header["architecture"])


def load_model(
    path: str | Path, device: torch.device | str = "cpu", *, expected: Mapping[str, Any] | None = None
) -> ImageClassifier:
    """Return the network in `path`, on `device` and in evaluation mode.

    Nothing is downloaded: a network of torchvision or timm is built without weights, one in a file of your own from that
    file, which must still have the code that the header states.

    Raises ModelFileError if the file is missing or damaged, if its network cannot be built, or if an argument of its
    architecture differs from that in `expected`.
    """
    architecture = read_architecture(path)
    for key, value in (expected or {}).items():
        if architecture.get(key) != value:
            raise ModelFileError(
                f"{path}: holds a network with {key} = {architecture.get(key)!r}, but {value!r} is expected. "
                "It belongs to another configuration; remove it, or give the run another name."
            )
    with naming(path):
        content = Path(path).read_bytes()
    try:
        model = models.build(**architecture)
    except NetworkError as error:
        raise ModelFileError(f"{path}: the network in it cannot be built again: {error}") from None
    except (ValueError, TypeError) as error:
        raise ModelFileError(_does_not_match(path, error)) from None
    try:
        model.load_state_dict(load(content))
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        raise ModelFileError(_does_not_match(path, error)) from None
    return model.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]


def _does_not_match(path: str | Path, error: Exception) -> str:
    reason = " ".join(str(error).split("\n\t")[:2])  # the first of PyTorch's long list of mismatches
    return f"{path}: its weights do not match the architecture in its header ({reason}). Remove it and run the pipeline again."
