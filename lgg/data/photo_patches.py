"""The embedded data set: small crops of ten photographs that ship with Python packages, one class per photograph.

The task is to recognise which photograph a small crop comes from. Every photograph is divided into square blocks, each of
which belongs to either training or test, and crops do not extend beyond their block, so no pixel is in both splits.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from lgg.data.storage import ImageSet
from lgg.errors import DataError
from lgg.files import sha256_of_file

#: least and most pixels of a side of a crop: smaller ones show too little, larger ones leave too few blocks of a photograph
LEAST, MOST = 32, 56
TEST_SHARE = 5  # every fifth block is a test block
LEAST_CONTRAST = 6.0  # standard deviation of grey values below which a crop is plain sky or black frame


@dataclass(frozen=True)
class Photograph:
    """A picture in an installed package.

    Attributes:
        reduce: factor by which the picture is downsampled, by averaging, before it is cropped.
        sha256: hash of the file, so that another release of the package cannot change the data unnoticed.
    """

    name: str
    package: str
    file: str
    reduce: int
    credit: str
    sha256: str


PHOTOGRAPHS = (
    Photograph(
        "pagoda",
        "sklearn",
        "datasets/images/china.jpg",
        1,
        "daniel.buechele, CC BY 2.0 (scikit-learn: china)",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    ),
    Photograph(
        "flower",
        "sklearn",
        "datasets/images/flower.jpg",
        1,
        "Vultilion, CC BY 2.0 (scikit-learn: flower)",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    ),
    Photograph(
        "astronaut",
        "skimage",
        "data/astronaut.png",
        1,
        "NASA, public domain (scikit-image: astronaut)",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    ),
    Photograph(
        "cat",
        "skimage",
        "data/chelsea.png",
        1,
        "Stéfan van der Walt, CC0 (scikit-image: chelsea)",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    ),
    Photograph(
        "coffee",
        "skimage",
        "data/coffee.png",
        1,
        "Rachel Michetti, CC0 (scikit-image: coffee)",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    ),
    Photograph(
        "rocket",
        "skimage",
        "data/rocket.jpg",
        1,
        "SpaceX, public domain (scikit-image: rocket)",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    ),
    Photograph(
        "galaxies",
        "skimage",
        "data/hubble_deep_field.jpg",
        2,
        "NASA, public domain (scikit-image: hubble_deep_field)",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    ),
    Photograph(
        "tissue",
        "skimage",
        "data/ihc.png",
        1,
        "CMMI, no known copyright restrictions (scikit-image: immunohistochemistry)",
        "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    ),
    Photograph(
        "retina",
        "skimage",
        "data/retina.jpg",
        3,
        "Mikael Häggström, CC0 (scikit-image: retina)",
        "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
    ),
    Photograph(
        "portrait",
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
        1,
        "James S. Davis, US Navy, public domain (Matplotlib: grace_hopper)",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
    ),
)


def window(side: int) -> int:
    """Return the side of the crops that make images of `side`: the same from 32 to 56, otherwise the nearest of these."""
    return min(max(side, LEAST), MOST)


def block_of(window: int) -> int:
    """Return the side of the blocks into which photographs are divided for crops of `window`."""
    return window * 3 // 2


def load(
    train_images: int | None, test_images: int | None, seed: int, window: int = LEAST
) -> tuple[ImageSet, ImageSet]:
    """Return the training and test crops, 2,000 and 1,000 by default, with the same number for each class.

    Crops are (window, window, 3). The same arguments give the same crops on every machine. Raises DataError if a package is
    missing or ships a different picture, or if there are fewer crops than requested.
    """
    counts = [
        (number or default) // len(PHOTOGRAPHS) for number, default in ((train_images, 2000), (test_images, 1000))
    ]
    splits: tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]] = ([], [])
    for index, photograph in enumerate(PHOTOGRAPHS):
        random = np.random.default_rng([seed, index])
        for crops, count, chosen in zip(splits, counts, crop_places(photograph, random, window), strict=True):
            if count > len(chosen):
                raise DataError(
                    f"data: {count} crops of {photograph.name} are requested, but only {len(chosen)} different ones exist; "
                    "reduce data.train_images or data.test_images"
                )
            places = chosen[random.choice(len(chosen), count, replace=False)]
            windows = sliding_window_view(read_photograph(photograph), (window, window), axis=(0, 1))
            crops.append(windows[places[:, 0], places[:, 1]].transpose(0, 2, 3, 1))
    notes = (
        "Crops of ten photographs, one class per photograph. Training and test crops come from disjoint blocks.",
        *(f"{photograph.name}: {photograph.credit}" for photograph in PHOTOGRAPHS),
    )
    classes = tuple(photograph.name for photograph in PHOTOGRAPHS)
    train, test = (
        ImageSet(np.concatenate(crops), np.repeat(np.arange(len(classes), dtype=np.int64), count), classes, notes)
        for crops, count in zip(splits, counts, strict=True)
    )
    return train, test


def read_photograph(photograph: Photograph) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) of a photograph, downsampled by its factor; DataError if it is not the expected file."""
    spec = importlib.util.find_spec(photograph.package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"data: photo_patches needs the package {photograph.package}. Install the extra `pipeline`: run "
            "pip install '.[pipeline]' in the clone"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / photograph.file
    if not path.is_file() or sha256_of_file(path) != photograph.sha256:
        raise DataError(
            f"data: {path} is missing or not the expected picture; install the versions in envs/constraints.txt, "
            "or use another data.source"
        )
    with Image.open(path) as image:
        reduced = image.convert("RGB").reduce(photograph.reduce) if photograph.reduce > 1 else image.convert("RGB")
        return np.asarray(reduced)


def crop_places(
    photograph: Photograph, random: np.random.Generator, window: int = LEAST
) -> Iterator[NDArray[np.int64]]:
    """Yield the upper left corners (n, 2) of all crops with enough contrast, for training and then for test."""
    pixels, block = read_photograph(photograph), block_of(window)
    rows, columns = pixels.shape[0] // block, pixels.shape[1] // block
    blocks = random.permutation(rows * columns)
    test_count = len(blocks) // TEST_SHARE
    offsets = np.stack(np.meshgrid(*[np.arange(block - window + 1)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    contrast = _contrast(pixels, window)
    for members in (blocks[test_count:], blocks[:test_count]):
        corners = np.stack(np.divmod(np.sort(members), columns), axis=1) * block
        places = (corners[:, None] + offsets[None]).reshape(-1, 2)
        yield places[contrast[places[:, 0], places[:, 1]] >= LEAST_CONTRAST]


def _contrast(pixels: NDArray[np.uint8], window: int) -> NDArray[np.float64]:
    """Return the standard deviation of the grey values of each crop, indexed by its upper left corner."""
    grey = pixels.astype(np.float64).mean(axis=2)

    def window_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.pad(values, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
        corner: NDArray[np.float64] = (
            sums[window:, window:] - sums[:-window, window:] - sums[window:, :-window] + sums[:-window, :-window]
        )
        return corner

    mean = window_sums(grey) / window**2
    deviation: NDArray[np.float64] = np.sqrt(np.maximum(window_sums(grey**2) / window**2 - mean**2, 0.0))
    return deviation
