import os
import random
import sys
import tracemalloc
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image
from sklearn.datasets import load_digits

from lgg.data import sources, splits
from lgg.data.storage import write_images
from lgg.errors import DataError
from lgg.pipeline.config import CLASSES_OF_SOURCE, IMAGES_OF_SOURCE, Data


def load(source, path=None, **settings):
    """Return the images specified by a configuration with these settings, read."""
    return tuple(split.in_memory() for split in opened(source, path, **settings))


def opened(source, path=None, threads=1, **settings):
    """Return the splits specified by a configuration with these settings, not read."""
    data = Data(source=source, path=None if path is None else str(path), **settings)
    return sources.load(data.model_dump(mode="json"), threads)


def pixels(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *(shape or (32, 32, 3))), dtype=np.uint8)


def labels(count, classes=3):
    return np.arange(count) % classes


# --- folders of the user's own data -------------------------------------------------------------------------------


@pytest.fixture
def arrays(tmp_path):
    """Return a function that writes train.npz and test.npz and returns their folder.

    Its arguments replace the default arrays of a split; None omits one.
    """

    def write(train=None, test=None):
        for name, count, other in (("train", 12, train), ("test", 6, test)):
            content = {"images": pixels(count, seed=count), "labels": labels(count)} | (other or {})
            np.savez(tmp_path / f"{name}.npz", **{key: array for key, array in content.items() if array is not None})
        return tmp_path

    return write


@pytest.fixture
def pictures(tmp_path):
    """Return a folder of pictures: two classes, .png and .jpg, in both splits."""
    for number, split in enumerate(("train", "test")):
        for name, kind in (("cat", "png"), ("dog", "jpg")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for index in range(3):
                picture = Image.fromarray(pixels(1, seed=10 * number + index)[0])
                picture.save(folder / f"{index}.{kind}")
    return tmp_path


@pytest.fixture
def cifar(monkeypatch):
    """Replace torchvision's archives by 200 and 100 random images; return the recorded requests."""
    asked = []

    def pretend(self, root, train, download):
        asked.append((root, train, download))
        count = 200 if train else 100
        self.data, self.targets = pixels(count, seed=count), labels(count, self.number).tolist()
        self.classes = [f"class {index}" for index in range(self.number)]

    for name, number in (("CIFAR10", 10), ("CIFAR100", 100)):
        real = getattr(torchvision.datasets, name)
        fake = type(name, (real,), {"__init__": pretend, "number": number})
        monkeypatch.setattr(torchvision.datasets, name, fake)
    return asked


# --- every source -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["digits", "cifar10", "cifar100", "arrays", "image_folder"])
def test_every_source_gives_the_same_images_of_32_by_32_pixels_each_time(source, request):
    path = None
    if source == "arrays":
        path = request.getfixturevalue("arrays")({"images": pixels(12, 20, 40)})
    elif source == "image_folder":
        path = request.getfixturevalue("pictures")
    elif source.startswith("cifar"):
        request.getfixturevalue("cifar")
    once, again = load(source, path), load(source, path)
    for first, second in zip(once, again, strict=True):
        assert first.sha256 == second.sha256
        assert first.images.shape == (len(first.labels), 32, 32, 3)
        assert (first.images.dtype, first.labels.dtype) == (np.uint8, np.int64)
        assert first.notes
    assert once[0].classes == once[1].classes
    assert once[0].sha256 != once[1].sha256


def test_class_names_can_be_set(arrays):
    for split in load("arrays", arrays(), class_names=["red", "green", "blue"]):
        assert split.classes == ("red", "green", "blue")


@pytest.mark.parametrize("names", [["red", "green"], ["red", "green", "blue", "white"], []])
def test_a_wrong_number_of_class_names_is_refused(arrays, names):
    with pytest.raises(
        DataError, match=rf"data\.class_names: {len(names)} names are given, but the data have 3 classes"
    ):
        load("arrays", arrays(), class_names=names)


@pytest.mark.parametrize("source", ["photo_patches", "digits", "cifar10", "arrays", "image_folder"])
@pytest.mark.parametrize("side", [8, 40])
def test_every_source_gives_images_of_the_configured_size(source, side, request):
    paths = {
        "arrays": lambda: request.getfixturevalue("arrays")(),
        "image_folder": lambda: request.getfixturevalue("pictures"),
    }
    if source == "cifar10":
        request.getfixturevalue("cifar")
    once, again = (load(source, paths.get(source, lambda: None)(), image_size=side) for _ in range(2))
    for first, second in zip(once, again, strict=True):
        assert first.images.shape == (len(first.labels), side, side, 3)
        assert first.sha256 == second.sha256
        # all images of the other sources are of 32 × 32 pixels
        smaller = any(
            note.endswith(f"are smaller than {side} × {side} pixels and were enlarged") for note in first.notes
        )
        assert smaller == (side > 32 and source in ("cifar10", "arrays", "image_folder"))


@pytest.mark.parametrize("source", ["cifar10", "arrays", "image_folder"])
@pytest.mark.parametrize("side", [24, 48])
def test_images_are_resized_as_pillow_does(source, side, request):
    path = (
        None
        if source == "cifar10"
        else request.getfixturevalue({"arrays": "arrays", "image_folder": "pictures"}[source])
    )
    if source == "cifar10":
        request.getfixturevalue("cifar")
    elif source == "arrays":
        path = path()
    (before, _), (after, _) = load(source, path), load(source, path, image_size=side)
    for one, other in list(zip(before.images, after.images, strict=True))[:5]:
        np.testing.assert_array_equal(
            other, np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC))
        )


