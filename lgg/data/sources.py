"""All data sources behind one function; each delivers square RGB images of the configured size with 8 bits per channel."""

import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgg.data import photo_patches, torchvision_sets
from lgg.data.own_files import Pictures, array_files, picture_splits, readable
from lgg.data.pictures import read_pictures, resize
from lgg.data.splits import Block, Split, computed, hold_out, stacked, subset
from lgg.data.storage import BLOCK
from lgg.errors import DataError


@dataclass(frozen=True)
class Size:
    """How images are delivered.

    Attributes:
        side: height and width.
        threads: how many of the CPU decode and resize.
    """

    side: int
    threads: int

    def of(self, blocks: Iterable[NDArray[np.uint8]]) -> Iterator[Block]:
        """Yield images (n, H, W, 3), all of one size, in this size."""
        blocks = iter(blocks)
        first = next(blocks, None)
        if first is not None and first.shape[1:3] == (self.side, self.side):
            yield first, 0
            yield from ((block, 0) for block in blocks)
        elif first is not None:
            images = (image for several in ([first], blocks) for block in several for image in block)
            jobs = (partial(resize, Image.fromarray(image), self.side) for image in images)
            yield from stacked(computed(jobs, self.threads), self.side)


def load(data: Mapping[str, Any], threads: int = 1) -> tuple[Split, Split]:
    """Return the training and test images specified by the `data` section of a configuration, which are not read yet.

    Raises DataError, with the file and what to do, if they cannot be loaded; so does reading them.
    """
    sources: dict[str, Callable[[Mapping[str, Any], Size], tuple[Split, Split]]] = {
        "photo_patches": _photo_patches,
        "digits": _digits,
        "cifar10": _cifar,
        "cifar100": _cifar,
        "torchvision": _torchvision,
        "arrays": _arrays,
        "image_folder": _image_folder,
    }
    train, test = sources[data["source"]](data, Size(data["image_size"], threads))
    train = subset(train, data["train_images"], data["seed"], "data.train_images")
    test = subset(test, data["test_images"], data["seed"], "data.test_images")
    if data["validation_images"] is not None:
        train, test = hold_out(train, data["validation_images"], data["seed"])
    if data["class_names"] is None:
        if train.classes != test.classes:
            raise DataError(
                f"data: training has the classes {train.classes}, test has {test.classes}; set data.class_names to "
                "name them in both"
            )
        return train, test
    for split in (train, test):
        if len(data["class_names"]) != len(split.classes):
            raise DataError(
                f"data.class_names: {len(data['class_names'])} names are given, but the data have {len(split.classes)} classes"
            )
    train, test = (replace(split, classes=tuple(data["class_names"])) for split in (train, test))
    return train, test


def _photo_patches(data: Mapping[str, Any], size: Size) -> tuple[Split, Split]:
    window = photo_patches.window(size.side)
    sets = photo_patches.load(data["train_images"], data["test_images"], data["seed"], window)
    train, test = (
        Split(size.side, one.labels, one.classes, one.notes, partial(_from_memory, one.images, size)) for one in sets
    )
    return train, test


def _digits(data: Mapping[str, Any], size: Size) -> tuple[Split, Split]:
    """Return scikit-learn's 1,797 handwritten digits, of 8 × 8 pixels; one in five is a test image."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    parts = train_test_split(np.arange(len(labels)), test_size=359, stratify=labels, random_state=data["seed"])
    classes = tuple(str(name) for name in digits.target_names)
    how = "four times" if size.side == 32 else f"from 8 × 8 to {size.side} × {size.side} pixels"
    notes = (f"Handwritten digits from scikit-learn (UCI, Alpaydin and Kaynak 1998), enlarged {how}.",)

    def read(members: NDArray[np.int64], positions: NDArray[np.int64]) -> Iterator[Block]:
        nearest = np.arange(size.side) * 8 // size.side  # each pixel becomes a square
        for chosen in _cut(members[positions], size.side):
            large = grey[chosen][:, nearest[:, None], nearest]
            yield np.repeat(large[..., None], 3, axis=3), 0  # that they are enlarged is noted above

    train, test = (Split(size.side, labels[part], classes, notes, partial(read, part)) for part in map(np.sort, parts))
    return train, test


def _cifar(data: Mapping[str, Any], size: Size) -> tuple[Split, Split]:
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
        Split(
            size.side,
            np.asarray(archive.targets, dtype=np.int64),
            tuple(archive.classes),
            notes,
            partial(_from_memory, archive.data, size),
        )
        for archive in archives
    )
    return train, test


def _torchvision(data: Mapping[str, Any], size: Size) -> tuple[Split, Split]:
    return torchvision_sets.open_sets(data["dataset"], Path(data["path"] or "downloads"), size.side, size.threads)


def _from_memory(images: NDArray[np.uint8], size: Size, positions: NDArray[np.int64]) -> Iterator[Block]:
    """Yield images (N, H, W, 3) at some positions."""
    return size.of(images[chosen] for chosen in _cut(positions, size.side))


def _cut(positions: NDArray[np.int64], side: int) -> Iterator[NDArray[np.int64]]:
    """Yield positions in as many parts as their images have blocks."""
    rows = max(1, BLOCK // (3 * side * side))
    return (positions[start : start + rows] for start in range(0, len(positions), rows))


# --- arrays ---------------------------------------------------------------------------------------------------------


def _arrays(data: Mapping[str, Any], size: Size) -> tuple[Split, Split]:
    """Return your own arrays: one *train*.npz and one *test*.npz in a folder."""
    train, test = (_open_arrays(path, size) for path in array_files(Path(data["path"])))
    return train, test


def _open_arrays(path: Path, size: Size) -> Split:
    """Return the images of an .npz file.

    It contains `images` (N, H, W, 3) or (N, H, W) uint8 and `labels` (N,), integers from 0. Optional are `classes`, names
    in the order of the labels, and `exact` (N,), false for images that are not exact copies of the originals.
    """
    header, arrays = _load_small_arrays(path)
    _check_images(path, header)
    count = header.shape[0]
    labels = _labels(path, arrays["labels"], count)
    numbered = [f"class {label}" for label in range(int(labels.max()) + 1)]
    classes = _names(path, arrays["classes"]) if "classes" in arrays else numbered
    notes = [f"{readable(path.name)}: {count:,} images"]
    if "exact" in arrays and (inexact := _count_inexact(path, arrays["exact"], labels.shape)):
        notes.append(
            f"{readable(path.name)}: {inexact} of {count:,} images are marked as not exact copies of the originals"
        )
    read = partial(_read_array, path, size)
    return _checked(path, partial(Split, size.side, labels, tuple(classes), tuple(notes), read))


@dataclass(frozen=True)
class Header:
    """What an array's file states: its shape, type, and whether its first axis varies fastest."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @classmethod
    def read(cls, file: IO[bytes]) -> "Header":
        """Return the header of an array in NumPy's file format; the rest of `file` is the array."""
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise ValueError("images are pickled objects")
        return cls(tuple(shape), dtype, fortran and len(shape) > 1)


