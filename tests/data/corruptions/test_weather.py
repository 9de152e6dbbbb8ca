import numpy as np
import pytest
from skimage.color import hsv2rgb, rgb2hsv

from lgg.data.corruptions import SEVERITIES, corrupt, weather
from lgg.data.corruptions import frost_textures as frost_textures_module
from lgg.data.corruptions.constants import CIFAR_10_C
from lgg.data.corruptions.edges import canny, equalize
from lgg.data.corruptions.frost_textures import COUNT, SIDES, _texture, _textures, frost_textures
from lgg.data.corruptions.pixels import motion_blur
from lgg.data.corruptions.randomness import Streams

every_severity = pytest.mark.parametrize("severity", SEVERITIES)


def flat(level, count=12):
    return np.full((count, 32, 32, 3), level, dtype=np.uint8)


def assert_truncated(expected, result):
    """Check that `result` equals the intensities `expected`, clipped and truncated to 8 bits."""
    difference = 255 * np.clip(expected, 0, 1) - result
    assert difference.min() > -0.01 and difference.max() < 1.01


# --- brightness ---------------------------------------------------------------------------------------------------


@every_severity
@pytest.mark.parametrize(
    ("side", "summands"),
    [(32, (0.05, 0.1, 0.15, 0.2, 0.3)), (64, (0.1, 0.2, 0.3, 0.4, 0.5)), (128, (0.1, 0.2, 0.3, 0.4, 0.5))],
)
def test_brightness_adds_to_v_of_hsv(enlarged, side, summands, severity):
    added, few = summands[severity - 1], enlarged(side)
    few[0, :4] = 0
    hsv = rgb2hsv(few)
    brighter = corrupt(few, "brightness", severity)
    value = np.minimum(hsv[..., 2] + added, 1)
    assert_truncated(hsv2rgb(np.stack([hsv[..., 0], hsv[..., 1], value], axis=-1)), brighter)
    assert np.abs(brighter.max(axis=3) / 255 - value).max() <= 1.01 / 255


# --- fog ----------------------------------------------------------------------------------------------------------


@every_severity
@pytest.mark.parametrize("level", [60, 255])
@pytest.mark.parametrize(
    ("side", "thicknesses"), [(32, (0.2, 0.5, 0.75, 1, 1.5)), (64, (0.4, 0.7, 1, 1.5, 2)), (128, (1.5, 2, 2.5, 2.5, 3))]
)
def test_fog_over_one_grey_spans_its_formula(severity, level, side, thicknesses):
    # the fractal ranges from 0 to 1, so (x + a f) x / (x + a) ranges from x² / (x + a) to x
    thickness = thicknesses[severity - 1]
    foggy = corrupt(np.full((12, side, side, 3), level, dtype=np.uint8), "fog", severity)
    x = level / 255
    assert (np.diff(foggy.astype(int), axis=3) == 0).all()
    assert (foggy.max(axis=(1, 2, 3)) >= level - 1).all()
    assert np.abs(foggy.min(axis=(1, 2, 3)) - 255 * x**2 / (x + thickness)).max() <= 1.01


def test_fog_does_not_change_black():
    assert not corrupt(flat(0), "fog", 5).any()


class Given:
    """Replaces the random streams."""

    def __init__(self, numbers):
        self.numbers = numbers

    def uniform(self, count):
        assert self.numbers.shape[1] == count
        return self.numbers


@pytest.mark.parametrize(("side", "size"), [(8, 8), (13, 16), (32, 32)])
def test_the_fractal_is_diamond_and_square(side, size):
    numbers = np.random.default_rng(0).random((2, size * size), dtype=np.float32)
    result = weather.plasma_fractal(side, 2.5, Given(numbers))
    for draws, fractal in zip(numbers.astype(np.float64), result, strict=True):
        remaining = iter(2 * draws - 1)
        heights, step, wibble = np.zeros((size, size)), size, 100.0
        while step >= 2:
            half = step // 2
            for top, left, near in (
                (half, half, [(-half, -half), (-half, half), (half, -half), (half, half)]),
                (0, half, [(-half, 0), (half, 0), (0, -half), (0, half)]),
                (half, 0, [(-half, 0), (half, 0), (0, -half), (0, half)]),
            ):
                for row in range(top, size, step):
                    for column in range(left, size, step):
                        mean = sum(heights[(row + down) % size, (column + right) % size] for down, right in near) / 4
                        heights[row, column] = mean + wibble**2 * next(remaining)
            step, wibble = half, wibble / 2.5
        expected = (heights - heights.min()) / (heights.max() - heights.min())
        assert np.allclose(fractal, expected[:side, :side], atol=1e-5)