@pytest.mark.parametrize("source", ["arrays", "image_folder"])
def test_images_do_not_depend_on_the_number_of_threads(source, request, arrays):
    path = arrays({"images": pixels(12, 20, 40)}) if source == "arrays" else request.getfixturevalue("pictures")
    hashes = [[split.in_memory().sha256 for split in opened(source, path, threads)] for threads in (1, 3)]
    assert hashes[0] == hashes[1]


# --- digits -------------------------------------------------------------------------------------------------------


def test_the_number_of_digits_is_that_assumed_by_the_configuration():
    train, test = load("digits")
    assert (len(train.labels), len(test.labels)) == IMAGES_OF_SOURCE["digits"]
    assert train.classes == tuple("0123456789")
    assert len(train.classes) == CLASSES_OF_SOURCE["digits"]


def test_digits_are_split_evenly_and_enlarged_four_times():
    train, test = load("digits")
    assert (
        np.abs(np.bincount(train.labels) / len(train.labels) - np.bincount(test.labels) / len(test.labels)).max() < 0.01
    )
    small = train.images[:, ::4, ::4]
    np.testing.assert_array_equal(small.repeat(4, axis=1).repeat(4, axis=2), train.images)
    assert (train.images == train.images[..., :1]).all()


def test_digits_of_any_size_consist_of_enlarged_pixels():
    small = {size: load("digits", image_size=size)[0].images[7, :, :, 0] for size in (8, 20, 64)}
    np.testing.assert_array_equal(small[64], np.kron(small[8], np.ones((8, 8))))
    repeats = [3, 2, 3, 2, 3, 2, 3, 2]  # of each row and column, in order
    np.testing.assert_array_equal(np.repeat(np.repeat(small[8], repeats, axis=0), repeats, axis=1), small[20])


def test_digits_use_the_full_range():
    train, test = load("digits")
    ours = {image[::4, ::4, 0].tobytes() for split in (train, test) for image in split.images}
    assert ours == {np.rint(digit / 16 * 255).astype(np.uint8).tobytes() for digit in load_digits().images}


def test_another_seed_splits_the_digits_differently():
    assert load("digits", seed=1)[1].sha256 != load("digits", seed=0)[1].sha256


# --- CIFAR --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_is_read_through_torchvision(cifar, source, classes):
    train, test = load(source, "archive")
    assert [(str(root), train) for root, train, _ in cifar] == [("archive", True), ("archive", False)]
    assert all(download for _, _, download in cifar)
    assert (len(train.labels), len(test.labels), len(train.classes)) == (200, 100, classes)
    np.testing.assert_array_equal(train.images, pixels(200, seed=200))
    assert "MD5" in train.notes[0]


