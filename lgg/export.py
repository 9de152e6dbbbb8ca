"""A trained network for use without this package: its plain state dict, the lines that load it, and ONNX if asked for.

python -m lgg.export results/paper/distillation/teacher/seed0/model.safetensors teacher.safetensors --onnx teacher.onnx
"""

import argparse
import importlib
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lgg.errors import LggError, ModelFileError
from lgg.files import atomic_path, read_tensors_metadata
from lgg.models.base import ImageClassifier
from lgg.models.foreign import ForeignNetwork
from lgg.training.checkpoint import load_model, read_architecture

FORMAT = "lgg-export-1"
#: largest difference of the logits of PyTorch and ONNX, relative to the largest logit
AGREEMENT = 1e-3
#: images that both are compared on, unlike the number they are exported with
COMPARED = 3
#: side of the images for networks that take any
ANY_SIZE = 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Export the network that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lgg.export", description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="model.safetensors of a run")
    parser.add_argument("out", type=Path, help="the state dict to write, .safetensors")
    parser.add_argument(
        "--onnx", type=Path, help="also write the network, from pixels in [0, 1] to logits, in this format"
    )
    given = parser.parse_args(arguments)
    try:
        print(export(given.model, given.out, given.onnx))
    except (LggError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def export(model: str | Path, out: str | Path, onnx: str | Path | None = None) -> str:
    """Write the network in the file `model` for use elsewhere; return lines of Python that load it there.

    Args:
        model: a model file of this package.
        out: gets the state dict, of the original network if it is one of torchvision, timm or a file of your own. The header
            (`lgg.models.weights.read_header`) states mean, standard deviation, classes (if the run's images are still where
            they were), the side of the images and what builds the network; `code` has the returned lines.
        onnx: gets the network, normalisation included, for batches of any size; None: no such file.

    Raises ModelFileError if `model` cannot be read, if a package for ONNX is missing, or if its results differ.
    """
    if Path(out).suffix != ".safetensors":
        raise ModelFileError(
            f"{out}: the state dict is written in the format safetensors; let the name end in .safetensors"
        )
    if Path(out).resolve() == Path(model).resolve():
        raise ModelFileError(f"{out}: this is the model file itself, which would be overwritten; give another name")
    network = load_model(model)
    architecture = read_architecture(model)
    code = loading_code(network, architecture, out)
    header = {
        "format": FORMAT,
        "architecture": architecture | {"mean": _values(network.mean), "std": _values(network.std)},
        "classes": _classes_of(Path(model)),
        "image_size": architecture.get("image_size"),
        "code": code,
    }
    original = network.network if isinstance(network, ForeignNetwork) else network
    state = {name: tensor.contiguous().clone() for name, tensor in original.state_dict().items()}
    if onnx is not None:
        write_onnx(network, onnx, architecture.get("image_size", ANY_SIZE))
    with atomic_path(out) as temporary:
        # "format" is what other programs look for
        save_file(state, temporary, metadata={"format": "pt", "lgg": json.dumps(header, sort_keys=True)})
    return code


def loading_code(network: ImageClassifier, architecture: Mapping[str, Any], out: str | Path) -> str:
    """Return lines of Python that load the state dict `out` and classify `images` (B, 3, H, W) in [0, 1]."""
    load = f"network.load_state_dict(safetensors.torch.load_file({str(out)!r}))"
    if not isinstance(network, ForeignNetwork):
        made = [
            "import safetensors.torch",
            "from lgg import models",
            f"network = models.build(**{dict(architecture)!r})",
        ]
        return "\n".join([*made, load, "logits = network.eval()(images)"])
    constants = [f"{name} = torch.tensor({_values(getattr(network, name))}).view(3, 1, 1)" for name in ("mean", "std")]
    first = ["import collections"] if any("collections." in line for line in network.code) else []
    return "\n".join(
        [
            *first,
            "import safetensors.torch",
            "import torch",
            *network.code,
            load,
            *constants,
            "logits = network.eval()((images - mean) / std)",
        ]
    )


def _values(constants: Tensor) -> list[float]:
    """Return the constants of three channels as the shortest numbers that mean them in float32."""
    return [float(str(value)) for value in constants.flatten().cpu().numpy()]


def _classes_of(model: Path) -> list[str] | None:
    """Return the names of the classes from the images of the model's run; None if these are not there."""
    try:
        data = json.loads(read_tensors_metadata(model)["lgg"])["notes"]["data_sha256"]
    except (ValueError, KeyError, TypeError):
        return None
    for folder in model.resolve().parents:
        try:
            header = json.loads(read_tensors_metadata(folder / "data" / "train.safetensors")["lgg"])
        except (OSError, ValueError, KeyError):
            continue
        if header.get("sha256") == data:
            return list(header["classes"])
    return None


class _Logits(torch.nn.Module):
    """The network without the choice of returning representations."""

    def __init__(self, network: ImageClassifier) -> None:
        super().__init__()
        self.inner = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        return logits


def write_onnx(network: ImageClassifier, path: str | Path, image_size: int) -> None:
    """Write a network to `path` in the format ONNX, atomically: `images` (B, 3, S, S) in [0, 1] to `logits` (B, C).

    Raises ModelFileError if a package is missing, the network cannot be exported, or its results differ from PyTorch's.
    """
    if missing := [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]:
        raise ModelFileError(f"{path}: ONNX needs the package {missing[0]}: pip install onnx onnxscript")
    network = network.to(memory_format=torch.contiguous_format).eval()
    images = torch.rand(COMPARED, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with atomic_path(path) as temporary:
        try:
            torch.onnx.export(
                _Logits(network),
                (images[:2],),
                str(temporary),
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes={"images": {0: torch.export.Dim.DYNAMIC}},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # whatever the exporter raises
            reason = " ".join(str(error).split())[:300]
            raise ModelFileError(f"{path}: PyTorch cannot write this network as ONNX ({reason})") from None
        with torch.no_grad():
            expected = network(images)
        found = _run_onnx(temporary, images)
        worst = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
        if not worst <= AGREEMENT:
            raise ModelFileError(
                f"{path}: the network in the format ONNX gives other logits than PyTorch (relative difference {worst:.2g}), so "
                "it was not written"
            )


def _run_onnx(path: Path, images: Tensor) -> Tensor:
    """Return the logits of the network in a file, by onnxruntime or, where it is not installed, ONNX's own evaluator."""
    given = {"images": images.numpy()}
    if importlib.util.find_spec("onnxruntime"):
        runtime = importlib.import_module("onnxruntime")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, given)[0])
    evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(str(path))
    return torch.from_numpy(evaluator.run(None, given)[0])


if __name__ == "__main__":
    sys.exit(main())
