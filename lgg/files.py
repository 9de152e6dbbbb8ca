"""Atomic files: everything is written under a temporary name and then renamed.

File locks and modes are optional, since some network file systems do not support them. Nor do some support memory mapping:
only images are mapped (`lgg.data.storage`), where that is possible.
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

# errors of fsync on file systems that do not support it
_NOTHING_TO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


def seconds_writing() -> float:
    """Return how many seconds this process has spent in `atomic_path` blocks, excluding `not_writing` blocks."""
    return _seconds_writing


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` (same suffix) that replaces `path` when the block ends without an error.

    A missing folder is created. After an error nothing is left behind and an existing file at `path` is unchanged. A
    process that is killed leaves its temporary file, which the next one to write `path` removes if the file system has
    locks. The time of the block and of the renaming counts as writing.

    Raises OSError, with the name of the file, if the file system reports an error.
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
        except SafetensorError as error:  # raised by safetensors when the disk is full
            raise OSError(f"{path}: {error}") from None
        finally:
            temporary.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # the content is already on disk
                os.close(handle)
            _seconds_writing += time.perf_counter() - began


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Add the name `path` to an OSError of this block that has none, as for a full disk or a failed read."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # otherwise the name would replace its message
            error.filename = error.filename or str(path)
        raise


def _mark_as_used(handle: int) -> None:
    """Lock a temporary file until this process ends, so that no other writer's `_remove_left` deletes it."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)


def _make_readable(temporary: Path) -> None:
    """Give a file of mkstemp, which is private, the permissions of any other file of this user."""
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
    """Remove temporary files of `path` that no process is writing."""
    if sys.platform == "win32":
        return
    for left in path.parent.glob(f".{glob.escape(path.stem)}.????????{glob.escape(path.suffix)}"):
        with contextlib.suppress(OSError), left.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


@contextlib.contextmanager
def not_writing() -> Iterator[None]:
    """Do not count the time of this block, inside `atomic_path`, as writing: for content that is computed meanwhile."""
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

    Columns are in the order in which their keys first appear; missing keys, None and NaN give empty cells.
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
    """Return the metadata in the header of a safetensors file, without reading its tensors.

    Raises ValueError if `path` is not a complete safetensors file, OSError if it cannot be read.
    """
    return read_tensors_header(path)[0]


def read_tensors_header(path: str | Path) -> tuple[dict[str, str], dict[str, dict[str, Any]], int]:
    """Return the metadata of a safetensors file, its entry for each tensor, and the position in the file where they start.

    An entry has `dtype`, `shape` and `data_offsets`, the first and last position, relative to the start.

    Raises ValueError if `path` is not a complete safetensors file, OSError if it cannot be read.
    """
    with naming(path), Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length > size:
            raise ValueError("not a safetensors file, or truncated")
        text = file.read(length)
    start = 8 + length
    try:
        header = json.loads(text)
        metadata: dict[str, str] = header.pop("__metadata__", {})
        end = start + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise ValueError("not a safetensors file, or its header is damaged") from None
    if end != size or not isinstance(metadata, dict):
        raise ValueError(f"{size:,} bytes instead of {end:,}")
    return metadata, header, start


def canonical_json(content: Any) -> str:
    """Return `content` as canonical JSON: sorted keys, no spaces, ASCII only.

    Equal settings give equal strings, so comparing strings shows whether a stage must run again.
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256_of_file(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of the bytes of `path`."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
