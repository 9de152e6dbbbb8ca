import io
import itertools
import random
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from lgg.data.own_files import PICTURES
from lgg.data.pictures import FORMATS, read_picture, read_pictures
from lgg.errors import DataError

SIDE = 32


def colours(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape or (SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def read(tmp_path):
    """Return a function that saves a picture and reads it."""

    def saved_and_read(image, name="it.png", **options):
        image.save(tmp_path / name, **options)
        return read_picture(tmp_path / name, SIDE)

    return saved_and_read


# --- what is read -------------------------------------------------------------------------------------------------


def test_every_suffix_is_one_of_a_format_that_is_read():
    Image.init()
    known = Image.registered_extensions()
    for suffix in PICTURES:
        assert known[suffix] in FORMATS
        assert known[suffix] in Image.OPEN or suffix == ".avif"
    assert {known[suffix] for suffix in PICTURES} == set(FORMATS)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF", "a.gif", "a.webp", "a.ppm", "a.tga", "a.jp2"])
def test_lossless_formats_are_read_unchanged(read, name):
    picture = Image.fromarray(colours() // 64 * 64).quantize(64).convert("RGB")  # few enough colours for a GIF
    np.testing.assert_array_equal(read(picture, name, lossless=True), np.asarray(picture))


def test_the_content_determines_the_format(read):
    np.testing.assert_array_equal(read(Image.fromarray(colours()), "it.jpg", format="PNG"), colours())


def test_postscript_is_not_run(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "it.eps")
    (tmp_path / "it.eps").rename(tmp_path / "it.png")
    with pytest.raises(DataError, match=r"it\.png: not a readable picture"):
        read_picture(tmp_path / "it.png", SIDE)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_the_first_frame_of_an_animation_is_read(read, name):
    first, second = (Image.new("RGB", (SIDE, SIDE), colour) for colour in ("red", "blue"))
    moving = read(first, name, save_all=True, append_images=[second])
    assert (abs(moving.astype(int) - [255, 0, 0]) <= 2).all()


# --- modes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [np.arange(0, 65536, 64), np.arange(1024) + 32_000], ids=["whole range", "dense"])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_rounded_to_eight(read, levels, name):
    wide = levels.astype(np.uint16).reshape(SIDE, SIDE)
    expected = np.rint(wide / 65535 * 255)
    np.testing.assert_array_equal(read(Image.fromarray(wide), name), np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_of_unknown_range_are_refused(read, dtype):
    with pytest.raises(DataError, match=r"it\.tif: has 32 bits per channel .* Save it with 8 or 16 bits"):
        read(Image.fromarray(colours(SIDE, SIDE).astype(dtype)), "it.tif")


def test_inks_become_their_colours(read):
    inks = np.zeros((SIDE, SIDE, 4), np.uint8)
    inks[:16, :, 0] = 255  # cyan
    inks[16:, :, 3] = 255  # black
    picture = read(Image.fromarray(inks, "CMYK"), "it.tif")
    assert (picture[:16] == [0, 255, 255]).all() and (picture[16:] == 0).all()


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_modes_of_one_channel_become_rgb(read, mode):
    picture = Image.fromarray(colours()).convert(mode)
    np.testing.assert_array_equal(read(picture), np.asarray(picture.convert("RGB")))


# --- transparency -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *((f"a.{kind}", "RGBA") for kind in ("png", "webp", "tif", "tga")),
        *((f"a.{kind}", "LA") for kind in ("png", "tif")),
    ],
)
def test_transparent_pixels_are_shown_on_white(read, name, mode):
    alpha = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None], SIDE, axis=0)
    colour = np.dstack([colours(), alpha]) if mode == "RGBA" else np.dstack([colours()[..., 0], alpha])
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    picture = read(Image.fromarray(colour, mode), name, **options)
    share = alpha[..., None] / 255
    expected = share * colour[..., :-1] + (1 - share) * 255
    assert np.abs(picture - expected).max() <= 1
    assert (picture[:, 0] == 255).all()


SQUARES = np.indices((SIDE, SIDE)).sum(axis=0) % 2 == 0


def with_palette():
    picture = Image.fromarray(np.where(SQUARES, 7, 3).astype(np.uint8))
    picture.putpalette([value for place in range(256) for value in (place, 0, 255 - place)])
    return picture


@pytest.mark.parametrize(
    ("picture", "hidden", "kind"),
    [
        (with_palette(), 7, "png"),
        (with_palette(), 7, "gif"),
        (Image.fromarray(np.where(SQUARES, 7, 3).astype(np.uint8)), 7, "png"),
        (Image.fromarray(np.where(SQUARES[..., None], [9, 8, 7], [9, 8, 6]).astype(np.uint8)), (9, 8, 7), "png"),
        (Image.fromarray(np.where(SQUARES, 20_000, 20_001).astype(np.uint16)), 20_000, "png"),
    ],
    ids=["palette", "GIF", "grey", "colour", "16 bits"],
)
def test_a_transparent_colour_is_white(read, picture, hidden, kind):
    shown = read(picture, f"it.{kind}", transparency=hidden)
    assert (shown[SQUARES] == 255).all()
    assert (shown[~SQUARES] < 255).any(axis=-1).all()