# --- frost --------------------------------------------------------------------------------------------------------


@every_severity
@pytest.mark.parametrize(
    ("side", "weights"),
    [
        (32, ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))),
        (64, ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55))),
        (128, ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))),
    ],
)
def test_frost_weighs_the_image_and_the_texture(severity, side, weights):
    of_image, of_frost = weights[severity - 1]
    on_black, on_grey = (
        corrupt(np.full((6, side, side, 3), level, dtype=np.uint8), "frost", severity).astype(int) for level in (0, 100)
    )
    visible = on_grey < 255
    assert visible.mean() > 0.9
    assert np.abs(on_grey - on_black - of_image * 100)[visible].max() <= 1.01
    assert on_black.max() <= 255 * of_frost


def test_frost_is_a_crop_of_a_texture():
    streams = Streams(0, "frost", 5, np.arange(12))
    choice, corner = streams.integers(COUNT), streams.integers((SIDES - 1) * 32, 2)
    assert len(set(choice)) > 1 and len(np.unique(corner, axis=0)) == 12
    for result, texture, (top, left) in zip(corrupt(flat(0), "frost", 5), choice, corner, strict=True):
        piece = frost_textures(32)[texture, top : top + 32, left : left + 32]
        assert_truncated(0.45 * piece / 255, result)


def test_frost_weights_grow_relative_to_the_image():
    # both weights change, so the distance to the clean image need not increase, but the image's share decreases
    ratios = [of_frost / of_image for of_image, of_frost in CIFAR_10_C.frost]
    assert ratios == sorted(set(ratios))


def test_textures_are_the_same_when_drawn_again():
    first = frost_textures(32)
    _texture.cache_clear()
    _textures.cache_clear()
    assert np.array_equal(frost_textures(32), first)
    assert first.shape == (COUNT, 160, 160, 3) and first.dtype == np.uint8


def test_textures_of_large_images_are_drawn_with_more_pixels(monkeypatch):
    monkeypatch.setattr(frost_textures_module, "CANVAS", 240)
    _texture.cache_clear()
    coarse, fine = (np.asarray(_texture(2, scale), dtype=float) for scale in (1, 2))
    _texture.cache_clear()
    assert fine.shape == (480, 480, 3)
    reduced = fine.reshape(240, 2, 240, 2, 3).mean(axis=(1, 3))
    assert abs(reduced.mean() - coarse.mean()) < 5 and abs(fine.std() - coarse.std()) < 5
    # the same crystals in the same places
    assert np.corrcoef(reduced.ravel(), coarse.ravel())[0, 1] > 0.9


def test_frost_on_very_large_images_is_an_enlarged_crop(monkeypatch):
    textures = np.arange(5 * 40 * 40 * 3, dtype=np.uint8).reshape(5, 40, 40, 3) // 2
    monkeypatch.setattr(weather, "frost_textures", lambda _: textures)
    streams = Streams(0, "frost", 5, np.arange(2))
    choice, corner = streams.integers(COUNT), streams.integers(32, 2)
    for result, texture, (top, left) in zip(corrupt(flat(0, 2), "frost", 5), choice, corner, strict=True):
        piece = textures[texture, top : top + 8, left : left + 8]
        # the middle of each enlarged pixel is close to it, of the weight 0.45
        assert np.corrcoef(result[1::4, 1::4].ravel(), piece.ravel())[0, 1] > 0.8


def test_textures_are_of_middle_brightness_bluish_and_differ():
    for index, texture in enumerate(frost_textures(32)):
        assert 60 < texture.mean() < 160 and 25 < texture.std() < 90
        assert texture[..., 2].mean() >= texture[..., 0].mean()
        for other in range(index):
            assert not np.array_equal(texture, frost_textures(32)[other])


# --- snow ---------------------------------------------------------------------------------------------------------