def test_cifar_is_kept_in_downloads_by_default(cifar):
    load("cifar10")
    assert {str(root) for root, _, _ in cifar} == {"downloads"}


@pytest.mark.parametrize("error", [RuntimeError("File not found or corrupted."), URLError("no route"), OSError("full")])
@pytest.mark.parametrize(("source", "file"), [("cifar10", "cifar-10-python"), ("cifar100", "cifar-100-python")])
def test_a_failed_download_of_cifar_is_reported_with_two_alternatives(
    cifar, monkeypatch, tmp_path, error, source, file
):
    def fail(self, root, train, download):
        raise error

    monkeypatch.setattr(getattr(torchvision.datasets, source.upper()), "__init__", fail)
    with pytest.raises(DataError) as caught:
        load(source, tmp_path / "here")
    message = str(caught.value)
    assert f"{file}.tar.gz could not be downloaded" in message
    assert f"save that file in {tmp_path / 'here'}" in message
    assert "data.source to arrays" in message
    assert str(error) in message


# --- arrays -------------------------------------------------------------------------------------------------------


def test_colour_arrays_are_used_unchanged(arrays):
    train, test = load("arrays", arrays())
    np.testing.assert_array_equal(train.images, pixels(12, seed=12))
    np.testing.assert_array_equal(test.labels, labels(6))
    assert train.classes == ("class 0", "class 1", "class 2")


def test_grey_arrays_become_rgb(arrays):
    grey = pixels(12, 32, 32)
    train, _ = load("arrays", arrays({"images": grey}))
    for channel in range(3):
        np.testing.assert_array_equal(train.images[..., channel], grey)


@pytest.mark.parametrize("shape", [(48, 48, 3), (16, 16, 3), (40, 64, 3), (64, 40), (1, 1)])
def test_arrays_of_other_sizes_are_resized(arrays, shape):
    train, _ = load("arrays", arrays({"images": pixels(12, *shape)}))
    assert train.images.shape == (12, 32, 32, 3)


def test_the_middle_square_is_resized(arrays):
    images = np.zeros((12, 32, 96, 3), np.uint8)
    images[:, :, 32:64] = pixels(12)
    train, _ = load("arrays", arrays({"images": images}))
    np.testing.assert_array_equal(train.images, pixels(12))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_labels_of_any_integer_type_are_read(arrays, dtype):
    train, _ = load("arrays", arrays({"labels": labels(12).astype(dtype)}))
    np.testing.assert_array_equal(train.labels, labels(12))


def test_files_can_name_the_classes(arrays):
    classes = {"classes": np.array(["ant", "bee", "fly"])}
    for split in load("arrays", arrays(classes, classes)):
        assert split.classes == ("ant", "bee", "fly")


def test_files_with_different_class_names_are_refused(arrays):
    with pytest.raises(DataError, match=r"ant.*class 0"):
        load("arrays", arrays({"classes": np.array(["ant", "bee", "fly"])}))


def test_inexact_copies_are_noted(arrays):
    train, test = load("arrays", arrays({"exact": np.arange(12) > 4}))
    assert any("5 of 12 images are marked as not exact copies" in note for note in train.notes)
    assert not any("exact" in note for note in test.notes)


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_notes_are_printable_for_any_file_name(arrays):
    folder = arrays({"exact": np.arange(12) > 4})
    (folder / "train.npz").rename(folder / os.fsdecode(b"z\xe9bu\ntrain.npz"))
    first, second = load("arrays", folder)[0].notes
    assert first == r"z\xe9bu\ntrain.npz: 12 images"
    assert second.startswith(r"z\xe9bu\ntrain.npz: 5 of 12 images")


def test_exact_copies_are_not_noted(arrays):
    train, _ = load("arrays", arrays({"exact": np.ones(12, bool)}))
    assert not any("exact" in note for note in train.notes)


