import errno
import json
import mmap
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from lgg import files
from lgg.data import storage
from lgg.data.storage import ImageSet, read_header, read_images, release, write_images
from lgg.errors import DataError

CLASSES = ("cat", "dog", "fish")


def image_set(count=9, classes=CLASSES, notes=("from a test",)):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return ImageSet(pixels, np.arange(count, dtype=np.int64) % len(classes), classes, notes)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.safetensors"
    write_images(path, image_set(), {"source": "test", "mean": [0.1, 0.2, 0.3]})
    return path


def flip(path, position):
    """Flip the last bit of one byte of the tensors; the smaller one, the labels, comes first in the file."""
    content = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", content[:8])[0]
    content[start + position] ^= 1
    path.write_bytes(content)


# --- image sets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 32, 32, 1), (3, 32, 32, 4), (3, 3, 32, 32), (32, 32, 3)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(DataError, match=r"\(N, H, W, 3\)"):
        ImageSet(np.zeros(shape, np.uint8), np.arange(3), CLASSES)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint16, np.int8, bool])
def test_images_of_another_type_are_refused(dtype):
    with pytest.raises(DataError, match="of uint8"):
        ImageSet(np.zeros((3, 32, 32, 3), dtype), np.arange(3), CLASSES)


@pytest.mark.parametrize(
    "labels", [np.arange(4), np.arange(3)[:, None], np.arange(3, dtype=np.int32), np.arange(3.0), np.int64(0)]
)
def test_labels_that_do_not_match_the_images_are_refused(labels):
    with pytest.raises(DataError, match="3 images, but labels"):
        ImageSet(np.zeros((3, 32, 32, 3), np.uint8), np.asarray(labels), CLASSES)


def test_a_class_without_an_image_is_named():
    with pytest.raises(DataError, match="classes without images in this split: dog"):
        ImageSet(np.zeros((3, 32, 32, 3), np.uint8), np.array([0, 2, 2]), CLASSES)


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_labels_out_of_range_are_refused(label):
    with pytest.raises(DataError, match=f"{label}.*0 to 2"):
        ImageSet(np.zeros((4, 32, 32, 3), np.uint8), np.array([0, 1, 2, label]), CLASSES)


def test_the_hash_depends_only_on_pixels_labels_and_shape():
    whole = image_set()
    assert whole.sha256 == image_set(notes=("another",)).sha256
    assert whole.sha256 == ImageSet(whole.images, whole.labels, ("a", "b", "c")).sha256
    brighter = whole.images.copy()
    brighter[5, 7, 11, 2] ^= 1
    others = [
        ImageSet(brighter, whole.labels, CLASSES),
        ImageSet(whole.images, whole.labels[::-1], CLASSES),
        ImageSet(whole.images.reshape(9, 16, 64, 3), whole.labels, CLASSES),
    ]
    assert len({whole.sha256, *(other.sha256 for other in others)}) == 4


def test_the_hash_does_not_depend_on_the_layout_in_memory():
    whole = image_set()
    turned = ImageSet(np.asfortranarray(whole.images), whole.labels.repeat(2)[::2], CLASSES)
    assert turned.sha256 == whole.sha256


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", [False, True])
def test_images_are_read_as_they_were_written(file, verify):
    written, read = image_set(), read_images(file, verify=verify)
    np.testing.assert_array_equal(read.images, written.images)
    np.testing.assert_array_equal(read.labels, written.labels)
    assert (read.images.dtype, read.labels.dtype) == (np.uint8, np.int64)
    assert (read.classes, read.notes, read.sha256) == (written.classes, written.notes, written.sha256)


def test_arrays_that_are_not_contiguous_are_written_in_order(tmp_path):
    whole = image_set()
    every_second = ImageSet(whole.images[::-2], whole.labels[::-2], CLASSES)
    write_images(tmp_path / "x.safetensors", every_second)
    read = read_images(tmp_path / "x.safetensors", verify=True)
    np.testing.assert_array_equal(read.images, whole.images[::-2])
    np.testing.assert_array_equal(read.labels, whole.labels[::-2])


