"""Pictures in any format that Pillow reads, as square RGB images of a given side."""

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from lgg.data.own_files import all_mistakes, readable
from lgg.data.splits import computed
from lgg.errors import DataError

# the content of a file decides, not its name; these formats need no external program, unlike PostScript
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_pictures(paths: Sequence[str | Path], side: int, threads: int = 1) -> Iterator[tuple[NDArray[np.uint8], bool]]:
    """Yield the pictures in `paths`, in order, read by several threads: (side, side, 3), and whether it was enlarged.

    Each is rotated as its EXIF data say, put on white, and its central square resized. Of an animation this is the first
    frame. If EXIF data cannot be read, the picture is not rotated. 16 bits per channel are rounded to 8; colour profiles are
    not applied.

    Pictures that cannot be read are left out, and after all others reported in one DataError, with the files' names and what
    to do.
    """
    mistakes = []
    with warnings.catch_warnings(action="ignore"):  # around all threads, which share the filters
        formats = _formats()
        for picture in computed((partial(_read_picture, path, side, formats) for path in paths), threads):
            if isinstance(picture, DataError):
                mistakes.append(str(picture))
            else:
                yield picture
    if mistakes:
        raise DataError(all_mistakes(mistakes))


def read_picture(path: str | Path, side: int) -> NDArray[np.uint8]:
    """Return the picture in `path` as `read_pictures` does."""
    ((image, _),) = read_pictures([path], side)
    return image


def _read_picture(path: str | Path, side: int, formats: list[str]) -> tuple[NDArray[np.uint8], bool] | DataError:
    """Return a picture, or what is wrong with it."""
    try:
        with Image.open(path, formats=formats) as image:
            image.load()
            return resize(_over_white(_turned(_of_eight_bits(image), _orientation(image))), side)
    except DataError as error:
        return DataError(f"{readable(path)}: {error}")
    except Image.DecompressionBombError:
        return DataError(f"{readable(path)}: has too many pixels. Save it at a smaller size, or remove it.")
    except Exception as error:  # Pillow raises different errors for different kinds of damage
        reason = readable(str(error).replace(str(path), Path(path).name)) or type(error).__name__
        return DataError(
            f"{readable(path)}: not a readable picture ({reason}). Save it again with another program, or remove it."
        )


def resize(image: Image.Image, side: int) -> tuple[NDArray[np.uint8], bool]:
    """Return the central square of an RGB picture, resampled with antialiasing (side, side, 3), and whether it was smaller."""
    least = min(image.size)
    left, top = (image.width - least) // 2, (image.height - least) // 2
    box = (left, top, left + least, top + least)
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box)), least < side


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]  # AVIF is not in every Pillow


def _orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        number = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # cameras write many kinds of invalid EXIF data
        return None
    return TURNS.get(number) if isinstance(number, int) else None


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """Return the picture with 8 bits per channel; DataError if the range of its values is unknown."""
    if not image.mode.startswith(("I", "F")):
        return image
    if not image.mode.startswith("I;16") and image.format not in ("PNG", "PPM"):
        raise DataError(f"has 32 bits per channel ({image.mode}), of an unknown range. Save it with 8 or 16 bits.")
    sixteen = np.asarray(image).astype(np.int64)
    eight = Image.fromarray(((sixteen + 128) // 257).clip(0, 255).astype(np.uint8))
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):
        eight.putalpha(Image.fromarray(np.where(sixteen == hidden, 0, 255).astype(np.uint8)))
    return eight


def _over_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
