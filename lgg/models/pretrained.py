"""The weights that torchvision and timm publish, downloaded once into a file that states where they are from."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lgg.errors import LggError, WeightsError
from lgg.files import atomic_path
from lgg.models import library

FORMAT = "lgg-weights-1"
#: torchvision's networks that normalise by a mean and standard deviation of ½ themselves if they have published weights
_HALVES = ("googlenet", "inception_v3")


def fetch(name: str, model: str, path: str | Path) -> dict[str, Any]:
    """Download the weights that a library publishes for a network, write them to `path`, atomically, and return the header.

    The file is in the format safetensors, with the original names. Its header (`lgg.models.weights.read_header`) holds
    `source` (URL or name on the hub), `library` with its version, `model`, `licence` (None if the library does not state
    it), `mean` and `std` of the images that the network expects, `trained_at` (side of the images it was trained on, None if
    not known) and `sha256` over the tensors.

    Args:
        name: "torchvision" or "timm".
        model: the network; the weights are the library's default ones, or for timm those of a tag, as "resnet18.a1_in1k".
        path: where they go.

    Raises WeightsError if there are no such weights or they cannot be downloaded, NetworkError without the library.
    """
    try:
        state, header = (_from_torchvision if name == "torchvision" else _from_timm)(model)
    except LggError:
        raise
    except Exception as error:  # whatever the libraries raise without a network, or for a damaged file
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"the weights of {name}'s {model} cannot be downloaded ({type(error).__name__}: {reason}). Try again, or get them "
            "on another computer and name the file with `weights` instead of `pretrained: true`"
        ) from None
    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}
    header = {"format": FORMAT, **header, "sha256": sha256_of_tensors(tensors)}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"lgg": json.dumps(header, sort_keys=True)})
    return header


def sha256_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the hexadecimal SHA-256 over names, types, shapes and values of tensors on the CPU, in the order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _from_torchvision(model: str) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    torchvision = library("torchvision", f"the weights of {model!r}")
    try:
        weights = torchvision.models.get_model_weights(model).DEFAULT
    except (ValueError, AttributeError):
        raise WeightsError(f"torchvision publishes no weights of {model!r}") from None
    with tempfile.TemporaryDirectory() as folder:  # the file is kept in another format
        state = weights.get_state_dict(
            model_dir=folder, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    shown = weights.transforms()
    halves = model in _HALVES
    return state, {
        "source": weights.url,
        "library": f"torchvision {torchvision.__version__}",
        "model": model,
        "licence": weights.meta.get("license"),
        "mean": [0.5] * 3 if halves else list(shown.mean),
        "std": [0.5] * 3 if halves else list(shown.std),
        "trained_at": shown.crop_size[0],
    }


def _from_timm(model: str) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
    timm = library("timm", f"the weights of {model!r}")
    settings = timm.get_pretrained_cfg(model) if timm.is_model(model.partition(".")[0]) else None
    if settings is None or not settings.has_weights:
        raise WeightsError(f"timm publishes no weights of {model!r}")
    network = timm.create_model(model, pretrained=True)
    return network.state_dict(), {
        "source": f"https://huggingface.co/{settings.hf_hub_id}" if settings.hf_hub_id else settings.url,
        "library": f"timm {timm.__version__}",
        "model": f"{settings.architecture}.{settings.tag}" if settings.tag else model,
        "licence": settings.license,
        "mean": list(settings.mean),
        "std": list(settings.std),
        "trained_at": settings.input_size[-1],
    }
