"""Converts trained wide residual networks of the authors' repository graph_kd into model files of this project.

    python tools/convert_weights.py checkpoint/*.pth --to networks     writes networks/NAME.safetensors for each NAME.pth

Files are whole networks or state dicts, pickled by PyTorch or as safetensors, with the names of tensors of that
repository. Nothing in a pickle is run. A network that does not fit is refused, the others are converted. What is written
can be loaded by `lgg.training.checkpoint.load_model`, and includes the normalisation that the networks were trained with.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from pickled_tensors import Unread, read_tensors
from safetensors import SafetensorError, safe_open

from lgg import models
from lgg.errors import LggError, ModelFileError
from lgg.files import sha256_of_file
from lgg.models.wide_resnet import STEM_CHANNELS
from lgg.training.checkpoint import save_model

#: patterns of graph_kd's names and what stands for them here; tensors' own names (weight, bias, …) stay
NAMES = (
    (r"conv1\.(.+)", r"conv.\1"),
    (r"bn\.(.+)", r"bn.\1"),
    (r"layer([123])\.(\d+)\.(bn1|conv1|bn2|conv2|shortcut\.[01])\.(.+)", r"stage\1.\2.\3.\4"),
    (r"linear\.(.+)", r"classifier.\1"),
)


def convert(source: Path, target: Path) -> dict[str, Any]:
    """Write the network of graph_kd in `source` to `target` as a model file; return its architecture.

    Raises ModelFileError, before anything is written, if the file is not such a network or has values that are not finite.
    """
    tensors = {_renamed(name, source): tensor for name, tensor in read(source).items()}
    architecture = _architecture(tensors, source)
    with torch.device("meta"):  # no memory is used for what a file only claims to have
        model = models.build(**architecture)
    constants = {name: value for name, value in model.state_dict().items() if name in ("mean", "std")}
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items() if name not in constants}
    _compare(expected, {name: tensor.shape for name, tensor in tensors.items()}, source)
    state = {name: torch.tensor(architecture[name]).view(value.shape) for name, value in constants.items()}
    kinds = {name: value.dtype for name, value in model.state_dict().items()}
    for name, tensor in tensors.items():
        state[name] = _read(tensor, source).to(kinds[name])
        if not state[name].isfinite().all():
            raise ModelFileError(f"{source}: {name} has values that are not finite")
    model.load_state_dict(state, assign=True)
    notes = {"source": f"graph_kd: {source.name}", "sha256": sha256_of_file(source)}
    save_model(target, model, architecture, notes)
    return architecture


def read(source: Path) -> dict[str, Unread]:
    """Return the tensors of a file, by name, which may begin with "module.": a safetensors file or one of `torch.save`."""
    if source.suffix != ".safetensors":
        return read_tensors(source)
    try:
        with safe_open(source, "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 not a dict
    except SafetensorError as error:
        raise ModelFileError(f"{source}: not a safetensors file, or damaged ({error})") from None
    return {name.removeprefix("module."): Unread(shape, _reader(source, name)) for name, shape in shapes.items()}


def _reader(source: Path, name: str) -> Any:
    def tensor() -> torch.Tensor:
        with safe_open(source, "pt") as file:
            found: torch.Tensor = file.get_tensor(name)
            return found

    return tensor


def _read(tensor: Unread, source: Path) -> torch.Tensor:
    try:
        return tensor.read()
    except ModelFileError as error:
        raise ModelFileError(f"{source}: {error}") from None
    except (KeyError, EOFError, ValueError) as error:
        raise ModelFileError(f"{source}: damaged, the numbers of a tensor are missing ({error})") from None


def _renamed(name: str, source: Path) -> str:
    for pattern, ours in NAMES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, ours, name)
    known = "conv1, bn, layer1…3.N.{bn1, conv1, bn2, conv2, shortcut}, linear"
    raise ModelFileError(
        f"{source}: the tensor {name!r} is not one of graph_kd's wide residual networks, which have {known}"
    )


def _architecture(tensors: Mapping[str, Unread], source: Path) -> dict[str, Any]:
    """Return the arguments of `lgg.models.build` for the network that has these tensors, if any has."""
    blocks = {match[1] for name in tensors if (match := re.match(r"stage1\.(\d+)\.", name))}
    first, last = tensors.get("stage1.0.conv1.weight"), tensors.get("classifier.weight")
    if first is None or last is None or len(first.shape) != 4 or len(last.shape) != 2:
        raise ModelFileError(f"{source}: not a wide residual network: the first block or the classifier is missing")
    return {
        "name": "wide_resnet",
        "depth": 6 * len(blocks) + 4,
        "width": first.shape[0] / STEM_CHANNELS,
        "num_classes": last.shape[0],
        "mean": list(models.CIFAR10_MEAN),
        "std": list(models.CIFAR10_STD),
    }


def _compare(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], source: Path) -> None:
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is left over" for name in found if name not in expected]
    problems += [
        f"{name} has the shape {found[name]}, not {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ModelFileError(f"{source}: not a wide residual network: {'; '.join(problems[:5])}{more}")


def main(arguments: list[str] | None = None) -> int:
    """Convert the files of the command line; return 0, or 1 if some could not be converted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="networks of graph_kd")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where the model files are written")
    given = parser.parse_args(arguments)
    targets = [given.to / f"{source.stem}.safetensors" for source in given.files]
    for source, target in zip(given.files, targets, strict=True):
        if targets.count(target) > 1 or target.resolve() == source.resolve():
            parser.error(
                f"{source} would be written to {target}, which is another of these files; choose another folder"
            )
    failed = False
    for source, target in zip(given.files, targets, strict=True):
        try:
            made = convert(source, target)
        except (LggError, OSError) as error:
            failed = True
            print(f"not converted: {error}", file=sys.stderr)
        else:
            print(f"{target}: WideResNet-{made['depth']}-{made['width']:g}, {made['num_classes']} classes")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
