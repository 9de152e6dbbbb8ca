from argparse import Namespace

import numpy as np
import pytest

from lgg.data.storage import read_header, read_images
from lgg.pipeline.config import Data
from lgg.pipeline.stages import prepare_data
from lgg.pipeline.stages.prepare_data import ChannelCounts


def statistics(*blocks):
    counts = ChannelCounts()
    for block in blocks:
        counts.add(block)
    return counts.statistics()


def test_channel_statistics_are_those_of_the_pixels_of_all_blocks():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, size=(7, 32, 32, 3), dtype=np.uint8)
    images[..., 2] //= 4
    mean, std = statistics(images[:2], images[2:])
    pixels = images.reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-10)


def test_a_channel_of_one_value_gets_the_deviation_of_one_grey_level():
    _, std = statistics(np.full((2, 32, 32, 3), 128, dtype=np.uint8))
    assert std == [1 / 255] * 3


@pytest.mark.parametrize("given", [None, [0.1, 0.2, 0.3]])
def test_both_files_state_the_statistics_of_the_training_images(tmp_path, capsys, given):
    settings = {"train_images": 60, "test_images": 20, "image_size": 16, "mean": given, "std": given}
    recipe = Data(source="digits", **settings).model_dump(mode="json", exclude={"cifar10"})
    paths = {name: tmp_path / "data" / f"{name}.safetensors" for name in ("train", "test")}
    prepare_data.main(Namespace(recipe=recipe, threads=2, out_train=paths["train"], out_test=paths["test"]))
    printed = capsys.readouterr().out
    pixels = read_images(paths["train"]).images.reshape(-1, 3) / 255
    for name, count in (("train", 60), ("test", 20)):
        header, data = read_header(paths[name]), read_images(paths[name], verify=True)
        assert data.images.shape == (count, 16, 16, 3)
        np.testing.assert_allclose(header["mean"], pixels.mean(axis=0) if given is None else given)
        np.testing.assert_allclose(header["std"], pixels.std(axis=0) if given is None else given)
        assert header["source"] == "digits"
        assert f"{name}.safetensors: {count} images of 10 classes, SHA-256 {data.sha256}" in printed
