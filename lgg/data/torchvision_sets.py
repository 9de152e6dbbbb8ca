"""The data sets that torchvision downloads, read through its own classes."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgg.data.pictures import resize
from lgg.data.splits import Block, Split, computed, stacked
from lgg.data.torchvision_names import DATASETS, Name, Published
from lgg.errors import DataError


def open_sets(name: Name, folder: Path, side: int, threads: int) -> tuple[Split, Split]:
    """Return the training and test images of a data set, which torchvision downloads to `folder` if they are missing.

    Raises DataError, with what to do, if they cannot be downloaded, or if their number is not that of the data set.
    """
    published = DATASETS[name]
    training, testing = published.splits
    train = _open(name, training, published.images[0], folder, side, threads)
    test = _open(name, testing, published.images[1], folder, side, threads)
    return train, test


def _open(name: Name, arguments: Any, count: int, folder: Path, side: int, threads: int) -> Split:
    dataset = _loaded(name, arguments, folder)
    if len(dataset) != count:
        raise DataError(
            f"data.dataset: {name} has {count:,} images, but there are {len(dataset):,} in {folder.resolve()}. Its archive was "
            "not unpacked to the end: remove what was unpacked there, and run again."
        )
    published = DATASETS[name]
    labels = _labels_of(dataset)

    def read(positions: NDArray[np.int64]) -> Iterator[Block]:
        jobs = (partial(_image, dataset, name, folder, int(position), side) for position in positions)
        return stacked(computed(jobs, threads), side)

    return Split(side, labels, _names_of(dataset, published), (_note(name, published),), read)


def _loaded(name: Name, arguments: Any, folder: Path) -> Any:
    """Return torchvision's object for one split."""
    import torchvision

    kind = getattr(torchvision.datasets, name, None)
    if kind is None:
        raise DataError(f"data.dataset: torchvision {torchvision.__version__} has no {name}; install a newer version")
    try:
        return kind(folder, **arguments, download=True)
    except Exception as error:  # of the network, of archives, and of many ways of reading damaged files
        reason = str(error) or type(error).__name__
        raise DataError(
            f"data.dataset: torchvision could not load {name} ({reason}). If it could not be downloaded, run again, or save "
            f"its files in {folder.resolve()} yourself, where torchvision looks for them; if a file there is damaged, or an "
            "archive was not unpacked to the end, remove it. Images in any other form can be read with data.source: arrays "
            "or image_folder."
        ) from None


def _labels_of(dataset: Any) -> NDArray[np.int64]:
    """Return the labels (N,) of a data set, without reading its images where it has a list of them."""
    for attribute in ("targets", "labels", "_labels"):
        if hasattr(dataset, attribute):
            return np.asarray(getattr(dataset, attribute)).astype(np.int64)
    pairs = getattr(dataset, "_samples", dataset)
    return np.array([label for _, label in pairs], dtype=np.int64)


def _names_of(dataset: Any, published: Published) -> tuple[str, ...]:
    """Return the class names; numbers where torchvision has no names."""
    # a class with several names has them as a tuple
    given = [name if isinstance(name, str) else name[0] for name in getattr(dataset, "classes", ())]
    numbered = tuple(f"class {label}" for label in range(published.classes))
    names = published.names or tuple(given)
    return names if len(names) == published.classes else numbered


def _note(name: Name, published: Published) -> str:
    import torchvision

    digest = "whose MD5 it checked" if published.has_digest else "for which it has no digest"
    return f"{name} ({published.reference}), from the archives of torchvision {torchvision.__version__}, {digest}"


def _image(dataset: Any, name: Name, folder: Path, position: int, side: int) -> tuple[NDArray[np.uint8], bool]:
    """Return an image of a data set (side, side, 3), and whether it was enlarged."""
    try:
        return resize(dataset[position][0].convert("RGB"), side)
    except Exception as error:  # a file that is missing or damaged
        reason = str(error) or type(error).__name__
        raise DataError(
            f"data.dataset: image {position} of {name} cannot be read ({reason}). Remove what was unpacked in "
            f"{folder.resolve()}, and run again."
        ) from None
