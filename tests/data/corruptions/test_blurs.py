import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.filters import gaussian

from lgg.data.corruptions import SEVERITIES, blur, corrupt
from lgg.data.corruptions.pixels import (
    HALF_A_STEP,
    apply_map,
    filter_map,
    gaussian_kernel,
    gaussian_map,
    motion_blur,
    motion_kernel,
    motion_offsets,
    to_bytes,
    to_unit,
    zoom_map,
)
from lgg.data.corruptions.randomness import Streams

every_severity = pytest.mark.parametrize("severity", SEVERITIES)
BLURS = ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur")
ROUNDING = 2e-5  # single precision, sums of a few hundred terms of at most one


@pytest.fixture
def pictures():
    return np.random.default_rng(3).random((4, 13, 13, 3), dtype=np.float32)


@every_severity
@pytest.mark.parametrize("name", BLURS)
def test_a_uniform_image_is_not_changed(name, severity):
    levels = np.arange(256, dtype=np.uint8)
    images = np.broadcast_to(np.stack([levels, 255 - levels, levels], axis=1)[:, None, None], (256, 16, 16, 3))
    assert np.array_equal(corrupt(images, name, severity), images)


# --- kernels ------------------------------------------------------------------------------------------------------


@every_severity
def test_disk_kernels_are_weights_around_the_middle(severity):
    kernel = blur.disk_kernel(*blur.DISK[severity - 1])
    assert (kernel >= 0).all()
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert np.allclose(kernel, kernel.T) and np.allclose(kernel, kernel[::-1, ::-1])


@pytest.mark.parametrize(("severity", "pixels"), [(1, 1), (2, 1), (3, 1), (4, 5), (5, 9)])
def test_the_disk_holds_the_pixels_within_its_radius(severity, pixels):
    radius, _ = blur.DISK[severity - 1]
    kernel = blur.disk_kernel(radius, 0.01)  # practically not smoothed
    middle = len(kernel) // 2
    weights = {
        (row - middle, column - middle): weight for (row, column), weight in np.ndenumerate(kernel) if weight > 1e-9
    }
    assert len(weights) == pixels
    assert all(row**2 + column**2 <= radius**2 for row, column in weights)
    assert all(weight == pytest.approx(1 / pixels) for weight in weights.values())


@every_severity
def test_the_disk_is_smoothed_by_three_by_three_weights(severity):
    radius, deviation = blur.DISK[severity - 1]
    line = np.exp(-0.5 * np.array([-1, 0, 1]) ** 2 / deviation**2)
    sharp = np.pad(blur.disk_kernel(radius, 0.01), 1)
    expected = ndimage.convolve(sharp, np.outer(line, line) / line.sum() ** 2, mode="constant")
    assert np.allclose(np.pad(blur.disk_kernel(radius, deviation), 1), expected, atol=1e-9)


@given(st.floats(0.05, 3))
@settings(max_examples=30, deadline=None)
def test_gaussian_kernels_are_weights(sigma):
    kernel = gaussian_kernel(sigma)
    assert (kernel >= 0).all() and kernel.sum() == pytest.approx(1)
    assert kernel.max() == kernel[len(kernel) // 2, len(kernel) // 2]


@pytest.mark.parametrize(("radius", "sigma"), blur.MOTION)
def test_motion_kernels_are_half_a_gaussian(radius, sigma):
    weights = motion_kernel(radius, sigma)
    assert len(weights) == 2 * radius + 1
    assert weights.sum() == pytest.approx(1)
    steps = np.arange(len(weights))
    assert np.allclose(weights / weights[0], np.exp(-(steps**2) / (2 * sigma**2)))


@given(st.floats(-180, 180), st.integers(1, 14))
@settings(max_examples=50, deadline=None)
def test_motion_offsets_are_on_a_straight_line(angle, radius):
    offsets = motion_offsets(radius, np.array([angle]))[0]
    steps = np.arange(2 * radius + 1)[:, None]
    line = steps * [np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))]
    assert (offsets[0] == 0).all()
    assert np.abs(offsets - line).max() <= 0.5 + 1e-9


