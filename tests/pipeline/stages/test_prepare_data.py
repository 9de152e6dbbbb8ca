import numpy as np

from lgg.data.storage import ImageSet
from lgg.pipeline.stages.prepare_data import channel_statistics


def test_channel_statistics_are_those_of_the_pixels():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, size=(7, 32, 32, 3), dtype=np.uint8)
    images[..., 2] //= 4
    data = ImageSet(images, np.array([0, 1, 0, 1, 0, 1, 0]), ("a", "b"))
    mean, std = channel_statistics(data)
    pixels = images.reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-10)


def test_a_channel_of_one_value_gets_the_deviation_of_one_grey_level():
    images = np.full((2, 32, 32, 3), 128, dtype=np.uint8)
    _, std = channel_statistics(ImageSet(images, np.array([0, 1]), ("a", "b")))
    assert std == [1 / 255] * 3
