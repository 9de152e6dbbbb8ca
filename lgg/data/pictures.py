"""Pictures in any format that Pillow reads, as 32 × 32 RGB pixels."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from lgg.data.own_files import readable
from lgg.errors import DataError

SIDE = 32

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


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return the picture in `path` (32, 32, 3): rotated as its EXIF data say, on white, its central square resized.

    For an animation this is the first frame. If EXIF data cannot be read, the picture is not rotated. 16 bits per channel
    are rounded to 8; colour profiles are not applied.

    Raises DataError, with the file's name and what to do, if the picture cannot be read.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=_formats()) as image:
            image.load()
            return resize(_over_white(_turned(_of_eight_bits(image), _orientation(image))))
    except DataError as error:
        raise DataError(f"{readable(path)}: {error}") from None
    except Image.DecompressionBombError:
        raise DataError(f"{readable(path)}: has too many pixels. Save it at a smaller size, or remove it.") from None
    except Exception as error:  # Pillow raises different errors for different kinds of damage
        reason = readable(str(error).replace(str(path), path.name)) or type(error).__name__
        raise DataError(
            f"{readable(path)}: not a readable picture ({reason}). Save it again with another program, or remove it."
        ) from None


def resize(image: Image.Image) -> NDArray[np.uint8]:
    """Return the central square of an RGB picture as (32, 32, 3), resampled with antialiasing."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box))


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
