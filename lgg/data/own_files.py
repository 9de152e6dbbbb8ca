"""Your own pictures and arrays: which files a source reads, and what is known of them before anything runs.

One list of suffixes and one rule about hidden files, for planning and for reading. Imports neither torch nor numpy.
"""

import ast
import hashlib
import os
import sys
import zipfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lgg.errors import DataError

#: the ends of the names, in small letters, of what Pillow reads by itself
PICTURES = (
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
TEST_FOLDERS = ("test", "val", "valid", "validation")  # "test" where it is there, else the only one of the others
NAMED = 5  # as many files or classes are named in a message


@dataclass(frozen=True)
class Pictures:
    """The files of one split of a folder of pictures.

    Attributes:
        folder: of the split.
        classes: by class, in the order of their names, its pictures, also those in folders of its own.
        others: files that are no pictures.
    """

    folder: Path
    classes: dict[str, list[Path]]
    others: list[Path]


def readable(name: str | Path) -> str:
    """Return a file's name as it can be printed: bytes that are no UTF-8, line breaks and the like as escapes."""
    # a byte that is no UTF-8 is one of these letters in Python's names of files
    bytes_ = {letter: f"\\x{letter - 0xDC00:02x}" for letter in range(0xDC80, 0xDD00)}
    return "".join(
        letter if letter.isprintable() else bytes_.get(ord(letter), ascii(letter)[1:-1]) for letter in str(name)
    )


def shortened(names: Sequence[str]) -> str:
    """Return the first few of `names` in a line, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


# --- pictures -------------------------------------------------------------------------------------------------------


def picture_splits(folder: Path) -> tuple[Pictures, Pictures]:
    """Return the pictures for training and those for testing, in `folder`/train/CLASS/ and `folder`/test/CLASS/.

    Raises DataError, with all mistakes, where a split or a class is missing or has no picture.
    """
    splits = train, test = _split(folder, "train"), _split(folder, _test_folder(folder))
    mistakes = []
    for split in splits:
        if len(split.classes) < 2:
            mistakes.append(f"{readable(split.folder)} must hold a folder for each of at least two classes")
        # one that only this split has is told below
        shared = train.classes.keys() & test.classes.keys()
        empty = [name for name, files in split.classes.items() if not files and name in shared]
        mistakes += [f"{readable(split.folder / name)} has no picture{_seen(split, name)}" for name in empty]
    for split, other in ((train, test), (test, train)):
        if alone := [readable(name) for name in split.classes if name not in other.classes]:
            where = readable(other.folder)
            mistakes.append(f"{shortened(alone)}: in {readable(split.folder)}, but there is no such folder in {where}")
    if mistakes:
        raise DataError(_all(mistakes))
    return train, test


def _all(mistakes: Sequence[str]) -> str:
    lines = [*mistakes[:20], *([f"and {len(mistakes) - 20} more"] if len(mistakes) > 20 else [])]
    return "data.path: " + "\n  ".join(lines)


def _test_folder(folder: Path) -> str:
    found = [name for name in TEST_FOLDERS if (folder / name).is_dir()]
    if "test" in found or len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"data.path: {readable(folder)} has {', '.join(found)}, but no folder test. Call the one to test on test."
        )
    return "test"


def _split(folder: Path, name: str) -> Pictures:
    inside = folder / name
    if not inside.is_dir():
        there = [readable(entry.name) for entry in _entries(folder)]
        raise DataError(
            f"data.path: there is no folder {readable(inside)}. {readable(folder)} must hold train/CLASS/ and test/CLASS/ "
            f"with the pictures of each class; it holds {shortened(there) or 'nothing'}."
        )
    classes, others = {}, []
    for entry in _entries(inside):
        if _is(entry.is_dir):
            classes[entry.name], aside = _pictures(Path(entry))
            others += aside
        else:
            others.append(Path(entry))
    return Pictures(inside, classes, others)


def _pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the pictures in and below `folder`, and the other files, both sorted."""
    pictures: list[Path] = []
    others: list[Path] = []
    for entry in _below(folder, frozenset()):
        is_picture = entry.name.lower().endswith(PICTURES) and _is(entry.is_file)
        (pictures if is_picture else others).append(Path(entry))
    return pictures, others


def _below(folder: Path, above: frozenset[str]) -> Iterator[os.DirEntry[str]]:
    """Yield what is in and below `folder` and is no folder; links are followed, but not in circles."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _entries(folder):
        if _is(entry.is_dir):
            yield from _below(Path(entry), above | {real})
        else:
            yield entry


def _is(kind: Callable[[], bool]) -> bool:
    """Return what a question about an entry answers; no for a link that leads nowhere, or where nobody may look."""
    try:
        return kind()
    except OSError:
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in `folder`, sorted by name, without what is hidden: the names that begin with a dot."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"data.path: {readable(folder)} cannot be listed ({error.strerror}).") from None
    return sorted(found, key=lambda entry: entry.name)


def _seen(split: Pictures, name: str) -> str:
    """Return what is in the folder of a class instead of pictures, for a message."""
    inside = [readable(path.name) for path in split.others if (split.folder / name) in path.parents]
    return f" ({', '.join(PICTURES)}), but {shortened(inside)}" if inside else ""


def _left_out(folder: Path, splits: tuple[Pictures, Pictures]) -> list[str]:
    """Return a line for each split of a folder of pictures with files that are not read, and for a split not read."""
    lines = [
        f"{readable(split.folder)}: {len(split.others):,} other files are not read: "
        + shortened([readable(path.relative_to(split.folder)) for path in split.others])
        for split in splits
        if split.others
    ]
    unused = [name for name in TEST_FOLDERS if (folder / name).is_dir() and name != splits[1].folder.name]
    if unused:
        lines.append(f"{readable(folder)}: {', '.join(unused)} is not read; the test images are those in test")
    return lines


# --- arrays ---------------------------------------------------------------------------------------------------------


def array_files(folder: Path) -> tuple[Path, Path]:
    """Return the file *train*.npz and the file *test*.npz in `folder`; DataError where it has not one of each."""
    return _the_one_file(folder, "train"), _the_one_file(folder, "test")


def _the_one_file(folder: Path, split: str) -> Path:
    names = [entry.name for entry in _entries(folder) if entry.name.endswith(".npz") and split in entry.name[:-4]]
    if len(names) != 1:
        found = shortened([readable(name) for name in names]) or "none"
        raise DataError(f"data.path: {readable(folder)} must hold exactly one file *{split}*.npz; found: {found}")
    return folder / names[0]


def _labels_of(path: Path) -> Counter[int] | None:
    """Return how many images each label has; None where reading the file as a whole must tell what is wrong with it."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("labels.npy") as file:
            counts = Counter(_whole_numbers(file))
            return counts if 0 <= min(counts) <= max(counts) < counts.total() else None
    except Exception:  # a damaged file can raise anything
        return None


def _whole_numbers(file: IO[bytes]) -> "array[int]":
    """Return the numbers of a file of NumPy's format, of one axis; an error where it is none of whole numbers."""
    assert file.read(6) == b"\x93NUMPY"
    version = file.read(2)[0]
    header = ast.literal_eval(file.read(int.from_bytes(file.read(2 if version == 1 else 4), "little")).decode("utf-8"))
    (length,), kind = header["shape"], str(header["descr"])
    code = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}[kind[1:]]
    numbers = array(code, file.read())
    if (kind[0] == ">") != (sys.byteorder == "big"):
        numbers.byteswap()
    assert len(numbers) == length
    return numbers


