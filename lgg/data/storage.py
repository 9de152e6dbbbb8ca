"""Image sets in files, one per split, read without unpickling.

The format is safetensors: `images` (N, H, W, 3) uint8 and `labels` (N,) int64, with a header that states shape, type,
classes, notes on the origin, and a SHA-256 over pixels and labels. Files are mapped into memory, so a set may be larger than
it.
"""

import hashlib
import json
import math
import mmap
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from lgg.errors import DataError
from lgg.files import atomic_path, naming, read_tensors_header, read_tensors_metadata

BLOCK = 16 * 2**20  # bytes of images that are processed at a time
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python has it from 3.13; this is its number on Linux


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
        if self.labels.shape != shape[:1] or self.labels.dtype != np.int64:
            raise DataError(
                f"there are {shape[0]} images, but labels of shape {self.labels.shape} and type {self.labels.dtype}"
            )
        missing = sorted(set(range(len(self.classes))) - set(self.labels.tolist()))
        if missing:
            names = ", ".join(self.classes[label] for label in missing[:5])
            raise DataError(f"classes without images in this split: {names}. Every class needs images in both splits.")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise DataError(
                f"labels range from {self.labels.min()} to {self.labels.max()}, but there are {len(self.classes)} classes, "
                f"0 to {len(self.classes) - 1}"
            )

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 over the shape, the pixels and the labels."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        for block in in_blocks(self.images):
            digest.update(np.ascontiguousarray(block).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


def write_images(path: str | Path, data: ImageSet, extra: dict[str, Any] | None = None) -> None:
    """Write one split to `path`, atomically; `extra` is added to the header."""
    header = {
        "format": "lgg-images-1",
        "shape": data.images.shape,
        "dtype": "uint8",
        "classes": data.classes,
        "notes": data.notes,
        "sha256": data.sha256,
        **(extra or {}),
    }
    with atomic_path(path) as temporary:
        save_file(
            {"images": np.ascontiguousarray(data.images), "labels": np.ascontiguousarray(data.labels)},
            temporary,
            metadata={"lgg": json.dumps(header, ensure_ascii=True)},
        )


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
            flags, protection = mmap.MAP_PRIVATE | NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            return mmap.mmap(file.fileno(), 0, flags=flags, prot=protection)
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
    owner: Any = images
    while isinstance(owner, np.ndarray):  # a view of a view
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on every system
        owner.madvise(mmap.MADV_DONTNEED)
