"""All data sources behind one function; each returns RGB images of 32 × 32 pixels with 8 bits per channel."""

from collections.abc import Mapping
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgg.data import photo_patches
from lgg.data.draws import draw_evenly
from lgg.data.own_files import Pictures, array_files, picture_splits, readable
from lgg.data.pictures import SIDE, read_picture, resize
from lgg.data.storage import ImageSet
from lgg.errors import DataError


def load(data: Mapping[str, Any]) -> tuple[ImageSet, ImageSet]:
    """Return the training and test images specified by the `data` section of a configuration.

    Raises DataError, with the file and what to do, if they cannot be loaded.
    """
    if data["source"] == "photo_patches":
        splits = photo_patches.load(data["train_images"], data["test_images"], data["seed"])
    else:
        whole = {
            "digits": _digits,
            "cifar10": _cifar,
            "cifar100": _cifar,
            "arrays": _arrays,
            "image_folder": _image_folder,
        }
        train, test = whole[data["source"]](data)
        splits = (
            _subset(train, data["train_images"], data["seed"], "data.train_images"),
            _subset(test, data["test_images"], data["seed"], "data.test_images"),
        )
    if data["validation_images"] is not None:
        splits = _held_out(splits[0], data["validation_images"], data["seed"])
    if data["class_names"] is None:
        if splits[0].classes != splits[1].classes:
            raise DataError(
                f"data: training has the classes {splits[0].classes}, test has {splits[1].classes}; set data.class_names to "
                "name them in both"
            )
        return splits
    for split in splits:
        if len(data["class_names"]) != len(split.classes):
            raise DataError(
                f"data.class_names: {len(data['class_names'])} names are given, but the data have {len(split.classes)} classes"
            )
    train, test = (replace(split, classes=tuple(data["class_names"])) for split in splits)
    return train, test


def _digits(data: Mapping[str, Any]) -> tuple[ImageSet, ImageSet]:
    """Return scikit-learn's 1,797 handwritten digits, 8 × 8 pixels enlarged four times; one in five is a test image."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    images = np.repeat(grey[..., None], 3, axis=3)
    labels = digits.target.astype(np.int64)
    parts = train_test_split(np.arange(len(labels)), test_size=359, stratify=labels, random_state=data["seed"])
    classes = tuple(str(name) for name in digits.target_names)
    notes = ("Handwritten digits from scikit-learn (UCI, Alpaydin and Kaynak 1998), enlarged four times.",)
    train, test = (ImageSet(images[part], labels[part], classes, notes) for part in map(np.sort, parts))
    return train, test


def _cifar(data: Mapping[str, Any]) -> tuple[ImageSet, ImageSet]:
    """Return CIFAR-10 or CIFAR-100 (Krizhevsky 2009), downloaded by torchvision, which verifies the archive's MD5."""
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = {"cifar10": CIFAR10, "cifar100": CIFAR100}[data["source"]]
    folder = Path(data["path"] or "downloads")
    try:
        archives = [kind(folder, train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError, HTTPException) as error:
        raise DataError(
            f"{kind.filename} could not be downloaded from {kind.url} ({error}). Either save that file in {folder.resolve()} "
            "yourself and run again, or convert the images to .npz files and set data.source to arrays."
        ) from None
    notes = (f"{data['source']} (Krizhevsky 2009), {kind.filename}, MD5 {kind.tgz_md5}",)
    train, test = (
        ImageSet(archive.data, np.asarray(archive.targets, dtype=np.int64), tuple(archive.classes), notes)
        for archive in archives
    )
    return train, test


def _arrays(data: Mapping[str, Any]) -> tuple[ImageSet, ImageSet]:
    """Return your own arrays: one *train*.npz and one *test*.npz in a folder."""
    train, test = map(_read_arrays, array_files(Path(data["path"])))
    return train, test


def _read_arrays(path: Path) -> ImageSet:
    """Return the images of an .npz file.

    It contains `images` (N, H, W, 3) or (N, H, W) uint8 and `labels` (N,), integers from 0. Optional are `classes`, names
    in the order of the labels, and `exact` (N,), false for images that are not exact copies of the originals.
    """
    arrays = _load_arrays(path)
    images = _rgb(path, arrays["images"])
    labels = _labels(path, arrays["labels"], len(images))
    numbered = [f"class {label}" for label in range(int(labels.max()) + 1)]
    classes = _names(path, arrays["classes"]) if "classes" in arrays else numbered
    notes = [f"{readable(path.name)}: {len(images):,} images"]
    if "exact" in arrays and (inexact := _count_inexact(path, arrays["exact"], labels.shape)):
        notes.append(
            f"{readable(path.name)}: {inexact} of {len(images):,} images are marked as not exact copies of the originals"
        )
    return _checked(path, _resize_all(images), labels, tuple(classes), tuple(notes))


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("images", "labels", "classes", "exact") if name in file}
    except Exception as error:  # NumPy raises different errors for different kinds of damage
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{path}: not an .npz file of plain arrays ({reason}). Write it again with numpy.savez."
        ) from None
    for name in ("images", "labels"):
        if name not in arrays:
            raise DataError(
                f"{path}: the array {name!r} is missing; the file must contain images (N, H, W, 3) uint8 and labels (N,)"
            )
    return arrays


