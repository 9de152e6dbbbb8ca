"""Write the images of both splits, one file each, from the source in the configuration."""

from argparse import Namespace
from typing import TYPE_CHECKING

import numpy as np

from lgg.data.sources import load
from lgg.data.storage import ImageSet, write_images
from lgg.pipeline.job import run

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import PrepareData


def channel_statistics(data: ImageSet) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel over all pixels of all images, in [0, 1]."""
    # counts of the 256 values are exact and small; the pixels as floats would be neither
    counts = np.stack([np.bincount(data.images[..., channel].ravel(), minlength=256) for channel in range(3)])
    values = np.arange(256) / 255.0
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    # networks divide by it: at least one of the 256 steps, for channels with a single value
    std = np.maximum(std, 1 / 255)
    return mean.tolist(), std.tolist()


def main(arguments: Namespace) -> None:
    recipe: PrepareData = arguments.recipe
    train, test = load(recipe)
    mean, std = channel_statistics(train) if recipe["mean"] is None else (recipe["mean"], recipe["std"])
    for path, split in ((arguments.out_train, train), (arguments.out_test, test)):
        write_images(path, split, {"mean": mean, "std": std, "source": recipe["source"]})
        print(f"{path}: {len(split.labels):,} images of {len(split.classes)} classes, SHA-256 {split.sha256}")


if __name__ == "__main__":
    run(main, outputs=("train", "test"))