# --- orientation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(10))
def test_pictures_are_rotated_by_their_exif_orientation(read, tmp_path, orientation, name):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    shown = read(Image.fromarray(colours()), name, exif=exif)
    with Image.open(tmp_path / name) as image:
        np.testing.assert_array_equal(shown, np.asarray(ImageOps.exif_transpose(image).convert("RGB")))


def test_an_invalid_make_in_exif_does_not_prevent_rotation(tmp_path):
    # two EXIF entries: Make as a float instead of text, and Orientation 6
    entries = struct.pack("<HHIf", 0x010F, 11, 1, 1.5) + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0)
    plain, turned = tmp_path / "plain.jpg", tmp_path / "turned.jpg"
    Image.fromarray(colours()).save(plain)
    Image.fromarray(colours()).save(turned, exif=exif)
    np.testing.assert_array_equal(read_picture(turned, SIDE), np.rot90(read_picture(plain, SIDE), -1))


def test_a_picture_with_invalid_exif_is_not_rotated(read):
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 60_000) + bytes(20)
    straight = read(Image.fromarray(colours()), "a.jpg")
    np.testing.assert_array_equal(read(Image.fromarray(colours()), "b.jpg", exif=exif), straight)


# --- unreadable pictures ------------------------------------------------------------------------------------------


def test_a_header_of_too_many_pixels_is_refused(tmp_path):
    content = io.BytesIO()
    Image.fromarray(colours()).save(content, "BMP")
    header = bytearray(content.getvalue())
    header[18:26] = struct.pack("<ii", 20_000, 20_000)
    (tmp_path / "huge.bmp").write_bytes(header)
    with pytest.raises(DataError, match=r"huge\.bmp: has too many pixels\. Save it at a smaller size, or remove it"):
        read_picture(tmp_path / "huge.bmp", SIDE)


def test_compressed_text_of_megabytes_is_refused(read):
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 2**21, zip=True)
    with pytest.raises(DataError, match=r"it\.png: not a readable picture .* Save it again with another program"):
        read(Image.fromarray(colours()), pnginfo=text)


def test_all_unreadable_pictures_are_reported_after_the_others_are_read(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(60)]
    for path in paths:
        Image.fromarray(colours()).save(path)
    for path in paths[1:60:2]:
        path.write_bytes(b"no picture")
    pictures = read_pictures(paths, SIDE, threads=2)
    assert [image.shape for image, _ in itertools.islice(pictures, 30)] == [(SIDE, SIDE, 3)] * 30
    with pytest.raises(DataError) as error:
        next(pictures)
    lines = str(error.value).splitlines()
    assert [line.split(": ")[0].strip() for line in lines[:-1]] == [str(path) for path in paths[1:41:2]]
    assert lines[-1] == "  and 10 more"


def check_only_data_errors(path):
    try:
        picture = read_picture(path, SIDE)
    except DataError as error:
        assert str(error).startswith(f"{path}: ")
        assert "Save it" in str(error)
    else:
        assert picture.shape == (SIDE, SIDE, 3) and picture.dtype == np.uint8


def damaged(content, chance):
    """Return `content` truncated, with bytes changed, or with a piece inserted or removed."""
    damage = bytearray(content)
    place = chance.randrange(len(damage))
    match chance.randrange(4):
        case 0:
            del damage[place:]
        case 1:
            damage[place:place] = chance.randbytes(chance.randrange(1, 9))
        case 2:
            del damage[place : place + chance.randrange(1, 9)]
    for _ in range(chance.randrange(1, 9) if damage else 0):
        # most of the structure is at the beginning
        damage[chance.randrange(min(len(damage), chance.choice((64, 300, 10**6))))] = chance.randrange(256)
    return bytes(damage)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "TGA", "JPEG2000"])
def test_a_damaged_picture_gives_an_image_or_an_error_with_its_name(tmp_path, kind):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = 6, "somebody"
    whole = io.BytesIO()
    Image.fromarray(colours(9, 14, 3)).save(whole, kind, exif=exif)
    chance = random.Random(kind)
    for _ in range(80):
        (tmp_path / "it").write_bytes(damaged(whole.getvalue(), chance))
        check_only_data_errors(tmp_path / "it")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_any_exif_leaves_a_picture_readable(tmp_path, kind):
    chance = random.Random(kind)
    for _ in range(80):
        count = chance.randrange(1, 5)
        entries = [
            struct.pack("<HHI", chance.choice((0x010F, 0x0112, 0x8769, 0x8825, chance.randrange(2**16))),
                        chance.randrange(14), chance.choice((0, 1, 2, 100, 2**31))) + chance.randbytes(4)
            for _ in range(count)
        ]  # fmt: skip
        block = b"II*\0" + struct.pack("<IH", 8, chance.choice((count, count + 3))) + b"".join(entries)
        Image.fromarray(colours()).save(
            tmp_path / "it", kind, exif=b"Exif\0\0" + block + chance.randbytes(chance.randrange(40))
        )
        assert read_picture(tmp_path / "it", SIDE).shape == (SIDE, SIDE, 3)
