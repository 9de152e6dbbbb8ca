"""Files that are either whole or absent: everything is written under a temporary name and renamed.

Locks and modes are courtesies, which some network file systems do not offer: without them everything goes on. No file is
mapped into memory, which some refuse.
"""

import contextlib
import csv
import errno
import glob
import hashlib
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

if sys.platform != "win32":
    import fcntl

_seconds_writing = 0.0

# what fsync answers where there is nothing to wait for
_NOTHING_TO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


def seconds_writing() -> float:
    """Return how many seconds this process has spent in blocks of `atomic_path`, those of `not_writing` taken off."""
    return _seconds_writing


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix) that takes its place when the block ends without an error.

    The folder is made where it is missing. After an error nothing is left behind and an older file at `path` stays
    as it was; a process that is killed leaves its temporary file, which the next one to write `path` removes where the
    file system has locks. What the block and the renaming take counts as writing.

    Raises OSError, with the name of a file, where the file system refuses.
    """
    global _seconds_writing
    began = time.perf_counter()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path)
    with naming(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        temporary = Path(name)
        try:
            _mark_as_used(handle)
            yield temporary
            _make_readable(temporary)
            with temporary.open("rb") as written:
                _sync(written.fileno())
            temporary.replace(path)
        except SafetensorError as error:  # what its writer makes of a full disk
            raise OSError(f"{path}: {error}") from None
        finally:
            temporary.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # what was written is on the disk already
                os.close(handle)
            _seconds_writing += time.perf_counter() - began


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Give an OSError of this block the name `path` where it has none, as that of a full disk or a failed read."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # else its text says all, which a name would take the place of
            error.filename = error.filename or str(path)
        raise


def _mark_as_used(handle: int) -> None:
    """Lock a temporary file until this process ends, which keeps `_remove_left` of another writer away."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)


def _make_readable(temporary: Path) -> None:
    """Make a file of mkstemp, which is private, as readable as any other file of this user."""
    umask = os.umask(0)
    os.umask(umask)
    with contextlib.suppress(OSError):
        temporary.chmod(0o666 & ~umask)


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOTHING_TO_SYNC:
            raise


def _remove_left(path: Path) -> None:
    """Remove the temporary files of `path` that no process writes any more."""
    if sys.platform == "win32":
        return
    for left in path.parent.glob(f".{glob.escape(path.stem)}.????????{glob.escape(path.suffix)}"):
        with contextlib.suppress(OSError), left.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


@contextlib.contextmanager
def not_writing() -> Iterator[None]:
    """Do not count as writing what this block takes, inside one of `atomic_path`: content that is made on the way."""
    global _seconds_writing
    began = time.perf_counter()
    try:
        yield
    finally:
        _seconds_writing -= time.perf_counter() - began


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` to `path` as indented JSON, atomically; ValueError for a number that is not finite."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_rows(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows`, at least one, to `path` as CSV, atomically.

    Columns stand in the order in which they first come up; a cell is empty where a row has no such key, or None or NaN.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: None if _is_nan(value) else value for key, value in row.items()} for row in rows)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def read_json(path: str | Path) -> Any:
    """Return the content of the JSON file `path`."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_tensors_metadata(path: str | Path) -> dict[str, str]:
    """Return the texts in the header of a safetensors file, of which nothing else is read.

    Raises ValueError where `path` is no whole file of this kind, OSError where it cannot be read.
    """
    with naming(path), Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length > size:
            raise ValueError("no safetensors file, or one that is cut short")
        text = file.read(length)
    try:
        header = json.loads(text)
        metadata: dict[str, str] = header.pop("__metadata__", {})
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise ValueError("no safetensors file, or its header is damaged") from None
    if end != size or not isinstance(metadata, dict):
        raise ValueError(f"{size:,} bytes in place of {end:,}")
    return metadata


def canonical_json(content: Any) -> str:
    """Return `content` as JSON in one spelling: sorted keys, no spaces, ASCII only.

    Equal settings give equal strings, so a string comparison tells whether a stage has anything new to do.
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256_of_file(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of the bytes of `path`."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
