"""Image sets in files, one per split, read without unpickling.

The format is safetensors: `images` (N, H, W, 3) uint8 and `labels` (N,) int64, with a header that states shape, type,
classes, notes on the origin, and a SHA-256 over pixels and labels.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from lgg.errors import DataError
from lgg.files import atomic_path, naming, read_tensors_metadata


@dataclass(frozen=True)
class ImageSet:
    """Images of one split.

    Attributes:
        images: (N, H, W, 3) RGB, 8 bits per channel.
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
        digest.update(np.ascontiguousarray(self.images).data)
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

    Raises DataError if the file is missing, damaged, of another kind, or does not match the SHA-256 in its header, OSError
    if it cannot be read.
    """
    header = read_header(path)
    advice = "Remove it and run the pipeline again."
    try:
        with naming(path):
            arrays = load(Path(path).read_bytes())
        data = ImageSet(arrays["images"], arrays["labels"], tuple(header["classes"]), tuple(header["notes"]))
        changed = verify and data.sha256 != header["sha256"]
    except (SafetensorError, KeyError, DataError) as error:
        raise DataError(f"{path}: damaged ({error}). {advice}") from None
    if changed:
        raise DataError(f"{path}: the pixels do not match the SHA-256 in the header. {advice}")
    return data
