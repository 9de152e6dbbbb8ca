"""Image sets in files, one per split, read without unpickling.

The format is safetensors: `images` (N, H, W, 3) uint8 and `labels` (N,) int64, with a header that states shape, type,
classes, notes on the origin, and a SHA-256 over pixels and labels. Files are mapped into memory, so a set may be larger than
it.
"""

import hashlib
import json
import math
import mmap
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lgg.errors import DataError
from lgg.files import atomic_path, naming, not_writing, read_tensors_header, read_tensors_metadata

BLOCK = 16 * 2**20  # bytes of images that are processed at a time
GROWTH = 4096  # bytes by which a header may grow while the images are read


@dataclass(frozen=True)
class ImageSet:
    """Images of one split.

    Attributes:
        images: (N, H, W, 3) RGB, 8 bits per channel. They may be mapped from their file: see `read_images`.
        labels: (N,), 0 to C − 1.
        classes: the C class names.
        notes: what readers of results must know about the images: origin, licences, inexact copies.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
            raise DataError(f"images must be (N, H, W, 3) of uint8, not {shape} of {self.images.dtype}")
        check_labels(self.labels, self.classes, shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""
        return self.images.shape

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the images in order, in blocks (n, H, W, 3)."""
        return in_blocks(self.images)

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 over the shape, the pixels and the labels."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        for block in in_blocks(self.images):
            digest.update(np.ascontiguousarray(block).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


def check_labels(labels: NDArray[np.int64], classes: Sequence[str], count: int) -> None:
    """Raise DataError unless there are labels for `count` images, and images of every class."""
    if labels.shape != (count,) or labels.dtype != np.int64:
        raise DataError(f"there are {count} images, but labels of shape {labels.shape} and type {labels.dtype}")
    missing = sorted(set(range(len(classes))) - set(labels.tolist()))
    if missing:
        names = ", ".join(classes[label] for label in missing[:5])
        raise DataError(f"classes without images in this split: {names}. Every class needs images in both splits.")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise DataError(
            f"labels range from {labels.min()} to {labels.max()}, but there are {len(classes)} classes, "
            f"0 to {len(classes) - 1}"
        )


class Blocks(Protocol):
    """Images that are read in blocks: `ImageSet`, or `lgg.data.splits.Split`, whose notes are complete once it is read."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def labels(self) -> NDArray[np.int64]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    def blocks(self) -> Iterator[NDArray[np.uint8]]: ...


def write_images(
    path: str | Path,
    data: Blocks,
    extra: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
    *,
    watch: Callable[[NDArray[np.uint8]], None] | None = None,
) -> str:
    """Write one split to `path`, atomically, while it is read, and return the SHA-256 of its pixels and labels.

    Args:
        path: of the file.
        data: the images; a block of them at a time is in memory.
        extra: more entries of the header, or what returns them once all images are read.
        watch: called with each block.

    Raises DataError where the disk has too little space, and what reading raises.
    """
    labels = np.ascontiguousarray(data.labels, dtype="<i8")
    reserved = _reserved(_header(data, "0" * 64, {}))
    size = math.prod(data.shape) + labels.nbytes + reserved
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        _check_space(Path(path), size)
        file.seek(reserved)
        file.write(labels.data)
        digest = hashlib.sha256(repr(tuple(data.shape)).encode())
        count = 0
        for block in _read(data, watch):
            digest.update(block.data)
            file.write(block.data)
            count += len(block)
        assert count == data.shape[0]
        digest.update(labels.data)
        header = _header(data, digest.hexdigest(), (extra() if callable(extra) else extra) or {})
        if len(header) > reserved - 8:
            raise ValueError(f"{path}: the header grew by more than {GROWTH} bytes while the images were read")
        file.seek(0)
        file.write((reserved - 8).to_bytes(8, "little") + header.ljust(reserved - 8))
    return digest.hexdigest()


def _header(data: Blocks, sha256: str, extra: Mapping[str, Any]) -> bytes:
    """Return the header of a file of images, as safetensors has it."""
    about = {
        "format": "lgg-images-1",
        "shape": data.shape,
        "dtype": "uint8",
        "classes": data.classes,
        "notes": data.notes,
        "sha256": sha256,
        **extra,
    }
    first = 8 * len(data.labels)
    tensors = {
        "__metadata__": {"lgg": json.dumps(about, ensure_ascii=True)},
        "labels": {"dtype": "I64", "shape": data.labels.shape, "data_offsets": (0, first)},
        "images": {"dtype": "U8", "shape": data.shape, "data_offsets": (first, first + math.prod(data.shape))},
    }
    return json.dumps(tensors, separators=(",", ":")).encode()


def _reserved(header: bytes) -> int:
    """Return how many bytes to keep free for a header that grows by what is only known once the images are read."""
    return -(-(8 + len(header) + GROWTH) // 8) * 8  # tensors start at a multiple of 8


def _check_space(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise DataError(
            f"{path}: the images take {size / 1e9:,.1f} GB, but only {free / 1e9:,.1f} GB are free. Free some space, or use a "
            "smaller data.image_size or fewer data.train_images and data.test_images."
        )


def _read(data: Blocks, watch: Callable[[NDArray[np.uint8]], None] | None) -> Iterator[NDArray[np.uint8]]:
    """Yield the blocks of images; the time that reading takes does not count as writing."""
    blocks = data.blocks()
    while True:
        with not_writing():
            block = next(blocks, None)
            if block is None:
                return
            block = np.ascontiguousarray(block)
            if watch is not None:
                watch(block)
        yield block


def read_header(path: str | Path) -> dict[str, Any]:
    """Return the header of an image file, without reading its pixels; DataError if it is not a valid image file.

    Raises OSError if the file cannot be read.
    """
    try:
        header = json.loads(read_tensors_metadata(path).get("lgg", "{}"))
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{path}: file not found") from None
    except ValueError as error:
        raise DataError(
            f"{path}: damaged, or not an image file of lgg ({error}). Remove it and run the pipeline again."
        ) from None
    if header.get("format") != "lgg-images-1":
        raise DataError(f"{path}: not an image file of lgg. Remove it and run the pipeline again.")
    return dict(header)


def read_images(path: str | Path, *, verify: bool = False) -> ImageSet:
    """Return the split in `path`; with `verify`, its SHA-256 is checked.

    The images are mapped: the system reads what is accessed, and may drop it again when memory is short (`release` drops it at
    once). The file never changes: what is written to the images stays in this process. Where a file system maps no files, they
    are read.

    Raises DataError if the file is missing, damaged, of another kind, or does not match the SHA-256 in its header, OSError
    if it cannot be read.
    """
    header = read_header(path)
    advice = "Remove it and run the pipeline again."
    try:
        _, tensors, start = read_tensors_header(path)
        content = _mapped(Path(path))
        images = _tensor(content, tensors["images"], start, "U8", np.dtype(np.uint8))
        labels = _tensor(content, tensors["labels"], start, "I64", np.dtype("<i8")).astype(np.int64)
        data = ImageSet(images, labels, tuple(header["classes"]), tuple(header["notes"]))
        changed = verify and data.sha256 != header["sha256"]
    except (ValueError, KeyError, TypeError, DataError) as error:
        raise DataError(f"{path}: damaged ({error}). {advice}") from None
    if changed:
        raise DataError(f"{path}: the pixels do not match the SHA-256 in the header. {advice}")
    return data


def _mapped(path: Path) -> "mmap.mmap | bytearray":
    """Return the bytes of a file, mapped if its file system allows that."""
    with naming(path), path.open("rb") as file:
        try:
            if sys.platform != "linux":
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            # without a reserve for the case that all of it is written to, which a file larger than memory would not get
            no_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python has it from 3.13; this is its number on Linux
            protection = mmap.PROT_READ | mmap.PROT_WRITE
            return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE | no_reserve, prot=protection)
        except OSError:
            return bytearray(file.read())


def _tensor(
    content: "mmap.mmap | bytearray", entry: Mapping[str, Any], start: int, kind: str, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return a tensor of a safetensors file with these bytes; ValueError if its entry in the header is not consistent."""
    shape, (first, last) = tuple(entry["shape"]), entry["data_offsets"]
    count = math.prod(shape)
    if entry["dtype"] != kind or last - first != count * dtype.itemsize:
        raise ValueError(f"{entry['dtype']} of shape {shape} in {last - first:,} bytes")
    return np.frombuffer(content, dtype, count, start + first).reshape(shape)


def in_blocks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield consecutive images (n, H, W, 3), a few megabytes at a time; each is released when the next one is taken."""
    step = max(1, BLOCK // max(1, math.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        yield images[start : start + step]
        release(images)


def release(images: NDArray[np.uint8]) -> None:
    """Give the memory of images that were read back to the system, if they are mapped from a file; otherwise do nothing.

    They are read again when they are accessed. What was written to mapped images is lost.
    """
    owner = _map_of(images)
    if owner is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on every system
        owner.madvise(mmap.MADV_DONTNEED)


def prefetch(images: NDArray[np.uint8], chosen: NDArray[np.int64]) -> None:
    """Let the system read the `chosen` images, all at the same time, if they are mapped from a file; otherwise do nothing.

    Reading them then waits for these alone. Without this the system reads one after the other, with megabytes around each.
    """
    owner = _map_of(images)
    if owner is None or not hasattr(mmap, "MADV_WILLNEED"):  # not on every system
        return
    start = images.ctypes.data - np.frombuffer(owner, np.uint8, 1).ctypes.data
    size = math.prod(images.shape[1:])
    for number in chosen.tolist():
        first = start + number * images.strides[0]
        within_page = first % mmap.PAGESIZE
        owner.madvise(mmap.MADV_WILLNEED, first - within_page, size + within_page)


def _map_of(images: NDArray[np.uint8]) -> mmap.mmap | None:
    """Return the map whose bytes images are, None of other images."""
    owner: Any = images
    while isinstance(owner, np.ndarray):  # a view of a view
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    return owner if isinstance(owner, mmap.mmap) else None