def _load_small_arrays(path: Path) -> tuple[Header, dict[str, NDArray[Any]]]:
    """Return what the file of an array states of its images, and its other arrays."""
    with _naming_damage(path), np.load(path, allow_pickle=False) as file:
        names = set(file)
        arrays = {name: file[name] for name in ("labels", "classes", "exact") if name in names}
    for name in ("images", "labels"):
        if name not in names:
            raise DataError(
                f"{path}: the array {name!r} is missing; the file must contain images (N, H, W, 3) uint8 and labels (N,)"
            )
    with _naming_damage(path), zipfile.ZipFile(path) as archive, archive.open(_member(archive)) as member:
        return Header.read(member), arrays


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    """Make any error of the block one that names the file."""
    try:
        yield
    except Exception as error:  # NumPy raises different errors for different kinds of damage
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{path}: not an .npz file of plain arrays ({reason}). Write it again with numpy.savez."
        ) from None


def _member(archive: zipfile.ZipFile) -> str:
    return "images.npy" if "images.npy" in archive.namelist() else "images"


def _check_images(path: Path, header: Header) -> None:
    shape = header.shape
    if header.dtype != np.uint8 or len(shape) not in (3, 4) or shape[3:] not in ((), (3,)) or not math.prod(shape):
        raise DataError(f"{path}: images must be (N, H, W, 3) or (N, H, W) of uint8, not {shape} of {header.dtype}")


def _read_array(path: Path, size: Size, positions: NDArray[np.int64]) -> Iterator[Block]:
    """Yield the images of an .npz file at some positions, in order."""
    return size.of(_rgb(block) for block in _stored_blocks(path, positions))


def _rgb(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(images[..., None], 3, axis=3) if images.ndim == 3 else images


def _stored_blocks(path: Path, positions: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of an .npz file at some positions, sorted.

    All of the file is read, since its check comes at the end; at once only if its array is in the order of Fortran.
    """
    with _naming_damage(path), zipfile.ZipFile(path) as archive, archive.open(_member(archive)) as member:
        header = Header.read(member)
        count, rows = header.shape[0], max(1, BLOCK // math.prod(header.shape[1:]))
        if header.fortran:  # the pixels of an image are not next to each other
            whole = _taken(member, header.shape[::-1]).T
            member.read(1)
            yield from (whole[positions[start : start + rows]] for start in range(0, len(positions), rows))
            return
        for start in range(0, count, rows):
            block = _taken(member, (min(rows, count - start), *header.shape[1:]))
            first, last = np.searchsorted(positions, [start, start + len(block)])
            if first < last:
                yield block[positions[first:last] - start]
        member.read(1)


def _taken(member: IO[bytes], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the next bytes of a file as an array of `shape`."""
    content = member.read(math.prod(shape))
    if len(content) < math.prod(shape):
        raise ValueError("the file ends within the images")
    return np.frombuffer(content, np.uint8).reshape(shape)


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


# --- pictures -------------------------------------------------------------------------------------------------------


def _image_folder(data: Mapping[str, Any], size: Size) -> tuple[Split, Split]:
    """Return your own pictures: train/CLASS/ and test/CLASS/ with the same classes."""
    train, test = (_open_folder(split, size) for split in picture_splits(Path(data["path"])))
    return train, test


def _open_folder(split: Pictures, size: Size) -> Split:
    paths = [path for files in split.classes.values() for path in files]
    labels = np.repeat(np.arange(len(split.classes)), [len(files) for files in split.classes.values()])
    left = f"; {len(split.others):,} other files are not read" if split.others else ""
    notes = (f"{readable(split.folder)}: {len(paths):,} pictures, resized to {size.side} × {size.side}{left}",)
    classes = tuple(map(readable, split.classes))

    def read(positions: NDArray[np.int64]) -> Iterator[Block]:
        chosen = [paths[position] for position in positions]
        return stacked(read_pictures(chosen, size.side, size.threads), size.side)

    return _checked(split.folder, partial(Split, size.side, labels.astype(np.int64), classes, notes, read))


def _checked(path: Path, made: Callable[[], Split]) -> Split:
    """Return a split; a DataError names `path`."""
    try:
        return made()
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
