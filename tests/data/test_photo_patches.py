from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lgg.data import photo_patches, sources
from lgg.data.photo_patches import (
    LEAST_CONTRAST,
    PHOTOGRAPHS,
    TEST_SHARE,
    Photograph,
    block_of,
    crop_places,
    read_photograph,
)
from lgg.errors import DataError
from lgg.pipeline.config import CLASSES_OF_SOURCE, Data

SIDE = 32  # of the images by default
BLOCK = block_of(SIDE)

every_photograph = pytest.mark.parametrize("index", range(10), ids=[photograph.name for photograph in PHOTOGRAPHS])


@pytest.fixture(scope="session")
def splits():
    return photo_patches.load(None, None, 0)


@pytest.fixture(scope="session")
def places():
    """Return the places of training and test crops of each photograph for seed 0."""
    return [
        tuple(crop_places(photograph, np.random.default_rng([0, index])))
        for index, photograph in enumerate(PHOTOGRAPHS)
    ]


pixels_of = cache(read_photograph)


def covered(photograph, corners):
    """Return a mask of the pixels in crops at `corners`."""
    mask = np.zeros(pixels_of(photograph).shape[:2], dtype=bool)
    for top, left in corners:
        mask[top : top + SIDE, left : left + SIDE] = True
    return mask


def crops_of(photograph, corners):
    """Return the bytes of the crops at `corners`."""
    pixels = pixels_of(photograph)
    return {pixels[top : top + SIDE, left : left + SIDE].tobytes() for top, left in corners}


# --- splits -------------------------------------------------------------------------------------------------------


def test_there_are_2000_training_and_1000_test_images(splits):
    assert [split.images.shape for split in splits] == [(2000, 32, 32, 3), (1000, 32, 32, 3)]


def test_all_classes_have_the_same_number_of_images(splits):
    for split, count in zip(splits, (200, 100), strict=True):
        assert np.bincount(split.labels).tolist() == [count] * 10


def test_classes_are_the_photographs_and_notes_credit_their_authors(splits):
    for split in splits:
        assert split.classes == tuple(photograph.name for photograph in PHOTOGRAPHS)
        assert len(split.classes) == CLASSES_OF_SOURCE["photo_patches"]
        assert all(any(photograph.credit in note for note in split.notes) for photograph in PHOTOGRAPHS)