# --- maps of pixels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("border", "mode"), [("edge", "nearest"), ("reflect", "mirror")])
def test_filter_maps_are_correlations(pictures, border, mode):
    kernel = np.random.default_rng(0).random((5, 3))
    expected = ndimage.correlate(pictures, kernel[None, :, :, None], mode=mode)
    assert np.allclose(apply_map(filter_map(kernel, 13, border), pictures), expected, rtol=ROUNDING)


@pytest.mark.parametrize("sigma", [0.05, 0.25, 0.4, 1.0])
def test_gaussian_maps_are_the_filter_of_scikit_image(pictures, sigma):
    expected = np.stack([gaussian(picture, sigma, channel_axis=2) for picture in pictures])
    assert np.allclose(apply_map(gaussian_map(sigma, 13), pictures), expected, atol=ROUNDING)


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.04, 1.17, 1.25, 1.75, 2.25])
@pytest.mark.parametrize("side", [13, 32])
def test_zoom_maps_enlarge_the_middle(factor, side):
    pictures = np.random.default_rng(4).random((2, side, side, 3), dtype=np.float32)
    width = int(np.ceil(side / factor))
    start = (side - width) // 2
    middle = pictures[:, start : start + width, start : start + width]
    large = np.stack([ndimage.zoom(picture, (factor, factor, 1), order=1) for picture in middle])
    trim = (large.shape[1] - side) // 2
    expected = large[:, trim : trim + side, trim : trim + side]
    assert np.allclose(apply_map(zoom_map(factor, side), pictures), expected, atol=ROUNDING)


# --- corruptions --------------------------------------------------------------------------------------------------


def test_motion_blur_is_a_weighted_sum_along_a_line(pictures):
    angles = np.array([-45.0, -10.0, 0.0, 33.0])
    blurred = motion_blur(pictures, 3, 1.5, angles)
    for image, result, angle in zip(pictures, blurred, angles, strict=True):
        for row, column in ((0, 0), (6, 6), (12, 5), (3, 12)):
            expected = np.zeros(3)
            weights = [np.exp(-(step**2) / (2 * 1.5**2)) for step in range(7)]
            for step, weight in enumerate(weights):
                down = np.ceil(step * np.sin(np.deg2rad(angle)) - 0.5)
                across = np.ceil(step * np.cos(np.deg2rad(angle)) - 0.5)
                taken = image[int(np.clip(row + down, 0, 12)), int(np.clip(column + across, 0, 12))]
                expected += weight / sum(weights) * taken
            assert np.allclose(result[row, column], expected, atol=ROUNDING)


def test_eight_bits_are_those_of_imagemagick():
    # computed by MagickMotionBlurImage(2, 1, 30) of ImageMagick 6.9.11 with 16 bits, read back from its PNG
    rows, columns = np.indices((8, 8))
    image = ((71 * rows + 113 * columns + 29 * rows * columns) % 256).astype(np.uint8)
    blurred = motion_blur(to_unit(image[None, :, :, None]), 2, 1.0, np.array([30.0]))
    assert to_bytes(blurred, HALF_A_STEP)[0, :, :, 0].tolist() == [
        [48, 162, 167, 117, 142, 91, 106, 24],
        [132, 167, 145, 200, 88, 65, 107, 42],
        [108, 116, 199, 117, 123, 186, 108, 60],
        [194, 141, 87, 122, 215, 161, 110, 78],
        [24, 88, 210, 185, 161, 136, 111, 96],
        [109, 94, 98, 102, 107, 111, 113, 114],
        [175, 209, 152, 19, 53, 86, 114, 132],
        [162, 76, 134, 174, 146, 59, 114, 149],
    ]


