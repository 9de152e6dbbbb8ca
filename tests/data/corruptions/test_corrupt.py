import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from lgg.data.corruption_names import BENCHMARKS, benchmark_of, constants_note
from lgg.data.corruptions import EXTRA_NAMES, NAMES, SEVERITIES, corrupt
from lgg.data.corruptions.constants import CIFAR_10_C, IMAGENET_C, TINY_IMAGENET_C, constants_of
from lgg.errors import DataError

ALL = (*NAMES, *EXTRA_NAMES)
WITHOUT_CHANCE = {
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
}
# with the published constants, these need not move further from the clean image; their own tests state what they do
NOT_MONOTONE = {"glass_blur", "motion_blur", "frost", "elastic_transform", "spatter", "saturate"}
every_name = pytest.mark.parametrize("name", ALL)
SETS = {"CIFAR-10-C": CIFAR_10_C, "Tiny-ImageNet-C": TINY_IMAGENET_C, "ImageNet-C": IMAGENET_C}


def test_names_are_those_of_the_paper():
    assert len(NAMES) == 15 and len(EXTRA_NAMES) == 4 and len(set(ALL)) == 19
    assert NAMES[0] == "gaussian_noise" and NAMES[-1] == "jpeg_compression"
    assert SEVERITIES == (1, 2, 3, 4, 5)


def test_names_need_no_heavy_imports():
    command = (
        "import sys; from lgg.data.corruptions import NAMES; print({'numpy', 'torch', 'scipy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", command], capture_output=True, text=True).stdout == "set()\n"


# --- randomness ---------------------------------------------------------------------------------------------------


@every_name
@pytest.mark.parametrize("severity", [3, 5])
def test_results_do_not_depend_on_batch_order_or_workers(photographs, name, severity):
    whole = corrupt(photographs, name, severity, seed=7)
    assert whole.shape == photographs.shape and whole.dtype == np.uint8
    order = np.random.default_rng(1).permutation(len(photographs))
    assert np.array_equal(corrupt(photographs[order], name, severity, seed=7, positions=order, workers=3), whole[order])
    for index in (0, 5, 199):
        alone = corrupt(photographs[index : index + 1], name, severity, seed=7, positions=np.array([index]))
        assert np.array_equal(alone[0], whole[index])


@every_name
def test_another_seed_gives_another_set_for_random_corruptions(photographs, name):
    few = photographs[:40]
    one, two = (corrupt(few, name, 5, seed=seed) for seed in (0, 1))
    elsewhere = corrupt(few, name, 5, positions=np.arange(40) + 1000)
    same = name in WITHOUT_CHANCE
    assert np.array_equal(one, two) is same and np.array_equal(one, elsewhere) is same


@every_name
def test_equal_images_at_different_positions_differ_for_random_corruptions(photographs, name):
    copies = corrupt(np.repeat(photographs[:1], 30, axis=0), name, 5)
    assert (len(np.unique(copies, axis=0)) == 1) is (name in WITHOUT_CHANCE)


def test_images_may_be_mapped_from_a_file_and_are_not_changed(photographs, tmp_path):
    np.save(tmp_path / "images.npy", photographs)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    for name in ALL:
        assert np.array_equal(corrupt(mapped[:4], name, 2), corrupt(photographs[:4], name, 2))
    assert np.array_equal(mapped, photographs)


# --- severities ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in ALL if name not in NOT_MONOTONE])
def test_distance_to_the_clean_images_increases_with_severity(photographs, name):
    distances = [
        np.abs(corrupt(photographs, name, severity) - photographs.astype(float)).mean() for severity in SEVERITIES
    ]
    assert distances[0] > 0
    assert distances == sorted(set(distances))


def test_motion_blur_differs_by_chance_only_between_the_two_severities_of_one_deviation(photographs):
    distances = [
        np.abs(corrupt(photographs, "motion_blur", severity) - photographs.astype(float)).mean()
        for severity in SEVERITIES
    ]
    assert distances[0] < distances[1] < min(distances[2:4])
    assert distances[2] == pytest.approx(distances[3], rel=0.1)  # both radii, 6 and 8, cover a deviation of 2
    assert max(distances[2:4]) < distances[4]


def test_two_rounds_of_glass_change_more_than_one(photographs):
    distances = [
        np.abs(corrupt(photographs, "glass_blur", severity) - photographs.astype(float)).mean()
        for severity in SEVERITIES
    ]
    assert 0 < max(distances[:3]) < min(distances[3:])


@pytest.mark.parametrize("name", ["frost", "elastic_transform", "saturate", "spatter"])
def test_every_severity_changes_the_images(photographs, name):
    for severity in SEVERITIES:
        assert (corrupt(photographs[:40], name, severity) != photographs[:40]).any(axis=(1, 2, 3)).mean() > 0.9


@every_name
@pytest.mark.parametrize("side", [8, 17, 64, 120])
def test_images_may_have_any_side(name, side):
    images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    corrupted = corrupt(images, name, 5)
    assert corrupted.shape == images.shape and not np.array_equal(corrupted, images)
    # one thread has a chunk of the larger images each
    backwards = corrupt(images[::-1], name, 5, positions=np.arange(3)[::-1], workers=3)
    assert np.array_equal(backwards[::-1], corrupted)


