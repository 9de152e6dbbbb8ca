"""Your own pictures and arrays: which files a source reads, and what is known about them before they are read.

Planning and reading share the list of suffixes and the rule for hidden files. Imports neither torch nor numpy.
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

#: lower-case suffixes of the formats that Pillow reads without other programs
PICTURES = (
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip
TEST_FOLDERS = ("test", "val", "valid", "validation")  # "test" if it exists, else the only one of the others
NAMED = 5  # most files or classes named in a message


@dataclass(frozen=True)
class Pictures:
    """The files of one split of a folder of pictures.

    Attributes:
        folder: folder of the split.
        classes: paths of the pictures of each class, including those in subfolders; classes are sorted by name. There may be
            millions, for which objects take long to make.
        others: files that are not pictures.
    """

    folder: Path
    classes: dict[str, list[str]]
    others: list[Path]


def readable(name: str | Path) -> str:
    """Return a printable form of a file's name: invalid UTF-8, line breaks and the like are escaped."""
    # Python represents an invalid byte in a file's name by one of these characters
    bytes_ = {letter: f"\\x{letter - 0xDC00:02x}" for letter in range(0xDC80, 0xDD00)}
    return "".join(
        letter if letter.isprintable() else bytes_.get(ord(letter), ascii(letter)[1:-1]) for letter in str(name)
    )


def shortened(names: Sequence[str]) -> str:
    """Return the first few of `names` on one line, and the number of the others."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


# --- pictures -------------------------------------------------------------------------------------------------------


def picture_splits(folder: Path) -> tuple[Pictures, Pictures]:
    """Return the training and test pictures, in `folder`/train/CLASS/ and `folder`/test/CLASS/.

    Raises DataError, listing all mistakes, if a split or a class is missing or has no pictures.
    """
    splits = train, test = _split(folder, "train"), _split(folder, _test_folder(folder))
    mistakes = []
    for split in splits:
        if len(split.classes) < 2:
            mistakes.append(f"{readable(split.folder)} must contain a folder for each of at least two classes")
        # classes that only this split has are reported below
        shared = train.classes.keys() & test.classes.keys()
        empty = [name for name, files in split.classes.items() if not files and name in shared]
        mistakes += [f"{readable(split.folder / name)} has no pictures{_seen(split, name)}" for name in empty]
    for split, other in ((train, test), (test, train)):
        if alone := [readable(name) for name in split.classes if name not in other.classes]:
            where = readable(other.folder)
            mistakes.append(f"{shortened(alone)}: in {readable(split.folder)}, but not in {where}")
    if mistakes:
        raise DataError(f"data.path: {all_mistakes(mistakes)}")
    return train, test


def all_mistakes(mistakes: Sequence[str]) -> str:
    """Return the first of `mistakes`, one per line, and the number of the others."""
    return "\n  ".join([*mistakes[:20], *([f"and {len(mistakes) - 20:,} more"] if len(mistakes) > 20 else [])])


def _test_folder(folder: Path) -> str:
    found = [name for name in TEST_FOLDERS if (folder / name).is_dir()]
    if "test" in found or len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"data.path: {readable(folder)} has {', '.join(found)}, but no folder `test`. Rename the one to test on to `test`."
        )
    return "test"


def _split(folder: Path, name: str) -> Pictures:
    inside = folder / name
    if not inside.is_dir():
        there = [readable(entry.name) for entry in _entries(folder)]
        raise DataError(
            f"data.path: there is no folder {readable(inside)}. {readable(folder)} must contain train/CLASS/ and test/CLASS/ "
            f"with the pictures of each class; it contains {shortened(there) or 'nothing'}."
        )
    classes, others = {}, []
    for entry in _entries(inside):
        if _is(entry.is_dir):
            classes[entry.name], aside = _pictures(Path(entry))
            others += aside
        else:
            others.append(Path(entry))
    return Pictures(inside, classes, others)


def _pictures(folder: Path) -> tuple[list[str], list[Path]]:
    """Return the pictures in and below `folder`, and the other files, both sorted."""
    pictures: list[str] = []
    others: list[Path] = []
    for entry in _below(folder, frozenset()):
        if entry.name.lower().endswith(PICTURES) and _is(entry.is_file):
            pictures.append(entry.path)
        else:
            others.append(Path(entry))
    return pictures, others


def _below(folder: Path, above: frozenset[str]) -> Iterator[os.DirEntry[str]]:
    """Yield everything below `folder` except folders; links are followed, but not in cycles."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _entries(folder):
        if _is(entry.is_dir):
            yield from _below(Path(entry), above | {real})
        else:
            yield entry


