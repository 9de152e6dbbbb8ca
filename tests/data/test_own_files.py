import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from lgg.data import own_files
from lgg.errors import DataError


@pytest.fixture
def pictures(tmp_path):
    """Return a folder with two classes in both splits, with one empty file each."""
    for name in ("train/cat/1.png", "train/dog/2.jpg", "test/cat/3.png", "test/dog/4.webp"):
        add(tmp_path / name)
    return tmp_path


def add(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names(folder):
    return [Path(path).relative_to(folder).as_posix() for path in own_files.source_files("image_folder", folder)]


def lines_of(folder):
    with pytest.raises(DataError) as error:
        own_files.picture_splits(folder)
    return str(error.value).replace(f"{folder}/", "").removeprefix("data.path: ").split("\n  ")


def test_broken_links_are_not_pictures(pictures):
    (pictures / "train/cat/loop.png").symlink_to("loop.png")
    (pictures / "train/cat/gone.png").symlink_to("nowhere.png")
    assert len(names(pictures)) == 4
    assert "2 other files are not read" in " ".join(own_files.survey("image_folder", pictures).notices)


# --- which files are read -----------------------------------------------------------------------------------------


def test_pictures_at_any_depth_and_with_any_case_are_read_by_class(pictures):
    add(pictures / "train/cat/a/b/5.TIFF")
    add(pictures / "train/cat/a/6.WebP")
    assert names(pictures) == [
        "train/cat/1.png", "train/cat/a/6.WebP", "train/cat/a/b/5.TIFF", "train/dog/2.jpg",
        "test/cat/3.png", "test/dog/4.webp",
    ]  # fmt: skip


def test_hidden_files_are_ignored_and_other_files_reported(pictures):
    before = names(pictures)
    for name in (".DS_Store", "train/.x/1.png", "train/cat/.1.png", "train/cat/.thumbs/1.png", "test/.cat/1.png"):
        add(pictures / name)
    assert own_files.survey("image_folder", pictures).notices == []
    for name in ("Thumbs.db", "dog/7.heic", "dog/old/8.txt", "dog/png"):
        add(pictures / "train" / name)
    (line,) = own_files.survey("image_folder", pictures).notices
    assert line == f"{pictures}/train: 4 other files are not read: Thumbs.db, dog/7.heic, dog/old/8.txt, dog/png"
    assert names(pictures) == before


def test_only_a_few_of_many_other_files_are_named(pictures):
    for number in range(2000):
        add(pictures / f"test/cat/{number:04}.txt")
    (line,) = own_files.survey("image_folder", pictures).notices
    assert line.endswith("/test: 2,000 other files are not read: cat/0000.txt, cat/0001.txt, cat/0002.txt, cat/0003.txt, "
                         "cat/0004.txt and 1,995 more")  # fmt: skip


def test_links_are_followed_but_not_in_cycles(pictures, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    add(elsewhere / "7.png")
    (pictures / "train/cat/linked").symlink_to(elsewhere)
    (pictures / "train/cat/linked.png").symlink_to(elsewhere / "7.png")
    (pictures / "train/cat/again").symlink_to(pictures / "train/cat")
    (pictures / "train/cat/lost.png").symlink_to("nowhere")
    assert [name for name in names(pictures) if "linked" in name] == [
        "train/cat/linked/7.png", "train/cat/linked.png",
    ]  # fmt: skip
    assert "1 other files are not read: cat/lost.png" in own_files.survey("image_folder", pictures).notices[0]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_without_a_test_folder_another_one_is_used(pictures, name):
    (pictures / "test").rename(pictures / name)
    assert names(pictures)[2:] == [f"{name}/cat/3.png", f"{name}/dog/4.webp"]
    assert own_files.survey("image_folder", pictures).notices == []


def test_with_a_test_folder_others_are_ignored_and_reported(pictures):
    before = names(pictures)
    add(pictures / "val/cat/5.png")
    assert names(pictures) == before
    assert own_files.survey("image_folder", pictures).notices == [
        f"{pictures}: val is not read; the test images are those in `test`"
    ]


def test_several_test_folders_without_one_named_test_are_refused(pictures):
    (pictures / "test").rename(pictures / "val")
    add(pictures / "valid/cat/5.png")
    assert "has val, valid, but no folder `test`. Rename the one to test on to `test`" in lines_of(pictures)[0]


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_missing_split_is_reported_with_what_the_folder_contains(pictures, missing):
    (pictures / missing).rename(pictures / "other")
    (line,) = lines_of(pictures)
    assert line.startswith(f"there is no folder {missing}. ")
    assert "it contains other, " in line


def test_all_mistakes_in_a_folder_are_reported_at_once(pictures):
    (pictures / "train/empty").mkdir()
    add(pictures / "test/empty/notes.heic")
    add(pictures / "train/only/5.png")
    add(pictures / "test/alone/6.png")
    (pictures / "train/hollow").mkdir()  # empty, and in one split only
    lines = lines_of(pictures)
    assert len(lines) == 4
    assert "train/empty has no pictures" in lines[0]
    assert lines[1].startswith("test/empty has no pictures (") and lines[1].endswith("but notes.heic")
    assert lines[2:] == [
        "hollow, only: in train, but not in test",
        "alone: in test, but not in train",
    ]


@pytest.mark.parametrize("classes", [0, 1])
def test_fewer_than_two_classes_are_refused(tmp_path, classes):
    for split in ("train", "test"):
        add(tmp_path / split / "1.png")  # without a class
        for name in "ab"[:classes]:
            add(tmp_path / split / name / "1.png")
    assert lines_of(tmp_path) == [
        f"{split} must contain a folder for each of at least two classes" for split in ("train", "test")
    ]


def test_a_folder_that_cannot_be_listed_is_named(pictures, monkeypatch):
    def denied(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(own_files.os, "scandir", denied)
    assert lines_of(pictures) == ["train cannot be listed (Permission denied)."]


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a {x} 'ä'.png", "a {x} 'ä'.png"), ("a\nb\x1b", r"a\nb\x1b"), (os.fsdecode(b"\xe9.png"), r"\xe9.png")],
)
def test_every_name_can_be_printed(name, shown):
    assert own_files.readable(name) == shown
    shown.encode("utf-8")


# --- whether they changed -----------------------------------------------------------------------------------------


def state(folder):
    return own_files.state_of(own_files.source_files("image_folder", folder))


def test_the_state_changes_with_every_picture_and_with_nothing_else(pictures):
    states = [state(pictures)]
    assert states == [state(pictures)]
    add(pictures / ".DS_Store")
    add(pictures / "train/cat/notes.txt")
    assert states == [state(pictures)]
    one = pictures / "train/cat/1.png"
    for change in (
        lambda: os.utime(one, ns=(0, one.stat().st_mtime_ns - 1)),  # older than what was derived from it
        lambda: (one.write_bytes(b"1"), os.utime(one, ns=(0, 0))),
        lambda: (one.write_bytes(b"12"), os.utime(one, ns=(0, 0))),
        lambda: one.rename(one.with_name("{x}\n.png")),
        lambda: add(pictures / "test/dog/5.png"),
        (pictures / "train/dog/2.jpg").rename(pictures / "train/dog/9.jpg").unlink,
    ):
        change()
        add(pictures / "train/dog/3.jpg")
        states.append(state(pictures))
    assert len(set(states)) == len(states)


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_names_with_invalid_utf8_are_part_of_the_state(pictures):
    before = state(pictures)
    add(pictures / "train/cat" / os.fsdecode(b"z\xe9bu.png"))
    assert state(pictures) != before


# --- counting -----------------------------------------------------------------------------------------------------


def test_pictures_are_counted_by_class(pictures):
    add(pictures / "train/dog/sub/5.gif")
    assert own_files.survey("image_folder", pictures).counts == ([1, 2], [1, 1])


@pytest.fixture
def arrays(tmp_path):
    def write(train, test, save=np.savez):
        for name, labels in (("train", train), ("test", test)):
            save(tmp_path / f"my_{name}.npz", images=np.zeros((len(labels), 2, 2), np.uint8), labels=labels)
        return tmp_path

    return write


@pytest.mark.parametrize("kind", ["u1", "i1", "<u2", ">i2", "<i4", ">u4", "<i8", ">i8", "<u8"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_labels_of_arrays_are_counted(arrays, kind, save):
    train, test = (np.random.default_rng(seed).permutation(np.arange(60) % 7).astype(kind) for seed in (0, 1))
    counts = own_files.survey("arrays", arrays(train, test[:50], save)).counts
    assert counts == (np.bincount(train.astype(int)).tolist(), np.bincount(test[:50].astype(int)).tolist())


@pytest.mark.parametrize(
    "labels", [np.zeros((4, 1), int), np.zeros(4), np.array([0, 9, 1, 1]), np.array([-1, 0, 1, 1]), np.zeros(0, int)]
)
def test_labels_that_reading_refuses_are_not_counted(arrays, labels):
    assert own_files.survey("arrays", arrays(labels, np.array([0, 1]))).counts is None


def test_a_damaged_file_of_arrays_is_reported_when_it_is_read(arrays):
    folder = arrays(np.arange(40) % 4, np.arange(8) % 4)
    path, chance = folder / "my_train.npz", random.Random(0)
    whole = path.read_bytes()
    for _ in range(150):
        damage = bytearray(whole)
        for _ in range(chance.randrange(1, 5)):
            damage[chance.randrange(len(damage))] = chance.randrange(256)
        path.write_bytes(damage[: chance.choice((None, chance.randrange(len(damage))))])
        assert own_files.survey("arrays", folder).counts in (None, ([10] * 4, [2] * 4))


def test_a_label_that_one_file_lacks_is_refused(arrays):
    folder = arrays(np.array([0, 1, 2]), np.array([0, 2, 2]))
    with pytest.raises(DataError, match=r"my_test\.npz has no images with the label 1\. Both files need"):
        own_files.survey("arrays", folder)


@pytest.mark.parametrize(
    ("others", "found"), [([], "none"), (["a_train.npz", "b_train.npz"], "a_train.npz, b_train.npz")]
)
def test_not_exactly_one_file_of_a_split_is_refused(tmp_path, others, found):
    for name in (*others, "test.npz", "train.txt", ".train.npz"):
        add(tmp_path / name)
    with pytest.raises(DataError, match=rf"must contain exactly one file \*train\*\.npz; found: {found}"):
        own_files.array_files(tmp_path)