@pytest.mark.parametrize(("train", "test"), [(200, 10)])
def test_other_numbers_of_images_can_be_requested(train, test):
    for split, count in zip(photo_patches.load(train, test, 0), (train, test), strict=True):
        assert np.bincount(split.labels).tolist() == [count // 10] * 10


def test_loading_again_gives_the_same_images(splits):
    data = Data(source="photo_patches", train_images=2000).model_dump(mode="json")
    assert [split.in_memory().sha256 for split in sources.load(data)] == [split.sha256 for split in splits]


# --- no pixel in both splits --------------------------------------------------------------------------------------


@every_photograph
def test_no_pixel_is_in_training_and_test(index, places):
    train, test = (covered(PHOTOGRAPHS[index], corners) for corners in places[index])
    assert train.any() and test.any()
    assert not (train & test).any()


@pytest.mark.parametrize("seed", [1, 2])
def test_no_pixel_is_in_both_splits_whatever_the_seed(seed):
    for index, photograph in enumerate(PHOTOGRAPHS[3:6]):
        train, test = (
            covered(photograph, part) for part in crop_places(photograph, np.random.default_rng([seed, index]))
        )
        assert not (train & test).any()


@every_photograph
def test_every_crop_is_cut_at_a_place_of_its_split(index, places, splits):
    for split, corners in zip(splits, places[index], strict=True):
        here = crops_of(PHOTOGRAPHS[index], corners)
        assert {image.tobytes() for image in split.images[split.labels == index]} <= here


@every_photograph
def test_no_place_is_used_twice(index, places, splits):
    for split, corners in zip(splits, places[index], strict=True):
        assert len(np.unique(corners, axis=0)) == len(corners)
        images = split.images[split.labels == index]
        assert len({image.tobytes() for image in images}) == len(images)


def test_no_test_image_is_a_training_image(splits):
    train, test = ({image.tobytes() for image in split.images} for split in splits)
    assert not train & test


# --- places -------------------------------------------------------------------------------------------------------


@every_photograph
def test_crops_have_at_least_the_required_contrast(index, places):
    pixels = pixels_of(PHOTOGRAPHS[index])
    for corners in places[index]:
        for top, left in np.random.default_rng(0).permutation(corners)[:50]:
            assert pixels[top : top + SIDE, left : left + SIDE].mean(axis=2).std() >= LEAST_CONTRAST - 1e-9


def test_places_are_excluded_only_for_low_contrast():
    photograph = PHOTOGRAPHS[5]
    pixels = pixels_of(photograph)
    kept = {tuple(corner) for part in crop_places(photograph, np.random.default_rng(0)) for corner in part.tolist()}
    block = BLOCK
    sample = np.random.default_rng(1)
    for _ in range(300):
        row, column = sample.integers([side // block for side in pixels.shape[:2]])
        down, right = sample.integers(block - SIDE + 1, size=2)
        top, left = int(row * block + down), int(column * block + right)
        contrast = pixels[top : top + SIDE, left : left + SIDE].mean(axis=2).std()
        assert ((top, left) in kept) == (contrast >= LEAST_CONTRAST)


@every_photograph
def test_one_block_in_five_is_for_test(index, places):
    photograph = PHOTOGRAPHS[index]
    height, width = (side // BLOCK for side in pixels_of(photograph).shape[:2])
    blocks = [{tuple(block) for block in np.unique(corners // BLOCK, axis=0).tolist()} for corners in places[index]]
    assert not blocks[0] & blocks[1]
    assert len(blocks[1]) <= height * width // TEST_SHARE


@pytest.mark.parametrize("split", ["train_images", "test_images"])
def test_the_number_of_places_is_that_assumed_by_the_configuration(split, places):
    most = Data(source="photo_patches").available(split)
    assert most is not None
    part = 0 if split == "train_images" else 1
    assert min(len(corners[part]) for corners in places) >= most // len(PHOTOGRAPHS)


# --- reproducible -------------------------------------------------------------------------------------------------


def test_another_seed_gives_other_crops(splits):
    for one, other in zip(photo_patches.load(None, None, 1), splits, strict=True):
        assert one.sha256 != other.sha256


# --- other sizes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "expected"), [(8, 32), (32, 32), (48, 48), (56, 56), (64, 56), (1024, 56)])
def test_crops_are_of_the_nearest_possible_size(side, expected):
    assert photo_patches.window(side) == expected


@pytest.mark.parametrize("window", [40, 56])
def test_larger_crops_are_cut_from_disjoint_blocks_too(window):
    whole = photo_patches.load(None, None, 0, window)
    assert [split.images.shape for split in whole] == [(2000, window, window, 3), (1000, window, window, 3)]
    for index in (3, 5):
        random = np.random.default_rng([0, index])
        splits = [tuple(map(tuple, part)) for part in crop_places(PHOTOGRAPHS[index], random, window)]
        blocks = [{(top // block_of(window), left // block_of(window)) for top, left in part} for part in splits]
        assert blocks[0] and blocks[1] and not blocks[0] & blocks[1]
        for part in splits:  # no crop extends beyond its block
            assert all(corner % block_of(window) + window <= block_of(window) for place in part for corner in place)
        pixels = pixels_of(PHOTOGRAPHS[index])
        images = whole[0].images[whole[0].labels == index]
        here = {pixels[top : top + window, left : left + window].tobytes() for top, left in splits[0]}
        assert {image.tobytes() for image in images} <= here


# --- photographs --------------------------------------------------------------------------------------------------


@every_photograph
def test_a_photograph_is_in_colour_and_large_enough(index):
    pixels = pixels_of(PHOTOGRAPHS[index])
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert min(pixels.shape[:2]) >= 5 * BLOCK


def test_a_reduced_photograph_is_averaged():
    galaxies = next(photograph for photograph in PHOTOGRAPHS if photograph.reduce == 2)
    whole = read_photograph(replace(galaxies, reduce=1)).astype(int)
    means = (whole[0:20:2, 0:20:2] + whole[1:20:2, 0:20:2] + whole[0:20:2, 1:20:2] + whole[1:20:2, 1:20:2]) / 4
    assert abs(read_photograph(galaxies)[:10, :10] - means).max() <= 0.5


@pytest.mark.parametrize(
    "changes", [{"sha256": "0" * 64}, {"file": "data/nothing.png"}, {"file": "data"}], ids=["hash", "file", "folder"]
)
def test_an_unexpected_picture_is_refused(changes):
    with pytest.raises(DataError, match=r"missing or not the expected picture.*data\.source"):
        read_photograph(replace(PHOTOGRAPHS[2], **changes))


def test_a_missing_package_is_named():
    photograph = Photograph("nobody", "no_such_package", "a.png", 1, "", "")
    with pytest.raises(DataError, match="needs the package no_such_package"):
        read_photograph(photograph)


@pytest.mark.parametrize(("train", "test"), [(400_000, 10), (10, 400_000)])
def test_more_crops_than_places_are_refused(train, test):
    with pytest.raises(DataError, match=r"40000 crops of pagoda .* only \d+ different ones exist; reduce data\."):
        photo_patches.load(train, test, 0)