def _rgb(path: Path, given: NDArray[Any]) -> NDArray[np.uint8]:
    images = np.repeat(given[..., None], 3, axis=3) if given.ndim == 3 else given
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
        raise DataError(
            f"{path}: images must be (N, H, W, 3) or (N, H, W) of uint8, not {given.shape} of {given.dtype}"
        )
    return images


def _labels(path: Path, given: NDArray[Any], count: int) -> NDArray[np.int64]:
    if not np.issubdtype(given.dtype, np.integer) or given.shape != (count,):
        raise DataError(f"{path}: labels must be {count} integers, not {given.shape} of {given.dtype}")
    labels = given.astype(np.int64)
    if labels.min() < 0:
        raise DataError(f"{path}: labels start at {labels.min()}; they must be 0, 1, 2, …")
    if labels.max() >= count:
        raise DataError(
            f"{path}: the largest label is {labels.max()}, but there are only {count} images; number the classes 0, 1, 2, …"
        )
    return labels


def _count_inexact(path: Path, exact: NDArray[Any], shape: tuple[int, ...]) -> int:
    if exact.shape != shape or exact.dtype.kind not in "biu":
        raise DataError(f"{path}: exact must be {shape[0]} Booleans, not {exact.shape} of {exact.dtype}")
    return int((~exact.astype(bool)).sum())


def _names(path: Path, given: NDArray[Any]) -> list[str]:
    """Return the class names of a file; DataError if they are not valid."""
    try:
        names = [str(name) for name in np.atleast_1d(given).astype(str).tolist()]
    except UnicodeDecodeError:
        raise DataError(f"{path}: classes are bytes that are not ASCII; give them as text") from None
    if given.ndim > 1 or given.dtype.kind not in "USiu" or len(set(names)) < len(names):
        raise DataError(
            f"{path}: classes must be distinct names, one for each class, not {given.shape} of {given.dtype}"
        )
    return names


def _image_folder(data: Mapping[str, Any]) -> tuple[ImageSet, ImageSet]:
    """Return your own pictures: train/CLASS/ and test/CLASS/ with the same classes."""
    train, test = map(_read_folder, picture_splits(Path(data["path"])))
    return train, test


def _read_folder(split: Pictures) -> ImageSet:
    images = np.stack([read_picture(path) for files in split.classes.values() for path in files])
    labels = np.repeat(np.arange(len(split.classes)), [len(files) for files in split.classes.values()])
    left = f"; {len(split.others):,} other files are not read" if split.others else ""
    notes = (f"{readable(split.folder)}: {len(images):,} pictures, resized to {SIDE} × {SIDE}{left}",)
    return _checked(split.folder, images, labels.astype(np.int64), tuple(map(readable, split.classes)), notes)


def _checked(
    path: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], classes: tuple[str, ...], notes: tuple[str, ...]
) -> ImageSet:
    try:
        return ImageSet(images, labels, classes, notes)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _resize_all(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if images.shape[1:3] == (SIDE, SIDE):
        return images
    return np.stack([resize(Image.fromarray(image)) for image in images])


def _subset(data: ImageSet, count: int | None, seed: int, key: str) -> ImageSet:
    """Return `count` images, drawn as evenly from all classes as possible, in order; all images if `count` is None."""
    if count is None or count == len(data.labels):
        return data
    chosen = draw_evenly(data.labels, count, seed, key)
    notes = (*data.notes, f"{count:,} of {len(data.labels):,} images, drawn evenly from all classes (seed {seed})")
    return replace(data, images=data.images[chosen], labels=data.labels[chosen], notes=notes)


def _held_out(train: ImageSet, count: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Return the remaining and the `count` held-out training images, drawn as evenly from all classes as possible."""
    key = "data.validation_images"
    if count >= len(train.labels):
        raise DataError(f"{key}: {count} images are requested, which leaves none of {len(train.labels)} to train on")
    held_out = np.zeros(len(train.labels), dtype=bool)
    held_out[draw_evenly(train.labels, count, seed, key)] = True
    note = f"{count:,} of {len(held_out):,} training images are held out and replace the test images (seed {seed})"
    train, validation = (
        replace(train, images=train.images[part], labels=train.labels[part], notes=(*train.notes, note))
        for part in (~held_out, held_out)
    )
    return train, validation