@pytest.mark.parametrize("name", ["images", "labels", "classes"])
def test_pickled_objects_are_refused(arrays, name):
    with pytest.raises(DataError, match=r"train\.npz: not an \.npz file of plain arrays"):
        load("arrays", arrays({name: np.array([object()] * 12)}))


@pytest.mark.parametrize("name", ["images", "labels"])
def test_a_missing_array_is_named(arrays, name):
    with pytest.raises(DataError, match=rf"test\.npz: the array '{name}' is missing; the file must contain images"):
        load("arrays", arrays(test={name: None}))


@pytest.mark.parametrize(
    "images",
    [
        pixels(12).astype(np.float32),
        pixels(12).astype(np.int64),
        pixels(12).transpose(0, 3, 1, 2),
        pixels(12, 32, 32, 4),
        pixels(12, 3072),
        pixels(0),
    ],
    ids=["float", "int64", "channels first", "four channels", "flat", "none"],
)
def test_images_of_another_kind_are_refused(arrays, images):
    with pytest.raises(DataError, match=r"train\.npz: images must be \(N, H, W, 3\) or \(N, H, W\) of uint8"):
        load("arrays", arrays({"images": images, "labels": labels(len(images))}))


@pytest.mark.parametrize(
    "wrong",
    [labels(12).astype(float), labels(11), labels(12)[:, None], labels(12) > 0, labels(12).astype(str)],
    ids=str,
)
def test_labels_of_another_kind_are_refused(arrays, wrong):
    with pytest.raises(DataError, match=r"train\.npz: labels must be 12 integers"):
        load("arrays", arrays({"labels": wrong}))


def test_negative_labels_are_refused(arrays):
    with pytest.raises(DataError, match=r"train\.npz: labels start at -1; they must be 0, 1, 2"):
        load("arrays", arrays({"labels": labels(12) - 1}))


def test_a_label_without_images_is_refused(arrays):
    with pytest.raises(DataError, match=r"train\.npz: classes without images in this split: class 1"):
        load("arrays", arrays({"labels": 2 * labels(12)}))


def test_a_class_that_only_one_split_has_is_refused(arrays):
    with pytest.raises(DataError, match=r"training has the classes.*class 3.*test has"):
        load("arrays", arrays({"labels": labels(12, classes=4)}))


def test_fewer_class_names_than_labels_are_refused(arrays):
    with pytest.raises(DataError, match=r"train\.npz: labels range from 0 to 2, but there are 2 classes"):
        load("arrays", arrays({"classes": np.array(["ant", "bee"])}))


def test_no_file_of_a_split_is_refused(arrays):
    folder = arrays()
    (folder / "test.npz").unlink()
    with pytest.raises(DataError, match=r"data\.path: .* exactly one file \*test\*\.npz; found: none"):
        load("arrays", folder)


def test_two_files_of_a_split_are_refused(arrays):
    folder = arrays()
    np.savez(folder / "more_train.npz", images=pixels(3), labels=labels(3))
    with pytest.raises(DataError, match=r"\*train\*\.npz; found: more_train\.npz, train\.npz"):
        load("arrays", folder)


def test_a_text_file_is_refused_as_arrays(arrays):
    folder = arrays()
    (folder / "train.npz").write_text("images")
    with pytest.raises(DataError, match=r"train\.npz: not an \.npz file"):
        load("arrays", folder)


def test_configured_class_names_replace_those_of_the_files(arrays):
    folder = arrays({"classes": np.array(["ant", "bee", "fly"])})
    assert load("arrays", folder, class_names=["a", "b", "c"])[1].classes == ("a", "b", "c")


@pytest.mark.parametrize(
    "classes",
    [[["ant", "bee", "fly"]], ["ant", "ant", "fly"], [0.5, 1.5, 2.5], [b"ant", b"bee", b"\xe9"]],
    ids=["two axes", "twice", "numbers", "bytes"],
)
def test_names_of_another_kind_are_refused(arrays, classes):
    with pytest.raises(DataError, match=r"train\.npz: classes (must be distinct names|are bytes)"):
        load("arrays", arrays({"classes": np.array(classes)}))


