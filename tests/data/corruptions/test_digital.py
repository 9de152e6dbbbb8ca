from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.color import hsv2rgb, rgb2hsv

from lgg.data.corruptions import SEVERITIES, corrupt, digital
from lgg.data.corruptions.constants import CIFAR_10_C
from lgg.data.corruptions.pixels import mirror_at_centre, mirror_at_edge, sample
from lgg.data.corruptions.randomness import Streams

every_severity = pytest.mark.parametrize("severity", SEVERITIES)


@every_severity
@pytest.mark.parametrize(
    ("side", "factors"),
    [(32, (0.75, 0.5, 0.4, 0.3, 0.15)), (64, (0.4, 0.3, 0.2, 0.1, 0.05)), (128, (0.4, 0.3, 0.2, 0.1, 0.05))],
)
def test_contrast_shrinks_deviations_from_the_mean_of_each_channel(enlarged, side, factors, severity):
    few = enlarged(side).astype(float)
    means = few.mean(axis=(1, 2), keepdims=True)
    difference = means + factors[severity - 1] * (few - means) - corrupt(enlarged(side), "contrast", severity)
    assert difference.min() > -0.01 and difference.max() < 1.01  # truncated


@every_severity
@pytest.mark.parametrize(
    ("side", "qualities"), [(32, (80, 65, 58, 50, 40)), (64, (65, 58, 50, 40, 25)), (128, (25, 18, 15, 10, 7))]
)
def test_jpeg_is_pillows_at_that_quality(enlarged, side, qualities, severity):
    quality, few = qualities[severity - 1], enlarged(side)
    for image, result in zip(few, corrupt(few, "jpeg_compression", severity), strict=True):
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        assert np.array_equal(np.asarray(Image.open(file)), result)


@every_severity
@pytest.mark.parametrize(
    ("side", "smaller"), [(32, (30, 28, 27, 24, 20)), (64, (57, 51, 44, 38, 32)), (128, (76, 64, 51, 38, 32))]
)
def test_pixelate_goes_through_a_smaller_image(enlarged, side, smaller, severity):
    small, few = smaller[severity - 1], enlarged(side)
    for image, result in zip(few, corrupt(few, "pixelate", severity), strict=True):
        coarse = Image.fromarray(image).resize((small, small), Image.Resampling.BOX)
        assert np.array_equal(np.asarray(coarse.resize((side, side), Image.Resampling.BOX)), result)


@every_severity
@pytest.mark.parametrize(
    ("side", "scales"),
    [
        (32, ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))),
        (64, ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2))),
        (128, ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))),
    ],
)
def test_saturate_scales_s_of_hsv(enlarged, side, scales, severity):
    factor, summand = scales[severity - 1]
    few = enlarged(side)
    few[0, :4, :32] = np.arange(128).reshape(4, 32, 1)  # greys
    few[0, 0, 0] = 0
    hsv = rgb2hsv(few)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + summand, 0, 1)
    difference = 255 * hsv2rgb(hsv) - corrupt(few, "saturate", severity)
    assert difference.min() > -0.01 and difference.max() < 1.01


# --- elastic transform --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mirror", "mode"), [(mirror_at_centre, "mirror"), (mirror_at_edge, "reflect")])
def test_sampling_is_linear_and_mirrored(mirror, mode):
    random = np.random.default_rng(0)
    pictures = random.random((3, 9, 9, 3), dtype=np.float32)
    rows, columns = random.uniform(-12, 20, (2, 3, 9, 9)).astype(np.float32)
    sampled = sample(pictures, rows, columns, mirror)
    for index, picture in enumerate(pictures):
        for channel in range(3):
            expected = ndimage.map_coordinates(picture[..., channel], [rows[index], columns[index]], order=1, mode=mode)
            assert np.allclose(sampled[index, ..., channel], expected, atol=1e-5)


@pytest.mark.parametrize("side", [16, 32, 33])
@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_three_points_move_by_no_more_than_the_shift(side, shift):
    columns, rows = digital.affine_sources(shift, side, Streams(0, "elastic_transform", 1, np.arange(30)))
    down, across = np.indices((side, side))
    points = side // 2 + side // 3 * np.array([[1, 1], [1, -1], [-1, -1]])
    plane = np.stack([across.ravel(), down.ravel(), np.ones(side * side)], axis=1)
    moves = []
    for column, row in zip(columns, rows, strict=True):
        sources = np.stack([column.ravel(), row.ravel()], axis=1)
        back, *_ = np.linalg.lstsq(plane, sources, rcond=None)
        assert np.allclose(plane @ back, sources, atol=1e-4)  # affine
        moved = (points - back[2]) @ np.linalg.inv(back[:2])
        moves.append(moved - points)
    assert np.abs(moves).max() <= shift + 1e-3
    if shift:
        assert np.abs(moves).max() > 0.8 * shift
        assert abs(np.mean(moves)) < 5 * shift / np.sqrt(3 * np.size(moves))


@pytest.mark.parametrize("severity", [2, 3, 4, 5])
def test_displacements_are_smoothed_noise_of_bounded_size(severity):
    strength, smoothness, _ = (32 * length for length in CIFAR_10_C.elastic_transform[severity - 1])
    fields = digital.displacements(strength, smoothness, 32, Streams(0, "elastic_transform", severity, np.arange(60)))
    assert fields.shape == (60, 2, 32, 32)
    assert 0 < np.abs(fields).max() <= strength
    # smoothing independent numbers of variance 1/3 by weights w leaves 1/3 · Σ w²
    line = np.exp(-0.5 * (np.arange(-40, 41) / smoothness) ** 2) * (np.abs(np.arange(-40, 41)) <= 3 * smoothness + 0.5)
    middle = fields[:, :, 14:18, 14:18]
    expected = strength * np.sqrt(1 / 3) * (line**2).sum() / line.sum() ** 2
    if smoothness < 3:  # a wide filter includes mirrored numbers, which are not independent
        assert middle.std() == pytest.approx(expected, rel=0.25)


def test_constants_are_relative_to_the_side():
    assert np.allclose(np.array(CIFAR_10_C.elastic_transform)[:, 2] * 32, [2.56, 2.24, 1.92, 1.6, 0.96])
    assert CIFAR_10_C.elastic_transform[0][:2] == (0, 0)


def test_elastic_moves_the_centre_of_a_white_dot_only_a_little():
    dots = np.zeros((200, 32, 32, 3), dtype=np.uint8)
    dots[:, 15:18, 15:18] = 255
    weights = corrupt(dots, "elastic_transform", 1)[..., 0].astype(float)
    rows, columns = np.indices((32, 32))
    total = weights.sum(axis=(1, 2))
    moved = np.stack([(weights * axis).sum(axis=(1, 2)) / total - 16 for axis in (rows, columns)])
    # the centre is halfway between the first and the third point, each moved by up to 2.56 pixels
    assert np.abs(moved).max() < 2.56 + 0.3
    assert moved.std(axis=1) == pytest.approx(2.56 / np.sqrt(6), rel=0.3)