@every_severity
@pytest.mark.parametrize(
    ("side", "shares"),
    [(32, (0.95, 0.9, 0.9, 0.85, 0.8)), (64, (0.8, 0.8, 0.7, 0.65, 0.6)), (128, (0.8, 0.7, 0.7, 0.65, 0.55))],
)
def test_snow_whitens_and_adds_flakes_twice(enlarged, side, shares, severity):
    few = enlarged(side)
    streams = Streams(0, "snow", severity, np.arange(len(few)))
    flakes = weather.snow_flakes(severity, side, streams).astype(np.float64)[..., None]
    share = shares[severity - 1]
    x = few / 255
    luma = (x @ [0.299, 0.587, 0.114])[..., None]
    whitened = share * x + (1 - share) * np.maximum(x, 1.5 * luma + 0.5)
    assert_truncated(whitened + flakes + np.rot90(flakes, 2, axes=(1, 2)), corrupt(few, "snow", severity))


@every_severity
def test_flakes_are_grey_levels_and_some_are_seen(severity):
    flakes = weather.snow_flakes(severity, 32, Streams(0, "snow", severity, np.arange(20)))
    levels = flakes * 255
    assert flakes.min() == 0 and flakes.max() <= 1 and np.allclose(levels, np.rint(levels), atol=1e-4)
    assert (flakes.max(axis=(1, 2)) > 0.05).all()


@every_severity
def test_moved_flakes_are_truncated(severity, monkeypatch):
    moved = []

    def kept(*arguments):
        moved.append(motion_blur(*arguments))
        return moved[-1].copy()

    monkeypatch.setattr(weather, "motion_blur", kept)
    flakes = weather.snow_flakes(severity, 32, Streams(0, "snow", severity, np.arange(6)))
    assert_truncated(moved[0][..., 0].astype(np.float64), np.rint(255 * flakes))


def test_flakes_fall_downwards():
    # motion-blurred between 45° and 135°, flakes are taller than wide, so there is less change between rows
    flakes = weather.snow_flakes(2, 32, Streams(0, "snow", 2, np.arange(200))).astype(np.float64)
    down, across = (np.abs(np.diff(flakes, axis=axis)).mean() for axis in (1, 2))
    assert down < across


# --- spatter ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_water_only_adds_its_colour(severity):
    added = corrupt(flat(60), "spatter", severity).astype(float) - 60
    wet = added.any(axis=3)
    assert 0 < wet.mean() < 0.6 and added.min() == 0
    assert added.max() <= 0.5 * 238 + 1
    bright = added[..., 2] > 50
    assert np.allclose(added[bright][:, 0] / added[bright][:, 2], 175 / 238, atol=0.03)


@pytest.mark.parametrize("severity", [4, 5])
def test_mud_covers_with_brown(severity):
    muddy = corrupt(flat(200), "spatter", severity).astype(float)
    covered = (200 - muddy) / (200 - np.array([63, 42, 20]))
    stained = covered.max(axis=3) > 0
    assert 0 < stained.mean() < 0.6
    assert covered[stained].min() > 0.79 and covered.max() < 1.02
    assert np.abs(covered[stained] - covered[stained][:, :1]).max() < 0.02


def test_edges_are_one_pixel_wide_at_a_step_and_none_elsewhere():
    images = np.zeros((3, 16, 16), dtype=np.uint8)
    images[1, :, 8:] = 255
    images[2, 8:] = 255
    edges = canny(images, 50, 150)
    assert not edges[0].any()
    assert (edges[1].sum(axis=1) == 1).all() and set(np.flatnonzero(edges[1].any(axis=0))) <= {7, 8}
    assert np.array_equal(edges[2], edges[1].T)


def test_a_weak_edge_counts_only_where_it_joins_a_strong_one():
    images = np.zeros((2, 16, 16), dtype=np.uint8)
    images[0, :, 8:] = 20  # |∂x| is four times the step: 80
    images[1, :8, 8:] = 20
    images[1, 8:, 8:] = 60
    edges = canny(images, 50, 150)
    assert not edges[0].any()
    assert edges[1, :5].any() and edges[1, 12:].any()


def test_equalized_levels_follow_the_cumulative_histogram():
    image = np.random.default_rng(0).integers(0, 30, (1, 16, 16), dtype=np.uint8)
    result = equalize(np.concatenate([image, np.full_like(image, 9)]))
    darkest = image.min()
    for level in np.unique(image):
        share = ((image <= level).sum() - (image == darkest).sum()) / (image.size - (image == darkest).sum())
        assert np.abs(result[0][image[0] == level] - 255 * share).max() <= 0.5
    assert (result[1] == 9).all()