def _is(kind: Callable[[], bool]) -> bool:
    """Return `kind()`, or False for a broken link or an entry that may not be read."""
    try:
        return kind()
    except OSError:
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of `folder`, sorted by name, except hidden ones (names that begin with a dot)."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"data.path: {readable(folder)} cannot be listed ({error.strerror}).") from None
    return sorted(found, key=lambda entry: entry.name)


def _seen(split: Pictures, name: str) -> str:
    """Return a message about what the folder of a class contains instead of pictures."""
    inside = [readable(path.name) for path in split.others if (split.folder / name) in path.parents]
    return f" ({', '.join(PICTURES)}), but {shortened(inside)}" if inside else ""


def _left_out(folder: Path, splits: tuple[Pictures, Pictures]) -> list[str]:
    """Return a line for each split of a folder of pictures that has files which are not read, and for splits not read."""
    lines = [
        f"{readable(split.folder)}: {len(split.others):,} other files are not read: "
        + shortened([readable(path.relative_to(split.folder)) for path in split.others])
        for split in splits
        if split.others
    ]
    unused = [name for name in TEST_FOLDERS if (folder / name).is_dir() and name != splits[1].folder.name]
    if unused:
        lines.append(f"{readable(folder)}: {', '.join(unused)} is not read; the test images are those in `test`")
    return lines


# --- arrays ---------------------------------------------------------------------------------------------------------


def array_files(folder: Path) -> tuple[Path, Path]:
    """Return the files *train*.npz and *test*.npz in `folder`; DataError unless there is exactly one of each."""
    return _the_one_file(folder, "train"), _the_one_file(folder, "test")


def _the_one_file(folder: Path, split: str) -> Path:
    names = [entry.name for entry in _entries(folder) if entry.name.endswith(".npz") and split in entry.name[:-4]]
    if len(names) != 1:
        found = shortened([readable(name) for name in names]) or "none"
        raise DataError(f"data.path: {readable(folder)} must contain exactly one file *{split}*.npz; found: {found}")
    return folder / names[0]


def _labels_of(path: Path) -> Counter[int] | None:
    """Return the number of images of each label, or None if the file is invalid, which reading it will report."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("labels.npy") as file:
            counts = Counter(_whole_numbers(file))
            return counts if 0 <= min(counts) <= max(counts) < counts.total() else None
    except Exception:  # a damaged file can raise many kinds
        return None


def _whole_numbers(file: IO[bytes]) -> "array[int]":
    """Return the numbers of a one-dimensional integer array in NumPy's file format; raises an error for other content."""
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


def source_files(source: str, folder: Path) -> list[str]:
    """Return the paths of the files that a source of your own data reads; DataError if they are not usable."""
    if source == "arrays":
        return list(map(str, array_files(folder)))
    return [path for split in picture_splits(folder) for files in split.classes.values() for path in files]


def state_of(files: Iterable[str]) -> str:
    """Return a digest of the names, sizes and modification times of `files`.

    It replaces the files as inputs of a rule: Snakemake would print all names, interpret braces in them as wildcards, and
    not notice that a file was replaced by an older one.
    """
    digest = hashlib.sha256()
    for path in files:
        status, name = os.stat(path), os.fsencode(path)  # noqa: PTH116 - a Path for each of millions takes long
        digest.update(b"%d %d %d %s\n" % (len(name), status.st_size, status.st_mtime_ns, name))
    return digest.hexdigest()


@dataclass(frozen=True)
class Survey:
    """What is known about your own files before they are read.

    Attributes:
        counts: number of images of each class, for training and for testing; None if the files must be read to know.
        notices: lines for the user about files that are not read.
    """

    counts: tuple[list[int], list[int]] | None
    notices: list[str]


def survey(source: str, folder: Path) -> Survey:
    """Return what is known about the files of a source of your own data; DataError if they are not usable."""
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
                f"data.path: {readable(path)} has no images with the label {shortened(missing)}. Both files need images of "
                "every class, numbered 0, 1, 2, …"
            )
    return counts[0], counts[1]