# --- both -----------------------------------------------------------------------------------------------------------


def source_files(source: str, folder: Path) -> list[Path]:
    """Return the files that a source of your own reads; DataError where it cannot work with what is there."""
    if source == "arrays":
        return list(array_files(folder))
    return [path for split in picture_splits(folder) for files in split.classes.values() for path in files]


def state_of(files: Iterable[Path]) -> str:
    """Return a digest of the names, sizes and times of change of `files`.

    In place of the files as inputs of a rule: Snakemake would print all their names, takes braces in them for wildcards, and
    does not see that a file was replaced by an older one.
    """
    digest = hashlib.sha256()
    for path in files:
        status, name = path.stat(), os.fsencode(path)
        digest.update(b"%d %d %d %s\n" % (len(name), status.st_size, status.st_mtime_ns, name))
    return digest.hexdigest()


@dataclass(frozen=True)
class Survey:
    """What is known of your own files before they are read.

    Attributes:
        counts: number of images of each class, for training and for testing; None where only reading them tells.
        notices: lines for the user: which files are not read.
    """

    counts: tuple[list[int], list[int]] | None
    notices: list[str]


def survey(source: str, folder: Path) -> Survey:
    """Return what is known of the files of a source of your own; DataError where it cannot work with what is there."""
    if source == "arrays":
        return Survey(_count_arrays(folder), [])
    splits = picture_splits(folder)
    train, test = ([len(files) for files in split.classes.values()] for split in splits)
    return Survey((train, test), _left_out(folder, splits))


def _count_arrays(folder: Path) -> tuple[list[int], list[int]] | None:
    files = array_files(folder)
    labels = [_labels_of(path) for path in files]
    if not all(labels):
        return None
    numbers = range(max(max(found) for found in labels if found) + 1)
    counts = [[found[number] for number in numbers] for found in labels if found]
    for path, found in zip(files, counts, strict=True):
        if missing := [str(number) for number in numbers if not found[number]]:
            raise DataError(
                f"data.path: {readable(path)} has no image with the label {shortened(missing)}. Both files need images of "
                "every class, numbered 0, 1, 2, …"
            )
    return counts[0], counts[1]
