import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.filters import gaussian

from lgg.data.corruptions import SEVERITIES, blur, corrupt
from lgg.data.corruptions import pixels as pixels_module
from lgg.data.corruptions.constants import CIFAR_10_C, IMAGENET_C, TINY_IMAGENET_C
from lgg.data.corruptions.pixels import (
    HALF_A_STEP,
    apply_filter,
    apply_line,
    apply_map,
    filter_map,
    gaussian_kernel,
    gaussian_line,
    gaussian_map,
    motion_blur,
    motion_kernel,
    motion_offsets,
    to_bytes,
    to_unit,
    zoom_line,
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
    colours = np.stack([levels, 255 - levels, levels], axis=1)[:, None, None]
    for side, of_levels in ((16, colours), (72, colours[::25]), (120, colours[::51])):
        images = np.broadcast_to(of_levels, (len(of_levels), side, side, 3))
        # the two largest disks of ImageNet-C brighten
        if name != "defocus_blur" or side < 120 or severity < 4:
            assert np.array_equal(corrupt(images, name, severity), images)


# --- kernels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("radius", "deviation"),
    [*CIFAR_10_C.defocus_blur, *TINY_IMAGENET_C.defocus_blur, *IMAGENET_C.defocus_blur],
)
def test_disk_kernels_are_weights_around_the_middle(radius, deviation):
    kernel = blur.disk_kernel(radius, deviation)
    assert (kernel >= 0).all() and len(kernel) % 2
    assert kernel.sum() == pytest.approx({8: 1.013, 10: 1.011}.get(radius, 1), abs=1e-3 if radius >= 8 else 1e-12)
    assert np.allclose(kernel, kernel.T) and np.allclose(kernel, kernel[::-1, ::-1])


@pytest.mark.parametrize(("radius", "end", "weights"), [(6, 8, 3), (8, 8, 3), (10, 10, 5)])
def test_large_disks_are_smoothed_within_the_grid_of_the_official_generator(radius, end, weights):
    rows, columns = np.indices((2 * end + 1, 2 * end + 1)) - end
    disk = (rows**2 + columns**2 <= radius**2) / ((rows**2 + columns**2) <= radius**2).sum()
    line = np.exp(-2.0 * np.arange(-(weights // 2), weights // 2 + 1) ** 2)  # of deviation 0.5
    expected = ndimage.convolve(disk, np.outer(line, line) / line.sum() ** 2, mode="mirror")
    kernel = blur.disk_kernel(radius, 0.5)
    unused = (len(expected) - len(kernel)) // 2
    assert np.allclose(np.pad(kernel, unused), expected, atol=1e-12)


@pytest.mark.parametrize(("severity", "pixels"), [(1, 1), (2, 1), (3, 1), (4, 5), (5, 9)])
def test_the_disk_holds_the_pixels_within_its_radius(severity, pixels):
    radius, _ = CIFAR_10_C.defocus_blur[severity - 1]
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
    radius, deviation = CIFAR_10_C.defocus_blur[severity - 1]
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


@pytest.mark.parametrize(("radius", "sigma"), CIFAR_10_C.motion_blur)
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


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 3), (21, 21)])
def test_filters_by_fourier_transform_are_correlations(rows, columns):
    random = np.random.default_rng(2)
    kernel, pictures = random.random((rows, columns)), random.integers(0, 256, (2, 71, 71, 3), dtype=np.uint8)
    kernel /= kernel.sum()
    expected = ndimage.correlate(pictures.astype(np.float64), kernel[None, :, :, None], mode="mirror")
    assert np.abs(apply_filter(kernel, pictures) - expected).max() < 5e-4  # of 255; bytes are rounded by 1e-3