def test_constants_are_those_of_the_nearest_side(photographs, monkeypatch):
    for side, name, exact in (
        *((8, "CIFAR-10-C", False), (32, "CIFAR-10-C", True), (45, "CIFAR-10-C", False)),
        *((46, "Tiny-ImageNet-C", False), (64, "Tiny-ImageNet-C", True), (119, "Tiny-ImageNet-C", False)),
        *((120, "ImageNet-C", False), (224, "ImageNet-C", True), (1024, "ImageNet-C", False)),
    ):
        assert benchmark_of(side) == (name, BENCHMARKS[name], exact)
    assert constants_note(64) == "constants of Tiny-ImageNet-C (64 pixels)"
    assert constants_note(96) == "constants of Tiny-ImageNet-C (64 pixels), the nearest to 96"
    # the photographs with contrast 0.15, 0.05 at the last severity; those of 64 and 120 pixels enlarge their pixels
    deviations = [
        np.subtract(1.0 * image, image.mean(axis=(0, 1))).std()
        for side in (1, 2, 4)
        for image in corrupt(photographs[:1].repeat(side, axis=1).repeat(side, axis=2), "contrast", 5)
    ]
    clean = np.subtract(1.0 * photographs[0], photographs[0].mean(axis=(0, 1))).std()
    assert np.allclose(np.array(deviations) / clean, [0.15, 0.05, 0.05], atol=0.01)


@every_name
@pytest.mark.parametrize(("side", "benchmark"), [(32, "CIFAR-10-C"), (64, "Tiny-ImageNet-C"), (120, "ImageNet-C")])
def test_constants_are_read_for_every_corruption_at_the_images_side(name, side, benchmark, monkeypatch):
    images = np.random.default_rng(0).integers(60, 200, (2, side, side, 3), dtype=np.uint8)
    usual = corrupt(images, name, 5)
    of_all = {one: getattr(SETS[one], name) for one in SETS}
    for one, of_one in SETS.items():
        # with the constants of the first severity at the last
        weaker = replace(of_one, **{name: (*of_all[one][:4], of_all[one][0])})
        monkeypatch.setattr(f"{constants_of.__module__}._BY_NAME", SETS | {one: weaker})
        assert np.array_equal(corrupt(images, name, 5), usual) == (one != benchmark)


@pytest.mark.parametrize("constants", [CIFAR_10_C, TINY_IMAGENET_C, IMAGENET_C])
def test_constants_grow_stronger(constants):
    by_name = {field.name: np.array(getattr(constants, field.name), dtype=float) for field in fields(constants)}
    assert set(by_name) == set(ALL) and all(len(values) == 5 for values in by_name.values())
    stronger = ("gaussian_noise", "impulse_noise", "speckle_noise", "gaussian_blur", "brightness", "zoom_blur")
    for name in stronger:
        values = by_name[name] if by_name[name].ndim == 1 else by_name[name][:, 0]
        assert (np.diff(values) > 0).all(), name
    for name in ("shot_noise", "contrast", "pixelate", "jpeg_compression"):
        assert (np.diff(by_name[name]) < 0).all(), name
    thickness, decay = by_name["fog"].T
    assert (np.diff(thickness) >= 0).all() and (np.diff(decay) <= 0).all()
    assert (np.diff(by_name["frost"][:, 1] / by_name["frost"][:, 0]) > 0).all()


def test_no_images_give_no_images():
    assert corrupt(np.zeros((0, 32, 32, 3), np.uint8), "fog", 1).shape == (0, 32, 32, 3)


# --- mistakes -----------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_refused_with_the_closest(photographs):
    with pytest.raises(
        DataError, match=r"'gausian_noise'; did you mean 'gaussian_noise'\? Valid: gaussian_noise, shot"
    ):
        corrupt(photographs, "gausian_noise", 1)


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5, "3", None, True])
def test_other_severities_are_refused(photographs, severity):
    with pytest.raises(DataError, match="1 to 5"):
        corrupt(photographs, "fog", severity)


@pytest.mark.parametrize(
    "shape", [(2, 32, 24, 3), (2, 32, 32, 1), (2, 32, 32), (32, 32, 3), (2, 3, 32, 32), (2, 4, 4, 3)]
)
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(DataError, match="images must be"):
        corrupt(np.zeros(shape, np.uint8), "fog", 1)


def test_images_of_another_type_are_refused():
    with pytest.raises(DataError, match="uint8"):
        corrupt(np.zeros((2, 32, 32, 3), np.float32), "fog", 1)


@pytest.mark.parametrize("positions", [np.arange(3), np.arange(2.0), np.array([0, -1]), np.zeros((2, 1), int)])
def test_positions_that_do_not_match_are_a_value_error(positions):
    with pytest.raises(ValueError, match="position"):
        corrupt(np.zeros((2, 32, 32, 3), np.uint8), "fog", 1, positions=positions)


def test_at_least_one_worker_is_required(photographs):
    with pytest.raises(ValueError, match="workers"):
        corrupt(photographs, "fog", 1, workers=0)
