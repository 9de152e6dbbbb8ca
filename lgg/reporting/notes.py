"""Notes below tables: what was trained for how long, on what corruption errors were measured, what the data are."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import pandas as pd


def data_notes(notes: Iterable[Sequence[str]]) -> list[str]:
    """Return the notes of several splits, without duplicates."""
    return list(dict.fromkeys(note for split in notes for note in split))


#: names of augmentations in sentences
AUGMENTATIONS = {
    "none": "without augmentation",
    "crop_and_flip": "randomly cropped and mirrored",
    "random_resized_crop": "random parts of them resized and mirrored",
    "trivial_augment": "randomly cropped, mirrored and changed by TrivialAugment",
}
#: what a network's name in a table leaves out: the two names that come first, what is compared of it, and what images decide
NOT_NAMED = {
    "name", "model", "path", "class", "digest", "arguments", "layers", "mean", "std", "num_classes", "image_size",
}  # fmt: skip


def training_note(trained: Mapping[str, Any], images: int) -> str:
    """Return a sentence on what was trained for how long, and one on what was trained elsewhere, each where there is any.

    Args:
        trained: `architectures` (each with its `name` and what it was built with; those trained here, perhaps none),
            `epochs`, `batch_size` and `augmentation`, as the recipes of tables have them; `elsewhere`, labels of rows, may be
            missing.
        images: number of training images.
    """
    notes = []
    if trained["architectures"]:
        networks = " and ".join(dict.fromkeys(map(network_name, trained["architectures"])))
        epochs = "1 epoch" if trained["epochs"] == 1 else f"{trained['epochs']:,} epochs"
        notes.append(
            f"Trained here: {networks}, {epochs} of {images:,} images in batches of {trained['batch_size']}, "
            f"{AUGMENTATIONS[trained['augmentation']]}."
        )
    if trained.get("elsewhere"):
        notes.append(f"Trained elsewhere: {', '.join(trained['elsewhere'])}.")
    return " ".join(notes)


def network_name(architecture: Mapping[str, Any]) -> str:
    """Return a network's name and what it was built with.

    Such as "wide_resnet (depth 28, width 0.5)", "torchvision resnet18 (small stem)" or, of a class in a file of your own,
    "Net of nets.py (blocks 3)".
    """
    kind = architecture["name"]
    name = str(kind)
    if kind in ("torchvision", "timm"):
        name = f"{kind} {architecture['model']}"
    elif kind == "file":
        name = f"{architecture['class']} of {PurePath(architecture['path']).name}"
    options = {
        **architecture.get("arguments", {}),
        **{key: architecture[key] for key in architecture if key not in NOT_NAMED},
    }
    stem = options.pop("stem", None)
    parts = [
        *(["small stem"] if stem == "small" else []),
        *(f"{key} {_option(value)}" for key, value in options.items()),
    ]
    return f"{name} ({', '.join(parts)})" if parts else name


def _option(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else str(value)


def corruption_notes(
    errors: pd.DataFrame, baseline_label: str, undefined: Sequence[str], faint: Sequence[str]
) -> list[str]:
    """Return notes on what relative and plain MCE were measured on, and on whether relative MCE is undefined or means little.

    Args:
        errors: the baseline's, with `seed`, `corruption`, `severity` and `images`.
        baseline_label: name of its row.
        undefined: corruptions under which the baseline's error does not rise.
        faint: those under which it rises by less than one image in a set.
    """
    corrupted = errors[errors["severity"] > 0]
    names = list(dict.fromkeys(corrupted["corruption"]))
    notes = [
        f"MCE: mean over {len(names)} corruptions of the sum of errors over {corrupted['severity'].nunique()} severities, "
        f"each in percent of {baseline_label}'s, on {corrupted['images'].iloc[0]:,} test images (Hendrycks and Dietterich "
        "2019); relative MCE: with the clean error on the same images subtracted first. The baseline's errors are "
        "averaged over its seeds, so it has a mean of 100 and a spread; intervals do not count the uncertainty of that "
        "average."
    ]
    if undefined:
        notes.append(
            f"Relative MCE is undefined here: under {', '.join(undefined)} the error of {baseline_label} does not rise, so "
            "the measure would divide by zero or less."
        )
    elif faint:
        notes.append(
            f"Relative MCE means little here: under {', '.join(faint)} the error of {baseline_label} rises by less than one "
            "image in a set, and the measure divides by that. No value of it is put in bold. More images settle it "
            "(corruptions.images)."
        )
    return notes