@every_severity
def test_motion_blur_rounds_to_sixteen_bits_and_truncates_to_eight(photographs, severity):
    few = photographs[:8]
    radius, sigma = blur.MOTION[severity - 1]
    angles = -45 + 90 * Streams(0, "motion_blur", severity, np.arange(8)).uniform().astype(np.float64)
    weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / sigma) ** 2)
    rows, columns = np.indices((32, 32))
    sixteen = np.zeros(few.shape)
    for image, total, angle in zip(few, sixteen, np.deg2rad(angles), strict=True):
        for step, weight in enumerate(weights / weights.sum()):
            row = np.clip(rows + np.ceil(step * np.sin(angle) - 0.5), 0, 31).astype(int)
            column = np.clip(columns + np.ceil(step * np.cos(angle) - 0.5), 0, 31).astype(int)
            total += weight * 257.0 * image[row, column]
    differing = corrupt(few, "motion_blur", severity) != np.floor(sixteen + 0.5).astype(int) // 257
    # single precision may round to the other side of a 16-bit step
    assert differing.mean() < 1e-3


def test_motion_takes_pixels_from_the_right():
    # pixels are taken from the right: those left of the dark part get darker, and none within it get lighter
    line = np.full((200, 32, 32, 3), 200, dtype=np.uint8)
    line[:, :, 20:] = 0
    blurred = corrupt(line, "motion_blur", 3)
    assert (blurred[:, :, 20:] == 0).all()
    assert (blurred[:, :, 19] < 200).all()


@pytest.mark.parametrize(("severity", "count"), [(1, 7), (2, 12), (3, 16), (4, 21), (5, 26)])
def test_zoom_blur_averages_the_zooms_of_the_official_generator(severity, count):
    factors = blur.zoom_factors(severity)
    assert len(factors) == count
    assert np.allclose(factors, 1 + 0.01 * np.arange(count))


def test_zoom_blur_is_the_mean_of_the_image_and_its_zooms(photographs):
    few = photographs[:3]
    zooms = [apply_map(zoom_map(factor, 32), few) for factor in blur.zoom_factors(2)]
    expected = (few + np.sum(zooms, axis=0)) / 13
    difference = expected - corrupt(few, "zoom_blur", 2)
    assert difference.min() > -0.01 and difference.max() < 1.01  # truncated


def distinct_pixels(count=40, side=16):
    """Return images in which the colour of each pixel encodes its row and column."""
    rows, columns = np.indices((side, side))
    image = np.stack([rows, columns, rows * 0], axis=-1).astype(np.uint8)
    return np.repeat(image[None], count, axis=0)


def test_glass_takes_each_pixel_from_one_of_four_places():
    images = distinct_pixels()
    moved = images[..., :2].astype(int) - corrupt(images, "glass_blur", 1)[..., :2]
    assert not moved[:, :2].any() and not moved[:, :, :2].any()
    inner = moved[:, 2:, 2:].reshape(-1, 2)
    counts = np.bincount(inner @ [2, 1], minlength=4)
    assert len(counts) == 4 and set(np.unique(inner)) == {0, 1}
    assert np.abs(counts - len(inner) / 4).max() < 5 * np.sqrt(len(inner) * 0.25 * 0.75)


def test_a_round_of_glass_is_the_exchange_of_numpy_views_from_the_lower_right_on():
    images = distinct_pixels(3)
    steps = Streams(0, "glass_blur", 1, np.arange(3)).integers(4, 14, 14)
    expected = images.copy()
    for image, step in zip(expected, steps, strict=True):
        for row in range(15, 1, -1):
            for column in range(15, 1, -1):
                down, across = -(step[row - 2, column - 2] // 2), -(step[row - 2, column - 2] % 2)
                # a real swap would copy one of the two first; the official generator does not
                image[row, column], image[row + down, column + across] = (
                    image[row + down, column + across],
                    image[row, column],
                )
    assert np.array_equal(corrupt(images, "glass_blur", 1), expected)


def test_glass_shuffles_further_in_two_rounds():
    assert [rounds for _, rounds in blur.GLASS] == [1, 1, 1, 2, 2]
    images = distinct_pixels()
    # a deviation of 0.25 keeps more than 99 % of a pixel's own value
    moved = images[..., :2].astype(int) - corrupt(images, "glass_blur", 4)[..., :2]
    assert moved[:, 4:-1, 4:-1].max() in (2, 3)