def test_maps_of_lines_are_maps_of_pixels():
    pictures = np.random.default_rng(2).integers(0, 256, (3, 66, 66, 3), dtype=np.uint8)
    for sigma in (0.7, 1.5):
        expected = apply_map(gaussian_map(sigma, 66), pictures)
        assert np.allclose(apply_line(gaussian_line(sigma, 66), pictures), expected, atol=255 * ROUNDING)
    field = pictures[..., :2].astype(np.float32) / 255
    smooth = ndimage.gaussian_filter(field, (0, 12.8, 12.8, 0), mode="reflect", truncate=3)
    assert np.allclose(apply_line(gaussian_line(12.8, 66, "reflect", 3.0), field), smooth, atol=ROUNDING)
    zoom = apply_line(zoom_line(2.25, 66).astype(np.float32), pictures)
    assert np.allclose(zoom, apply_map(zoom_map(2.25, 66), pictures), atol=255 * ROUNDING)


# --- corruptions --------------------------------------------------------------------------------------------------


def test_large_images_are_moved_as_small_ones_bit_for_bit(pictures, monkeypatch):
    angles = np.array([-45.0, -10.0, 100.0, 33.0])
    small = motion_blur(pictures, 3, 1.5, angles)
    monkeypatch.setattr(pixels_module, "SMALL_SIDE", 8)
    assert np.array_equal(motion_blur(pictures, 3, 1.5, angles), small)


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
    radius, sigma = CIFAR_10_C.motion_blur[severity - 1]
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
    factors = blur.zoom_factors(*CIFAR_10_C.zoom_blur[severity - 1])
    assert len(factors) == count
    assert np.allclose(factors, 1 + 0.01 * np.arange(count))


def test_zoom_blur_is_the_mean_of_the_image_and_its_zooms(photographs):
    few = photographs[:3]
    zooms = [apply_map(zoom_map(factor, 32), few) for factor in blur.zoom_factors(1.11, 0.01)]
    expected = (few + np.sum(zooms, axis=0)) / 13
    difference = expected - corrupt(few, "zoom_blur", 2)
    assert difference.min() > -0.01 and difference.max() < 1.01  # truncated


def test_zoom_blur_of_large_images_is_the_mean_of_the_image_and_its_zooms():
    few = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    zooms = [apply_line(zoom_line(factor, 224).astype(np.float32), few) for factor in 1 + 0.03 * np.arange(11)]
    difference = (few + np.sum(zooms, axis=0)) / 12 - corrupt(few, "zoom_blur", 5)
    assert difference.min() > -0.01 and difference.max() < 1.01


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


@pytest.mark.parametrize("farthest", [1, 2, 4])
def test_pixels_are_taken_from_up_to_farthest_away_in_the_order_of_the_official_generator(farthest):
    side, inner = 17, 17 - 2 * farthest
    found = blur.shuffled_places(side, farthest, Streams(0, "glass_blur", 1, np.arange(3)))
    steps = Streams(0, "glass_blur", 1, np.arange(3)).integers(4 * farthest**2, inner, inner)
    for number, (places, step) in enumerate(zip(found, steps, strict=True)):
        expected = np.arange(number * side**2, (number + 1) * side**2).reshape(side, side)
        reached = []
        for row in range(side - farthest, farthest, -1):
            for column in range(side - farthest, farthest, -1):
                down, across = divmod(step[row - farthest - 1, column - farthest - 1], 2 * farthest)
                reached.append((farthest - 1 - down, farthest - 1 - across))
                expected[row, column] = expected[row + reached[-1][0], column + reached[-1][1]]
        assert np.array_equal(places, expected[farthest + 1 : side - farthest + 1, farthest + 1 : side - farthest + 1])
        assert set(np.unique(reached)) == set(range(-farthest, farthest))


def test_glass_shuffles_further_in_two_rounds():
    assert [rounds for _, _, rounds in CIFAR_10_C.glass_blur] == [1, 1, 1, 2, 2]
    images = distinct_pixels()
    # a deviation of 0.25 keeps more than 99 % of a pixel's own value
    moved = images[..., :2].astype(int) - corrupt(images, "glass_blur", 4)[..., :2]
    assert moved[:, 4:-1, 4:-1].max() in (2, 3)