def test_the_header_describes_the_file(file):
    assert read_header(file) == {
        "format": "lgg-images-1",
        "shape": [9, 32, 32, 3],
        "dtype": "uint8",
        "classes": list(CLASSES),
        "notes": ["from a test"],
        "sha256": image_set().sha256,
        "source": "test",
        "mean": [0.1, 0.2, 0.3],
    }


def test_names_in_any_script_are_kept(tmp_path):
    classes = ("猫", "chien « gris »", "ψάρι")
    write_images(tmp_path / "x.safetensors", image_set(classes=classes))
    assert read_images(tmp_path / "x.safetensors").classes == classes


def test_equal_images_give_equal_files(tmp_path):
    for name in ("one", "two"):
        write_images(tmp_path / name, image_set())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("position", [9 * 8, 9 * 8 + 5000, -1 + 9 * 8 + 9 * 32 * 32 * 3])
def test_verification_finds_one_flipped_bit_of_the_pixels(file, position):
    flip(file, position)
    with pytest.raises(DataError, match=r"train\.safetensors: the pixels do not match.* run the pipeline again"):
        read_images(file, verify=True)


def test_without_verification_a_flipped_bit_passes(file):
    flip(file, 9 * 8)
    read_images(file)


def test_verification_finds_one_flipped_bit_of_the_labels(file):
    flip(file, 7)
    with pytest.raises(DataError, match=r"train\.safetensors.* run the pipeline again"):
        read_images(file, verify=True)


@pytest.mark.parametrize("size", [0, 4, 8, 100, 600, -1])
@pytest.mark.parametrize("read", [read_header, read_images])
def test_a_truncated_file_is_refused(file, size, read):
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(DataError, match=r"train\.safetensors: damaged.* run the pipeline again"):
        read(file)


def test_a_text_file_is_refused(tmp_path):
    path = tmp_path / "text.safetensors"
    path.write_text("These are not images, though this text is longer than a header must be.\n" * 10)
    with pytest.raises(DataError, match=r"text\.safetensors: damaged, or not an image file"):
        read_images(path)


@pytest.mark.parametrize("metadata", [None, {"made by": "another"}, {"lgg": '{"format": "lgg-images-99"}'}])
def test_a_safetensors_file_of_another_kind_is_refused(tmp_path, metadata):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"weight": np.zeros(3)}, path, metadata=metadata)
    with pytest.raises(DataError, match=r"model\.safetensors: not an image file of lgg\. Remove it"):
        read_images(path)


def test_a_header_that_is_not_json_is_refused(tmp_path):
    path = tmp_path / "broken.safetensors"
    safetensors.numpy.save_file({"weight": np.zeros(3)}, path, metadata={"lgg": '{"format":'})
    with pytest.raises(DataError, match=r"broken\.safetensors: damaged"):
        read_header(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.safetensors: file not found"):
        read_images(tmp_path / "nothing.safetensors")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="file not found"):
        read_images(tmp_path)


def test_a_file_that_cannot_be_read_is_not_called_damaged(file, monkeypatch):
    def fail(path, *args, **kwargs):
        raise OSError(errno.EIO, "Input/output error")  # like a failed read, without a name

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(OSError, match=r"Input/output error.*train\.safetensors"):
        read_images(file)


# --- written while it is read ----------------------------------------------------------------------------------------


class Stream:
    """Images that are read in blocks of two, with a note that is added meanwhile."""

    def __init__(self, data):
        self.shape, self.labels, self.classes, self.notes = data.shape, data.labels, data.classes, data.notes
        self.images = data.images

    def blocks(self):
        for start in range(0, len(self.images), 2):
            yield self.images[start : start + 2]
        self.notes = (*self.notes, "seen")


