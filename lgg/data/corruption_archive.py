"""Archives of corrupted test sets: the official CIFAR-10-C.tar, or generated sets in the same layout.

The uncompressed tar contains `CIFAR-10-C/NAME.npy` (5N, H, W, 3) uint8, the N images at severities 1 to 5 in turn, and
`CIFAR-10-C/labels.npy` (5N,), the N labels repeated five times. Generated sets of another side have the name of the benchmark
whose constants they have in place of CIFAR-10-C. Pixels are read in place, without unpacking, one corruption at one severity
at a time.
"""

import errno
import hashlib
import io
import shutil
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lgg.data.corruption_names import EXTRA_NAMES, NAMES, SEVERITIES, benchmark_of, unknown_name, unknown_severity
from lgg.data.corruptions import corrupt
from lgg.errors import DataError
from lgg.files import atomic_path, naming, not_writing

ARCHIVE_URL = "https://zenodo.org/records/2535967/files/CIFAR-10-C.tar?download=1"
ARCHIVE_MD5 = "56bf5dcef84df0e2308c6dcbcbbd8499"
ARCHIVE_BYTES = 2_918_471_680
LABELS = "labels"

ATTEMPTS = 5  # consecutive attempts without progress
PAUSE = 2.0  # seconds between attempts
TIMEOUT = 60.0  # seconds without data
BLOCK = 1 << 20  # bytes
BYTES_AT_ONCE = 1 << 24  # of images, when reading and writing an archive
LARGEST_USTAR = 8**11  # bytes from which a file does not fit the format of the official archive
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


# --- downloading ----------------------------------------------------------------------------------------------------


def download(path: str | Path, *, url: str = ARCHIVE_URL, md5: str = ARCHIVE_MD5, size: int = ARCHIVE_BYTES) -> None:
    """Download the file at `url`, of `size` bytes and hexadecimal `md5`, to `path`, resuming an interrupted download.

    A partial download is kept in PATH.part. An existing file at `path` is verified and kept. Raises DataError if the
    network or the disk fails, or if the file is not the expected one.
    """
    path = Path(path)
    if path.exists():
        if path.stat().st_size != size or _md5(path) != md5:
            raise DataError(f"{path}: not the expected file (MD5 {md5}). Remove it and run again.")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    _fetch(part, path, url, size)
    if (found := _md5(part)) != md5:
        part.unlink()
        raise DataError(
            f"{path}: the download from {url} has the MD5 {found}, not {md5}. It was removed; run again, or save the right "
            f"file as {path.absolute()} yourself."
        )
    part.replace(path)


