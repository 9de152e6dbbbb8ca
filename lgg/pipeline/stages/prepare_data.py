"""Write the images of both splits, one file each, from the source in the configuration.

They are written as they are read, so they may be more than memory holds.
"""

from argparse import Namespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgg.data.sources import load
from lgg.data.storage import write_images
from lgg.pipeline.job import run

if TYPE_CHECKING:
    from lgg.pipeline.recipe_types import PrepareData


class ChannelCounts:
    """How often each of the 256 values occurs in each channel, (3, 256): exact and small, unlike sums of the pixels."""

    def __init__(self) -> None:
        self.counts = np.zeros((3, 256), dtype=np.int64)

    def add(self, images: NDArray[np.uint8]) -> None:
        """Count the pixels of images (N, H, W, 3)."""
        # Pillow counts them an order of magnitude faster than NumPy
        rows = images.reshape(-1, *images.shape[2:])
        self.counts += np.array(Image.fromarray(rows).histogram()).reshape(3, 256)

    def statistics(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of each channel over all pixels, in [0, 1]."""
        values = np.arange(256) / 255.0
        shares = self.counts / self.counts.sum(axis=1, keepdims=True)
        mean = shares @ values
        std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
        # networks divide by it: at least one of the 256 steps, for channels with a single value
        std = np.maximum(std, 1 / 255)
        return mean.tolist(), std.tolist()


def main(arguments: Namespace) -> None:
    recipe: PrepareData = arguments.recipe
    counts = ChannelCounts()

    def about() -> dict[str, Any]:
        mean, std = counts.statistics() if recipe["mean"] is None else (recipe["mean"], recipe["std"])
        return {"mean": mean, "std": std, "source": recipe["dataset"] or recipe["source"]}

    train, test = load(recipe, arguments.threads)
    # the test images are normalised by the statistics of the training images, too
    for path, split, watch in ((arguments.out_train, train, counts.add), (arguments.out_test, test, None)):
        sha256 = write_images(path, split, about, watch=watch)
        print(f"{path}: {len(split.labels):,} images of {len(split.classes)} classes, SHA-256 {sha256}", flush=True)
        for note in split.notes:
            print(f"  {note}", flush=True)


if __name__ == "__main__":
    run(main, outputs=("train", "test"))