def test_images_are_written_as_they_are_read(tmp_path):
    path, seen = tmp_path / "x.safetensors", []
    data = image_set()
    sha256 = write_images(path, Stream(data), lambda: {"blocks": len(seen)}, watch=seen.append)
    assert sha256 == data.sha256 == read_images(path, verify=True).sha256
    assert [len(block) for block in seen] == [2, 2, 2, 2, 1]
    header = read_header(path)
    assert header["blocks"] == 5
    assert header["notes"] == ["from a test", "seen"]
    assert header["sha256"] == data.sha256


def test_a_header_never_grows_into_the_tensors(tmp_path):
    path = tmp_path / "x.safetensors"
    write_images(path, image_set(), {"more": "x" * 4000})
    assert read_images(path, verify=True).sha256 == image_set().sha256
    with pytest.raises(ValueError, match=r"x\.safetensors: the header grew by more than 4096 bytes"):
        write_images(path, image_set(), {"more": "x" * 5000})
    assert read_header(path)["more"] == "x" * 4000


def test_the_file_is_one_of_safetensors(file):
    with safetensors.safe_open(file, "np") as opened:
        np.testing.assert_array_equal(opened.get_tensor("images"), image_set().images)
        np.testing.assert_array_equal(opened.get_tensor("labels"), image_set().labels)