@pytest.mark.parametrize("exact", [np.array(["False"] * 12), np.ones(11, bool), np.ones((12, 1), bool)], ids=str)
def test_marks_of_another_kind_are_refused(arrays, exact):
    with pytest.raises(DataError, match=r"train\.npz: exact must be 12 Booleans"):
        load("arrays", arrays({"exact": exact}))


def test_a_file_of_arrays_with_any_damage_is_read_or_named(arrays):
    path = arrays({"images": pixels(12, 2, 2)}) / "train.npz"
    whole, chance = path.read_bytes(), random.Random(0)
    for _ in range(150):
        damage = bytearray(whole)
        for _ in range(chance.randrange(1, 9)):
            damage[chance.randrange(len(damage))] = chance.randrange(256)
        path.write_bytes(damage[: chance.choice((None, chance.randrange(len(damage))))])
        try:
            load("arrays", path.parent)
        except DataError as error:
            assert "train" in str(error)


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "a single array"])
def test_a_damaged_file_of_arrays_is_refused(arrays, damage):
    path = arrays() / "train.npz"
    content = path.read_bytes()
    if damage == "a single array":
        with path.open("wb") as file:
            np.save(file, pixels(12))
    elif damage == "flipped":
        path.write_bytes(content[:3000] + bytes([content[3000] ^ 1]) + content[3001:])
    else:
        path.write_bytes(content[: 0 if damage == "empty" else len(content) // 2])
    with pytest.raises(DataError, match=r"train\.npz: not an \.npz file"):
        load("arrays", path.parent)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("side", [32, 16])
def test_arrays_are_read_in_blocks(arrays, monkeypatch, save, side):
    folder = arrays()
    images = pixels(12, 32, 32)
    save(folder / "train.npz", images=images, labels=labels(12))
    whole = load("arrays", folder, image_size=side)[0]
    monkeypatch.setattr(sources, "BLOCK", 5 * 32 * 32)
    monkeypatch.setattr(splits, "BLOCK", 5 * 3 * side * side)
    assert [len(block) for block in opened("arrays", folder, image_size=side)[0].blocks()] == [5, 5, 2]
    assert load("arrays", folder, image_size=side)[0].sha256 == whole.sha256
    some = load("arrays", folder, train_images=4, seed=1, image_size=side)[0]
    places = {image.tobytes(): place for place, image in enumerate(whole.images)}
    np.testing.assert_array_equal(some.labels, whole.labels[[places[image.tobytes()] for image in some.images]])


def test_arrays_in_the_order_of_fortran_are_read(arrays):
    images = pixels(12, 20, 24)
    stored = np.asfortranarray(images)
    assert not stored.flags.c_contiguous
    expected, found = (load("arrays", arrays({"images": one}), train_images=6)[0] for one in (images, stored))
    assert found.sha256 == expected.sha256


def test_reading_arrays_holds_a_block_at_a_time(arrays, tmp_path, monkeypatch):
    count = 10_000  # 31 MB
    folder = arrays({"images": np.zeros((count, 32, 32, 3), np.uint8), "labels": labels(count)})
    monkeypatch.setattr(sources, "BLOCK", 2**20)
    tracemalloc.start()
    try:
        for split in opened("arrays", folder, train_images=count // 2):
            write_images(tmp_path / "written.safetensors", split)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_a_damaged_image_that_is_not_used_is_found(arrays):
    folder = arrays()
    content = bytearray((folder / "train.npz").read_bytes())
    place = content.find(pixels(12, seed=12)[-1].tobytes())
    content[place] ^= 1
    (folder / "train.npz").write_bytes(content)
    train, _ = opened("arrays", folder, train_images=3)
    assert 11 not in train.positions
    with pytest.raises(DataError, match=r"train\.npz: not an \.npz file of plain arrays \(Bad CRC"):
        train.in_memory()


# --- image folders ------------------------------------------------------------------------------------------------


def test_pictures_are_read_by_class(pictures):
    train, test = load("image_folder", pictures)
    assert train.classes == test.classes == ("cat", "dog")
    np.testing.assert_array_equal(train.labels, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(test.images[2], pixels(1, seed=12)[0])
    with Image.open(pictures / "train" / "dog" / "1.jpg") as picture:
        np.testing.assert_array_equal(train.images[4], np.asarray(picture))


@pytest.mark.parametrize("name", ["x.PNG", "x.jpeg", "x.Webp", "x.tif", "sub/deeper/x.bmp"])
def test_pictures_of_other_names_and_in_folders_of_a_class_are_read(pictures, name):
    path = pictures / "train" / "cat" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(1)[0]).save(path)
    assert np.bincount(load("image_folder", pictures)[0].labels).tolist() == [4, 3]


@pytest.mark.parametrize("size", [(32, 64), (64, 32)])
def test_pictures_that_are_not_square_are_cropped_to_their_centre(pictures, size):
    middle = pixels(1)[0]
    picture = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - 32) // 2, (size[1] - 32) // 2
    picture[top : top + 32, left : left + 32] = middle
    Image.fromarray(picture).save(pictures / "train" / "cat" / "0.png")
    np.testing.assert_array_equal(load("image_folder", pictures)[0].images[0], middle)


def test_large_pictures_are_averaged(pictures):
    fine = np.indices((320, 320)).sum(axis=0) % 2 * 255  # a checkerboard of single pixels averages to grey
    Image.fromarray(fine.astype(np.uint8)).save(pictures / "train" / "cat" / "0.png")
    assert abs(load("image_folder", pictures)[0].images[0].astype(int) - 127).max() <= 3


def test_hidden_files_are_ignored_and_others_counted(pictures):
    before = load("image_folder", pictures)[0]
    (pictures / "train" / ".cache").mkdir()
    (pictures / "train" / "cat" / ".hidden.png").write_text("no picture")
    (pictures / "train" / "list.txt").write_text("cat\ndog\n")
    (pictures / "train" / "cat" / "notes.txt").write_text("a cat")
    after = load("image_folder", pictures)[0]
    assert after.sha256 == before.sha256
    assert after.notes == (before.notes[0] + "; 2 other files are not read",)


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_classes_may_have_any_name(pictures):
    for split in ("train", "test"):
        (pictures / split / "cat").rename(pictures / split / "a {cat}\n$_ä")
        (pictures / split / "dog").rename(pictures / split / os.fsdecode(b"z\xe9bu"))
    assert load("image_folder", pictures)[0].classes == ("a {cat}\\n$_ä", r"z\xe9bu")


def test_mistakes_in_a_folder_are_reported_as_in_planning(pictures):
    (pictures / "train" / "fish").mkdir()
    with pytest.raises(DataError, match=r"fish: in .*train, but not in .*test"):
        load("image_folder", pictures)


def test_only_pictures_that_are_used_are_read(pictures):
    (pictures / "test" / "cat" / "0.png").write_bytes(b"a cat")
    train, validation = opened("image_folder", pictures, validation_images=2)
    assert len(train.in_memory().labels) == 4
    assert len(validation.in_memory().labels) == 2


def test_smaller_pictures_are_counted(pictures):
    for place, size in enumerate([(31, 40), (40, 31), (32, 33)]):
        Image.fromarray(pixels(1, *size, 3)[0]).save(pictures / "train" / "cat" / f"{place}.png")
    train, test = load("image_folder", pictures)
    assert train.notes[1:] == ("2 of 6 images are smaller than 32 × 32 pixels and were enlarged",)
    assert len(test.notes) == 1


def test_an_unreadable_picture_is_named(pictures):
    (pictures / "test" / "cat" / "{1}\n.png").write_bytes(b"a cat")
    with pytest.raises(DataError, match=r"test/cat/\{1\}\\n\.png: not a readable picture"):
        load("image_folder", pictures)


# --- subsets ------------------------------------------------------------------------------------------------------


def uneven(arrays):
    """Return a folder with 20, 10 and 4 training images of three classes, in random order."""
    order = np.random.default_rng(5).permutation(np.repeat(np.arange(3), [20, 10, 4]))
    return arrays({"images": pixels(34), "labels": order})


@pytest.mark.parametrize(
    ("count", "shares"), [(3, [1, 1, 1]), (12, [4, 4, 4]), (20, [8, 8, 4]), (33, [19, 10, 4]), (34, [20, 10, 4])]
)
def test_a_subset_is_drawn_as_evenly_as_the_classes_allow(arrays, count, shares):
    train, _ = load("arrays", uneven(arrays), train_images=count)
    assert np.bincount(train.labels).tolist() == shares


def test_a_subset_differs_by_at_most_one_between_classes():
    train, test = load("digits", train_images=1003, test_images=57)
    for split, count in ((train, 1003), (test, 57)):
        shares = np.bincount(split.labels)
        assert shares.sum() == count
        assert shares.max() - shares.min() <= 1


def test_a_subset_has_no_repetitions_and_is_sorted(arrays):
    folder = uneven(arrays)
    whole, subset = (load("arrays", folder, train_images=count)[0] for count in (None, 20))
    places = {image.tobytes(): place for place, image in enumerate(whole.images)}
    chosen = [places[image.tobytes()] for image in subset.images]
    assert chosen == sorted(set(chosen))
    np.testing.assert_array_equal(subset.labels, whole.labels[chosen])


def test_a_subset_depends_only_on_the_seed(arrays):
    folder = uneven(arrays)
    hashes = [load("arrays", folder, train_images=20, seed=seed)[0].sha256 for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_larger_subset_contains_the_smaller_one():
    small, large = (load("digits", train_images=count)[0].images for count in (100, 200))
    assert {image.tobytes() for image in small} <= {image.tobytes() for image in large}


def test_a_subset_is_noted(arrays):
    train, test = load("arrays", uneven(arrays), train_images=20, seed=3)
    assert train.notes[-1] == "20 of 34 images, drawn evenly from all classes (seed 3)"
    assert not any("drawn" in note for note in test.notes)


def test_more_images_than_there_are_cannot_be_drawn(arrays):
    with pytest.raises(DataError, match=r"data\.test_images: 7 images are requested, but there are only 6"):
        load("arrays", arrays(), test_images=7)


def test_fewer_images_than_classes_cannot_be_drawn(arrays):
    with pytest.raises(DataError, match=r"data\.train_images: 2 images cannot cover all 3 classes"):
        load("arrays", arrays(), train_images=2)


# --- validation images --------------------------------------------------------------------------------------------


def as_set(split):
    return {image.tobytes() for image in split.images}


def test_validation_images_replace_the_test_images(arrays):
    folder = uneven(arrays)
    (whole, test), (train, validation) = load("arrays", folder), load("arrays", folder, validation_images=9, seed=3)
    assert (len(train.labels), len(validation.labels)) == (len(whole.labels) - 9, 9)
    assert np.bincount(validation.labels).tolist() == [3, 3, 3]
    assert as_set(train) | as_set(validation) == as_set(whole)
    assert not as_set(train) & as_set(validation)
    assert not as_set(test) & as_set(validation)
    for split in (train, validation):
        assert split.notes[-1] == ("9 of 34 training images are held out and replace the test images (seed 3)")


def test_labels_stay_with_their_images_when_some_are_held_out(arrays):
    folder = uneven(arrays)
    whole = load("arrays", folder)[0]
    label_of = {image.tobytes(): label for image, label in zip(whole.images, whole.labels, strict=True)}
    for split in load("arrays", folder, validation_images=9):
        assert [label_of[image.tobytes()] for image in split.images] == split.labels.tolist()


def test_validation_images_are_drawn_from_the_training_images_that_are_used():
    train, validation = load("digits", train_images=500, validation_images=100)
    used = load("digits", train_images=500)[0]
    assert len(train.labels) == 400
    assert as_set(train) | as_set(validation) == as_set(used)


def test_some_images_must_be_left_to_train_on(arrays):
    with pytest.raises(DataError, match=r"data\.validation_images: 34 images are requested, which leaves none of 34"):
        load("arrays", uneven(arrays), validation_images=34)