def _fetch(part: Path, path: Path, url: str, size: int) -> None:
    """Fill `part` up to `size` bytes, retrying as long as attempts make progress."""
    yourself = f"Or download it elsewhere and save it as {path.absolute()}."
    failures, reason = 0, "the connection was closed"
    while (held := _size(part)) != size:
        if held > size:
            part.unlink()
            raise DataError(
                f"{path}: {url} sent more than the expected {size:,} bytes. They were removed; run again. {yourself}"
            )
        if (free := shutil.disk_usage(part.parent).free) < size - held:
            raise DataError(
                f"{path}: {size - held:,} bytes are missing, but the disk has only {free:,} free. Free some space and run "
                "again; the download will resume."
            )
        try:
            _fetch_once(part, held, url, size)
        except HTTPError as error:
            reason = str(error)
            if error.code < 500 and error.code not in (408, 416, 429):
                raise DataError(f"{path}: {url} responded with {error}. Check the address. {yourself}") from None
            if error.code == 416:  # the server has no such range: the partial file is of another file
                part.unlink(missing_ok=True)
        except (OSError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise DataError(
                    f"{path}: the disk is full. Free some space and run again; the download will resume."
                ) from None
            reason = str(error) or type(error).__name__
        failures = 0 if _size(part) > held else failures + 1
        if failures >= ATTEMPTS:
            raise DataError(
                f"{path}: could not be downloaded from {url} ({reason}); {_size(part):,} of {size:,} bytes were received. "
                f"Check the network and run again to resume. {yourself}"
            )
        if _size(part) < size:
            time.sleep(PAUSE)


def _fetch_once(part: Path, held: int, url: str, size: int) -> None:
    """Append to `part` what one connection sends, starting at byte `held`."""
    request = Request(url, headers={"Range": f"bytes={held}-"} if held else {})
    with urlopen(request, timeout=TIMEOUT) as response:
        goes_on = bool(held) and response.status == 206 and _begins_at(response, held)
        # a page of a proxy or an error page, which must not be saved as the start of the file
        if (kind := response.headers.get_content_type()) == "text/html":
            raise DataError(
                f"{part.with_suffix('')}: {url} responded with a web page ({kind}) instead of the file. Open the address in "
                "a browser to see what it says, and run again later, or save the file there yourself."
            )
        with (
            part.open("ab" if goes_on else "wb") as file,
            tqdm(total=size, initial=held if goes_on else 0, unit="B", unit_scale=True, desc=part.stem) as progress,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                progress.update(len(block))
                if file.tell() > size:
                    return


def _begins_at(response: HTTPResponse, held: int) -> bool:
    return (response.headers.get("Content-Range") or "").startswith(f"bytes {held}-")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Member:
    """The array of one .npy file: the file's name, the array's byte offset in the archive, shape and type."""

    file: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class CorruptionArchive:
    """An archive of corrupted images, read lazily.

    Raises DataError if `path` is missing, damaged or truncated, or not such an archive.

    Attributes:
        names: the corruptions it contains, in the paper's order.
        labels: (N,), of the N images that each corruption has at each severity.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        members = self._members()
        labels = members.pop(LABELS, None)
        known = [name for name in (*NAMES, *EXTRA_NAMES) if name in members]
        self.names: tuple[str, ...] = (*known, *sorted(set(members) - set(known)))
        if labels is None or not self.names:
            what = f"{LABELS}.npy" if labels is None else "a corruption, NAME.npy"
            raise DataError(f"{self._path}: does not contain {what}. {self._advice}")
        if len(labels.shape) != 1 or labels.shape[0] % len(SEVERITIES) or not np.issubdtype(labels.dtype, np.integer):
            raise self._wrong(labels.file, f"labels must be integers (5N,), not {labels.shape} of {labels.dtype}")
        everything = self._read(labels, 0, labels.shape[0]).astype(np.int64).reshape(len(SEVERITIES), -1)
        if (everything != everything[0]).any():
            raise self._wrong(labels.file, "the labels differ between severities")
        self.labels: NDArray[np.int64] = everything[0]
        for member in members.values():
            if member.dtype != np.uint8 or len(member.shape) != 4 or member.shape[0] != everything.size:
                raise self._wrong(
                    member.file,
                    f"images must be ({everything.size}, H, W, 3) of uint8, one for each label, not {member.shape} of "
                    f"{member.dtype}",
                )
            if member.shape[3] != 3:
                raise self._wrong(member.file, f"images must have 3 channels, not {member.shape[3]}")
        self._images = members

    def shape(self) -> tuple[int, ...]:
        """Return the shape (H, W, 3) of the images."""
        return self._images[self.names[0]].shape[1:]

    def images(self, name: str, severity: int, positions: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """Return the images (n, H, W, 3) uint8 of one corruption at one severity: those at `positions`, sorted, or all N.

        Raises DataError if the archive has no such corruption, or the severity is not 1 to 5.
        """
        if name not in self._images:
            raise DataError(f"{self._path}: {unknown_name(name, self.names)}")
        if severity not in SEVERITIES or isinstance(severity, bool):
            raise DataError(f"{self._path}: {unknown_severity(severity)}")
        member, first = self._images[name], (severity - 1) * len(self.labels)
        if positions is None:
            return self._read(member, first, len(self.labels))
        chosen = np.empty((len(positions), *member.shape[1:]), dtype=np.uint8)
        for start in range(0, len(self.labels), step := images_at_once(member.shape)):
            low, high = np.searchsorted(positions, (start, start + step))
            if low < high:
                rows = positions[low:high]
                span = self._read(member, first + int(rows[0]), int(rows[-1] - rows[0]) + 1)
                chosen[low:high] = span[rows - rows[0]]
        return chosen

    @property
    def _advice(self) -> str:
        return "Remove it and run again, or replace it by a complete one."

    def _wrong(self, file: str, reason: str) -> DataError:
        return DataError(f"{self._path}: {file} cannot be used: {reason}. {self._advice}")

    def _read(self, member: _Member, start: int, count: int) -> NDArray[Any]:
        """Return `count` rows of a .npy file, starting at row `start`."""
        in_a_row = int(np.prod(member.shape[1:], dtype=object))
        offset = member.offset + start * in_a_row * member.dtype.itemsize
        with naming(self._path):
            values = np.fromfile(self._path, member.dtype, count * in_a_row, offset=offset)
        return values.reshape(count, *member.shape[1:])

    def _members(self) -> dict[str, _Member]:
        """Return the .npy files of the archive by name, reading only their headers."""
        if not self._path.is_file():
            raise DataError(f"{self._path}: file not found")
        length = self._path.stat().st_size
        found = {}
        try:
            with tarfile.open(self._path, "r:") as archive, self._path.open("rb") as file:
                end = 0
                for entry in archive:
                    end = entry.offset_data + (-(-entry.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
                    name = Path(entry.name)
                    if entry.isfile() and name.suffix == ".npy":
                        found[name.stem] = self._member(file, entry)
                # tarfile reads a file that is truncated between members, or has a damaged header, as a shorter archive
                file.seek(end)
                whole = end < length and not any(file.read(tarfile.BLOCKSIZE))
        except (tarfile.TarError, OSError, EOFError) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: from a damaged offset
                error.filename = str(self._path)
                raise  # a failed read does not mean that the content is wrong
            raise DataError(f"{self._path}: damaged, truncated, or not a tar file ({error}). {self._advice}") from None
        if not whole:
            raise DataError(f"{self._path}: damaged or truncated after byte {end:,}. {self._advice}")
        return found

    def _member(self, file: BinaryIO, entry: tarfile.TarInfo) -> _Member:
        """Return the place of the array in the .npy file `entry`; DataError if it is not a plain array."""
        file.seek(entry.offset_data)
        try:
            version = np.lib.format.read_magic(file)
            readers = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            if version not in readers:
                raise self._wrong(entry.name, f"it has the unknown .npy version {version}")
            shape, fortran_order, dtype = readers[version](file)
        except ValueError as error:
            raise self._wrong(entry.name, str(error)) from None
        if dtype.hasobject:
            raise self._wrong(entry.name, "it contains Python objects, which are not read")
        if fortran_order and len(shape) > 1:
            raise self._wrong(entry.name, "its array is in column-major order")
        header = file.tell() - entry.offset_data
        if header + int(np.prod(shape, dtype=object)) * dtype.itemsize != entry.size:
            raise self._wrong(
                entry.name, f"it has {entry.size - header:,} bytes, which do not match {shape} of {dtype}"
            )
        return _Member(entry.name, file.tell(), shape, dtype)


def images_at_once(shape: Sequence[int]) -> int:
    """Return the number of 8-bit images of `shape` (…, H, W, 3) that are read or generated together."""
    return max(1, BYTES_AT_ONCE // int(np.prod(shape[-3:], dtype=object)))


# --- writing --------------------------------------------------------------------------------------------------------


def write_archive(
    path: str | Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    names: Sequence[str],
    *,
    seed: int = 0,
    workers: int = 1,
) -> None:
    """Write an archive of `images` (N, S, S, 3) under each corruption of `names` at each severity, atomically.

    Pixels are those of `corrupt`, written in parts so that only one part of one set is in memory. Raises DataError as
    `corrupt` does, ValueError if the numbers of labels and images differ.
    """
    if labels.shape != images.shape[:1] or not len(images):
        raise ValueError(
            f"images and labels must have the same length, at least 1, not {len(images)} and {labels.shape}"
        )
    for name in names:
        corrupt(images[:1], name, 1)  # reject a wrong name or image before hours of work
    shape = (len(SEVERITIES) * len(images), *images.shape[1:])
    large = int(np.prod(shape, dtype=object)) >= LARGEST_USTAR - BLOCK
    form, folder = tarfile.GNU_FORMAT if large else tarfile.USTAR_FORMAT, benchmark_of(images.shape[1]).name
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=form) as archive:
        everything = np.tile(labels.astype(np.int64), len(SEVERITIES))
        _add(archive, f"{folder}/{LABELS}.npy", everything.shape, everything.dtype, iter([everything]))
        for name in names:
            _add(archive, f"{folder}/{name}.npy", shape, np.dtype(np.uint8), _sets(images, name, seed, workers))


def _sets(images: NDArray[np.uint8], name: str, seed: int, workers: int) -> Iterator[NDArray[np.uint8]]:
    for severity in SEVERITIES:
        for start in range(0, len(images), step := images_at_once(images.shape)):
            part = images[start : start + step]
            positions = np.arange(start, start + len(part))
            with not_writing():
                corrupted = corrupt(part, name, severity, seed=seed, positions=positions, workers=workers)
            yield corrupted


def _add(
    archive: tarfile.TarFile,
    file: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    parts: Iterator[NDArray[Any]],
) -> None:
    """Add the .npy file `file`, an array of `shape` and `dtype` given in `parts`."""
    header = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, description)
    entry = tarfile.TarInfo(file)
    entry.size = len(header.getvalue()) + int(np.prod(shape, dtype=object)) * dtype.itemsize
    archive.addfile(entry, _Parts(header.getvalue(), parts))


class _Parts(io.BufferedIOBase):
    """A readable file whose content is generated while it is read."""

    def __init__(self, start: bytes, parts: Iterator[NDArray[Any]]) -> None:
        self._held = memoryview(start)
        self._parts = parts

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next `size` bytes, or fewer at the end."""
        taken = bytearray()
        while size is None or size < 0 or len(taken) < size:
            if not self._held:
                part = next(self._parts, None)
                if part is None:
                    break
                self._held = np.ascontiguousarray(part).data.cast("B")
                continue
            length = len(self._held) if size is None or size < 0 else size - len(taken)
            taken += self._held[:length]
            self._held = self._held[length:]
        return bytes(taken)
