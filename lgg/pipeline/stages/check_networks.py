"""Whether a network can be built, loaded and trained as its row is, on a few images; if not, all mistakes of all rows."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lgg.data.storage import ImageSet, read_header, read_images
from lgg.devices import prepare
from lgg.errors import LggError, NetworkError, WeightsError
from lgg.evaluation.size import count_operations, count_parameters
from lgg.files import write_json
from lgg.models.base import ImageClassifier
from lgg.models.weights import check_classes, load_weights, read_state_dict
from lgg.pipeline.job import run
from lgg.pipeline.stages import distill_student, train_embedding, train_robust_network
from lgg.training.objectives import CrossEntropy, Objective, Robust
from lgg.training.setup import build_network, fitted

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import CheckedStep, CheckNetworks

CLASSES = 4  # of the images that networks are tried on
#: rows whose network is used as it is unless it is fine-tuned
FINE_TUNED = ("geometry", "distillation.teacher")
CPU = torch.device("cpu")


def main(arguments: Namespace) -> None:
    recipe: CheckNetworks = arguments.recipe
    prepare(0, arguments.threads)
    data, header = read_images(arguments.train), read_header(arguments.train)
    found, mistakes = examine(recipe, arguments.weights, data, header)
    if mistakes:
        others = {
            name: examine(row["recipe"], list(map(Path, row["weights"])), data, header)[1]
            for name, row in arguments.rows.items()
            if name != recipe["name"]
        }
        raise NetworkError(message({recipe["name"]: mistakes, **others}))
    write_json(arguments.out_networks, found)


def message(mistakes: Mapping[str, Sequence[str]]) -> str:
    """Return the mistakes of several rows as text, each once, with the keys of the rows that have it."""
    rows: dict[str, list[str]] = {}
    for name, texts in mistakes.items():
        for text in texts:
            rows.setdefault(text, []).append(key_of(name))
    count = "a mistake" if len(rows) == 1 else f"{len(rows)} mistakes"
    lines = [f"  {', '.join(keys)}: {text}" for text, keys in rows.items()]
    return "\n".join([f"the configuration's networks have {count}, found before any training of them:", *lines])


def key_of(name: str) -> str:
    """Return the key of a row in the configuration."""
    section, _, row = name.partition(".")
    inside = row and (row if row == "teacher" or row.startswith("figure.") else f"methods.{row}")
    return f"{section}.{inside}" if inside else section


def examine(
    row: "CheckNetworks", weights: Sequence[Path], data: ImageSet, header: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return what a row's network is, and the mistakes in it; files in `weights` that are not there yet are skipped."""
    mistakes: list[str] = []
    try:
        model = _built(row, weights, data, header)
        for path in weights:
            if path.exists():
                mistakes += _mistakes_of(partial(_load, row, model, path))
                mistakes += [] if row["is_trained_here"] else _mistakes_of(partial(check_classes, path, data.classes))
        images, labels = few_images(data, _neighbours(row["step"]))
        mistakes += [] if mistakes else _mistakes_of(partial(_try, row, model, data, header, images, labels))
        return ({} if mistakes else describe(row, model, images)), mistakes
    except Exception as error:  # whatever the code of others raises
        # the network is not there to load weights into, but whether they can be read is known
        unread = [text for path in weights if path.exists() for text in _mistakes_of(partial(read_state_dict, path))]
        return {}, list(dict.fromkeys([*mistakes, _in_words(error), *unread]))


def _built(row: "CheckNetworks", weights: Sequence[Path], data: ImageSet, header: Mapping[str, Any]) -> ImageClassifier:
    architecture = row["architecture"]
    if "defences" in row["step"]:
        defended = train_robust_network.objective_of({"defences": row["step"]["defences"]}).architecture
        architecture = architecture | defended
    outputs = row["step"].get("dimensions")
    here = next((path for path in weights if path.exists()), None)
    architecture = fitted(architecture, header, len(data.classes), data.images.shape[1], here)
    return build_network(architecture, data, header, seed=0, device=CPU, outputs=outputs)[1]


def _neighbours(step: "CheckedStep") -> int:
    """Return the largest number of neighbours that a graph of the step keeps."""
    options = [step.get("options", {}), *(one["options"] for one in step.get("defences", []))]
    return max(one.get("k") or 0 for one in options)


def few_images(data: ImageSet, neighbours: int) -> tuple[Tensor, Tensor]:
    """Return images (B, 3, H, W) in [0, 1] and labels of a few classes, several of each, more than `neighbours`."""
    classes = min(CLASSES, len(data.classes))
    each = max(2, -(-(neighbours + 1) // classes))
    chosen = np.concatenate([np.flatnonzero(data.labels == label)[:each] for label in range(classes)])
    images = torch.from_numpy(data.images[chosen]).permute(0, 3, 1, 2).float() / 255
    return images.to(memory_format=torch.channels_last), torch.from_numpy(data.labels[chosen])


def _try(
    row: "CheckNetworks",
    model: ImageClassifier,
    data: ImageSet,
    header: Mapping[str, Any],
    images: Tensor,
    labels: Tensor,
) -> None:
    """Make a training step without an update, or a pass of a network that is not trained here."""
    if not row["is_trained_here"]:
        with torch.no_grad():
            model.eval()(images)
        return
    objective = _objective(row, data, header)
    objective(model.train(), images, labels).loss.backward()  # type: ignore[no-untyped-call]
    if isinstance(objective, Robust):
        objective.after_step(model)


def _objective(row: "CheckNetworks", data: ImageSet, header: Mapping[str, Any]) -> Objective:
    step: Any = row["step"]
    if row["teacher"]:
        teacher = build_network(row["teacher"], data, header, seed=1, device=CPU)[1]
        return distill_student.objective_of(step, teacher)
    if "defences" in step:
        return train_robust_network.objective_of(step)
    return train_embedding.objective_of(step, CPU) if "loss" in step else CrossEntropy()


def describe(row: "CheckNetworks", model: ImageClassifier, images: Tensor) -> dict[str, Any]:
    """Return what a reader of the results should know about a row's network."""
    with torch.no_grad():
        _, representations = model.eval()(images[:1], return_representations=True)
    return {
        "row": key_of(row["name"]),
        "architecture": row["architecture"],
        "weights": row["weights"],
        "is_trained_here": row["is_trained_here"],
        "image_size": images.shape[-1],
        "parameters": count_parameters(model),
        "operations": count_operations(model, images.shape[-1]),
        "layers": [
            {"name": name, "shape": list(one.shape[1:])}
            for name, one in zip(model.layers, representations, strict=True)
        ],
    }


def _load(row: "CheckNetworks", model: ImageClassifier, path: Path) -> None:
    try:
        load_weights(model, path, new_classifier=row["is_trained_here"])
    except WeightsError as error:
        if row["is_trained_here"] or row["name"] not in FINE_TUNED or _mistakes_of(partial(_start, model, path)):
            raise
        raise WeightsError(f"{error}. To train from these weights, set `fine_tune: true`") from None


def _start(model: ImageClassifier, path: Path) -> None:
    load_weights(model, path, new_classifier=True)


def _mistakes_of(attempt: Callable[[], object]) -> list[str]:
    try:
        attempt()
    except Exception as error:  # whatever the code of others raises
        return [_in_words(error)]
    return []


def _in_words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, LggError | ValueError) and text else f"{type(error).__name__}: {text[:300]}"


if __name__ == "__main__":
    run(main, inputs=("train",), optional_lists=("weights",), outputs=("networks",))
