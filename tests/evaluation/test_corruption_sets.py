import numpy as np
import pytest

from lgg.data.corruption_archive import write_archive
from lgg.data.corruptions import SEVERITIES, corrupt
from lgg.data.storage import ImageSet
from lgg.errors import DataError
from lgg.evaluation.corruptions import CLEAN, choose_images, corrupted_images

SETTINGS = {"names": ["gaussian_noise", "pixelate"], "severities": [5, 1], "images": 6, "seed": 4}


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (15, 32, 32, 3), dtype=np.uint8)
    return ImageSet(images, np.arange(15, dtype=np.int64) % 3, ("a", "b", "c"))


@pytest.fixture(scope="module")
def archive(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "kept.tar"
    write_archive(path, data.images, data.labels, SETTINGS["names"], seed=SETTINGS["seed"])
    return path


def streamed(data, positions, settings=SETTINGS, **options):
    sets = corrupted_images(data, positions, settings, **options)
    return [(name, severity, np.concatenate(list(parts))) for name, severity, parts in sets]


def assert_same(one, other):
    assert [part[:2] for part in one] == [part[:2] for part in other]
    for (name, severity, images), (_, _, others) in zip(one, other, strict=True):
        assert np.array_equal(images, others), (name, severity)


def test_chosen_images_are_balanced_over_classes(data):
    positions = choose_images(data.labels, SETTINGS)
    assert np.bincount(data.labels[positions]).tolist() == [2, 2, 2]
    assert np.array_equal(positions, choose_images(data.labels, SETTINGS))
    assert np.array_equal(choose_images(data.labels, SETTINGS | {"images": None}), np.arange(15))


def test_more_images_than_there_are_name_the_key(data):
    with pytest.raises(DataError, match=r"corruptions\.images: 16"):
        choose_images(data.labels, SETTINGS | {"images": 16})


def test_the_clean_images_come_first_then_each_corruption_at_each_severity(data):
    positions = np.array([2, 3, 11])
    sets = streamed(data, positions)
    assert [part[:2] for part in sets] == [
        (CLEAN, 0),
        ("gaussian_noise", 5),
        ("gaussian_noise", 1),
        ("pixelate", 5),
        ("pixelate", 1),
    ]
    assert np.array_equal(sets[0][2], data.images[positions])
    for name, severity, images in sets[1:]:
        assert images.dtype == np.uint8
        expected = corrupt(data.images[positions], name, severity, seed=SETTINGS["seed"], positions=positions)
        assert np.array_equal(images, expected)


def test_an_image_s_corruption_does_not_depend_on_the_others_chosen(data):
    alone, all_of_them = streamed(data, np.array([7])), streamed(data, np.arange(15))
    assert_same(alone, [(name, severity, images[7:8]) for name, severity, images in all_of_them])


def test_another_seed_makes_other_noise(data):
    positions = np.arange(3)
    one, other = streamed(data, positions), streamed(data, positions, SETTINGS | {"seed": 5})
    assert not np.array_equal(one[1][2], other[1][2])


@pytest.mark.parametrize("chosen", [np.arange(15), np.array([0, 4, 14])], ids=["all", "some"])
def test_archived_images_are_those_generated_on_the_fly_whole_or_in_parts(data, archive, chosen, monkeypatch):
    whole = streamed(data, chosen)
    assert_same(streamed(data, chosen, archive=archive), whole)
    monkeypatch.setattr("lgg.evaluation.corruptions.BYTES_AT_ONCE", 2 * 32 * 32 * 3)
    for options in ({}, {"archive": archive}):
        sets = list(corrupted_images(data, chosen, SETTINGS, **options))
        for (_, _, parts), (name, severity, images) in zip(sets, whole, strict=True):
            found = list(parts)
            assert [len(part) for part in found] == [2] * (len(chosen) // 2) + [1], (name, severity)
            assert np.array_equal(np.concatenate(found), images), (name, severity)


def test_results_do_not_depend_on_workers(data):
    positions = np.arange(15)
    assert_same(streamed(data, positions, workers=3), streamed(data, positions))


def test_one_set_at_a_time_is_generated(data, monkeypatch):
    made = []

    def counted(images, name, severity, **options):
        made.append((name, severity))
        return images

    monkeypatch.setattr("lgg.evaluation.corruptions.corrupt", counted)
    settings = SETTINGS | {"severities": list(SEVERITIES)}
    for number, (_, _, parts) in enumerate(corrupted_images(data, np.arange(3), settings)):
        assert len(made) == max(0, number - 1)
        next(parts)
    assert len(made) == 2 * len(SEVERITIES)


def test_an_archive_of_other_images_is_refused_before_anything_is_read_from_it(data, archive):
    others = ImageSet(data.images, data.labels[::-1].copy(), data.classes)
    sets = corrupted_images(others, np.arange(3), SETTINGS, archive=archive)
    next(sets)
    with pytest.raises(DataError, match=r"kept\.tar: its labels are not those of the 15 test images.*generated"):
        next(sets)


def test_an_archive_of_fewer_images_is_refused(data, archive):
    fewer = ImageSet(data.images[:12], data.labels[:12], data.classes)
    with pytest.raises(DataError, match="its labels are not those of the 12 test images"):
        streamed(fewer, np.arange(3), archive=archive)


def test_an_archive_of_images_of_another_size_is_refused(data, archive):
    smaller = ImageSet(data.images[:, :8, :8].copy(), data.labels, data.classes)
    with pytest.raises(DataError, match="its images are 32 × 32, the test images 8 × 8"):
        streamed(smaller, np.arange(3), archive=archive)


def test_a_damaged_archive_is_named(data, tmp_path):
    path = tmp_path / "damaged.tar"
    path.write_bytes(b"not an archive" * 100)
    with pytest.raises(DataError, match=r"damaged\.tar: damaged"):
        streamed(data, np.arange(3), archive=path)


def test_a_corruption_that_the_archive_lacks_is_named(data, archive):
    with pytest.raises(DataError, match=r"'fog'.*gaussian_noise, pixelate"):
        streamed(data, np.arange(3), SETTINGS | {"names": ["fog"]}, archive=archive)