def test_an_error_of_reading_leaves_the_file_as_it_was(file):
    before = file.read_bytes()

    class Failing(Stream):
        def blocks(self):
            yield self.images[:2]
            raise DataError("a damaged picture")

    with pytest.raises(DataError, match="a damaged picture"):
        write_images(file, Failing(image_set(count=6)))
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_disk_with_too_little_space_is_reported_before_anything_is_read(tmp_path, monkeypatch):
    free = shutil._ntuple_diskusage(100, 73, 27_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(
        DataError, match=r"x\.safetensors: the images take 0\.0 GB, but only 0\.0 GB are free\. .*image_size"
    ):
        write_images(tmp_path / "x.safetensors", image_set(count=9))
    assert not list(tmp_path.iterdir())
    free = shutil._ntuple_diskusage(100, 73, 40_000)
    write_images(tmp_path / "x.safetensors", image_set(count=9))


def test_reading_does_not_count_as_writing(tmp_path, monkeypatch):
    clock = [0.0]  # only reading and watching take time
    monkeypatch.setattr(files.time, "perf_counter", lambda: clock[0])

    class Slow(Stream):
        def blocks(self):
            for block in super().blocks():
                clock[0] += 10
                yield block

    def watch(_):
        clock[0] += 1

    before = files.seconds_writing()
    write_images(tmp_path / "x.safetensors", Slow(image_set()), watch=watch)
    assert clock[0] == 55
    assert files.seconds_writing() == before


# --- mapping ------------------------------------------------------------------------------------------------------


def resident_kilobytes(path):
    """Return how much of the mapped file `path` is in the memory of this process."""
    own, found = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            own = line.endswith(str(path))
        elif own and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_images_are_read_when_they_are_accessed_and_released(tmp_path):
    path = tmp_path / "train.safetensors"
    write_images(path, image_set(count=6000))
    images = read_images(path).images
    assert resident_kilobytes(path) < 6000  # of 18,000: the labels, and what the system read ahead
    images.max()
    assert resident_kilobytes(path) >= 18_000
    release(images[::2])  # a view of them
    assert resident_kilobytes(path) == 0
    np.testing.assert_array_equal(images, image_set(count=6000).images)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_verification_holds_a_block_at_a_time(tmp_path, monkeypatch):
    path = tmp_path / "train.safetensors"
    write_images(path, image_set(count=6000))
    monkeypatch.setattr(storage, "BLOCK", 32 * 32 * 3 * 70)  # the last block is smaller
    held = []
    monkeypatch.setattr(storage, "release", lambda images: (held.append(resident_kilobytes(path)), release(images)))
    images = read_images(path, verify=True).images
    assert len(held) == 86 and max(held) < 6000
    assert resident_kilobytes(path) == 0
    assert images.shape == (6000, 32, 32, 3)


def test_images_in_memory_are_kept(monkeypatch):
    images = image_set().images
    release(images[2:5])
    np.testing.assert_array_equal(images, image_set().images)


def test_what_is_written_to_images_does_not_change_their_file(file):
    before = file.read_bytes()
    read_images(file).images[:] = 0
    assert file.read_bytes() == before
    assert read_images(file, verify=True).images.any()


def test_images_are_read_where_files_cannot_be_mapped(file, monkeypatch):
    class Refusing(mmap.mmap):
        def __new__(cls, *_, **__):
            raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(mmap, "mmap", Refusing)
    data = read_images(file, verify=True)
    np.testing.assert_array_equal(data.images, image_set().images)
    release(data.images)
    np.testing.assert_array_equal(data.images, image_set().images)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_file_larger_than_memory_is_mapped(tmp_path):
    amounts = dict(line.split()[:2] for line in Path("/proc/meminfo").read_text().splitlines())
    memory = 1024 * (int(amounts["MemTotal:"]) + int(amounts["SwapTotal:"]))
    shape = [3, 1000, 1 + memory // 3000, 3]  # three times that
    size = 3 * 1000 * shape[2] * 3
    about = {"format": "lgg-images-1", "shape": shape, "classes": ["a"], "notes": [], "sha256": ""}
    header = {
        "__metadata__": {"lgg": json.dumps(about)},
        "labels": {"dtype": "I64", "shape": [3], "data_offsets": [0, 24]},
        "images": {"dtype": "U8", "shape": shape, "data_offsets": [24, 24 + size]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "train.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        try:
            file.truncate(8 + len(text) + 24 + size)  # takes no space
        except OSError:
            pytest.skip("the file system has no files of this size")
    images = read_images(path).images
    assert images.nbytes > memory
    assert not images[-1, -1].any()


def test_a_mapped_set_outlives_its_file(file):
    data = read_images(file)
    file.unlink()
    assert data.sha256 == image_set().sha256


@pytest.mark.parametrize("entry", [("images", np.float32), ("labels", np.int32)], ids=["images", "labels"])
def test_tensors_of_another_type_are_refused(file, tmp_path, entry):
    name, dtype = entry
    with safetensors.safe_open(file, "np") as given:
        tensors = {key: given.get_tensor(key) for key in ("images", "labels")}
        metadata = given.metadata()
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file(tensors | {name: tensors[name].astype(dtype)}, path, metadata=metadata)
    with pytest.raises(DataError, match=r"other\.safetensors: damaged.* run the pipeline again"):
        read_images(path)


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="this system takes no such advice")
def test_prefetching_asks_for_the_pages_of_the_chosen_images_alone(tmp_path):
    class Noted(mmap.mmap):
        def madvise(self, option, start, length):
            asked.append((option, start, length))
            return super().madvise(option, start, length)

    asked, path = [], tmp_path / "pixels"
    pixels = np.random.default_rng(0).integers(256, size=(40, 20, 30, 3), dtype=np.uint8)
    path.write_bytes(b"header of some bytes" + pixels.tobytes())
    with path.open("rb") as file:
        noted = Noted(file.fileno(), 0, access=mmap.ACCESS_COPY)
    images = np.frombuffer(noted, np.uint8, pixels.size, 20).reshape(pixels.shape)
    for part, expected in ((images, pixels), (images[3::2], pixels[3::2])):
        asked.clear()
        storage.prefetch(part, np.array([11, 0, 7]))
        assert len(asked) == 3
        for number, (option, start, length) in zip((11, 0, 7), asked, strict=True):
            assert option == mmap.MADV_WILLNEED and start % mmap.PAGESIZE == 0
            assert length < expected[number].size + mmap.PAGESIZE
            assert noted[start : start + length].endswith(expected[number].tobytes())


def test_images_that_are_not_mapped_cannot_be_prefetched():
    storage.prefetch(np.zeros((4, 8, 8, 3), np.uint8), np.array([1, 2]))
