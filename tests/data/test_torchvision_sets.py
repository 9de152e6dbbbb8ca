"""The classes of torchvision read small files in the layout of their archives: images of three classes, in both splits."""

import bz2
import json
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torchvision.datasets
from PIL import Image

from lgg.data import sources
from lgg.data.torchvision_names import DATASETS, Name
from lgg.data.torchvision_sets import open_sets
from lgg.errors import DataError
from lgg.pipeline.config import Data

LABELS = {"train": [0, 2, 1, 1, 2], "test": [1, 0, 2, 2]}


def pixels(split, *shape):
    """Return an image for each label: smooth, so that it survives JPEG, and different from all others."""
    grid = np.indices(shape[:2]).sum(axis=0)[..., None]
    offsets = np.arange(len(LABELS[split])) * 20 + (7 if split == "test" else 0)
    images = [np.broadcast_to(grid + offset, (*shape[:2], 3)).astype(np.uint8) for offset in offsets]
    return np.stack(images)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 100, "subsampling": 0} if path.suffix in (".jpg", ".jpeg") else {}
    Image.fromarray(image).save(path, **options)


def by_class(folder, names, suffix, labels, images):
    for place, (label, image) in enumerate(zip(labels, images, strict=True)):
        save(folder / names[label] / f"{place}{suffix}", image)


def mnist(folder, split, labels, images, name="MNIST", prefix=None):
    raw = folder / name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    prefix = prefix or {"train": "train", "test": "t10k"}[split]
    grey = images[..., 0]
    (raw / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">BBBB3I", 0, 0, 8, 3, *grey.shape) + grey.tobytes())
    (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, len(labels)) + bytes(labels))


def usps(folder, split, labels, images):
    grey = images[..., 0].astype(np.float64) / 255 * 2 - 1
    lines = [
        " ".join([str(label + 1), *(f"{place + 1}:{value + 1e-6}" for place, value in enumerate(image.ravel()))])
        for label, image in zip(labels, grey, strict=True)
    ]
    (folder / {"train": "usps.bz2", "test": "usps.t.bz2"}[split]).write_bytes(bz2.compress("\n".join(lines).encode()))


def svhn(folder, split, labels, images):
    numbers = np.array([[label or 10] for label in labels], np.uint8)
    scipy.io.savemat(folder / f"{split}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": numbers})


def stl10(folder, split, labels, images):
    base = folder / "stl10_binary"
    base.mkdir(exist_ok=True)
    (base / f"{split}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
    (base / f"{split}_y.bin").write_bytes(bytes(label + 1 for label in labels))
    (base / "unlabeled_X.bin").touch()
    (base / "class_names.txt").write_text("airplane\nbird\ncar\n")


def gtsrb(folder, split, labels, images):
    base = folder / "gtsrb"
    if split == "train":
        by_class(base / "GTSRB/Training", ["00000", "00001", "00002"], ".ppm", labels, images)
        return
    rows = ["Filename;ClassId", *(f"{place:05}.ppm;{label}" for place, label in enumerate(labels))]
    for place, image in enumerate(images):
        save(base / f"GTSRB/Final_Test/Images/{place:05}.ppm", image)
    (base / "GT-final_test.csv").write_text("\n".join(rows))


def flowers102(folder, split, labels, images):
    base = folder / "flowers-102"
    first = {"train": 1, "test": 1 + len(LABELS["train"])}[split]
    for place, image in enumerate(images):
        save(base / f"jpg/image_{first + place:05}.jpg", image)
    scipy.io.savemat(base / "imagelabels.mat", {"labels": np.array([LABELS["train"] + LABELS["test"]]) + 1})
    numbers = np.arange(1, 1 + len(LABELS["train"] + LABELS["test"]))
    scipy.io.savemat(base / "setid.mat", {"trnid": numbers[:5], "valid": numbers[:1], "tstid": numbers[5:]})


def pets(folder, split, labels, images):
    base, name = folder / "oxford-iiit-pet", {"train": "trainval", "test": "test"}[split]
    lines = []
    for place, (label, image) in enumerate(zip(labels, images, strict=True)):
        lines.append(f"{['Abyssinian', 'basset_hound', 'beagle'][label]}_{split}{place} {label + 1} 1 1")
        save(base / "images" / f"{lines[-1].split()[0]}.jpg", image)
    (base / "annotations").mkdir(exist_ok=True)
    (base / f"annotations/{name}.txt").write_text("\n".join(lines))


def dtd(folder, split, labels, images):
    base, names = folder / "dtd/dtd", ["banded", "dotted", "woven"]
    (base / "labels").mkdir(parents=True, exist_ok=True)
    lines = []
    for place, (label, image) in enumerate(zip(labels, images, strict=True)):
        lines.append(f"{names[label]}/{split}{place}.jpg")
        save(base / "images" / lines[-1], image)
    (base / f"labels/{split}1.txt").write_text("\n".join(lines))


def food101(folder, split, labels, images):
    names = ["apple_pie", "ramen", "waffles"]
    listed = {name: [] for name in names}
    for place, (label, image) in enumerate(zip(labels, images, strict=True)):
        listed[names[label]].append(f"{names[label]}/{split}{place}")
        save(folder / "food-101/images" / f"{listed[names[label]][-1]}.jpg", image)
    (folder / "food-101/meta").mkdir(exist_ok=True)
    (folder / f"food-101/meta/{split}.json").write_text(json.dumps(listed))


def aircraft(folder, split, labels, images):
    base, names = folder / "fgvc-aircraft-2013b/data", ["707-320", "A340-200", "Boeing 717"]
    lines = []
    for place, (label, image) in enumerate(zip(labels, images, strict=True)):
        save(base / "images" / f"{split}{place}.jpg", image)
        lines.append(f"{split}{place} {names[label]}")
    (base / f"images_variant_{'trainval' if split == 'train' else 'test'}.txt").write_text("\n".join(lines))
    (base / "variants.txt").write_text("\n".join(names))


def imagenette(folder, split, labels, images):
    where = folder / "imagenette2" / {"train": "train", "test": "val"}[split]
    by_class(where, ["n01440764", "n02102040", "n02979186"], ".jpeg", labels, images)


#: for each data set: what writes a split, the size of the images, and names of the classes
LAYOUTS = {
    "MNIST": (mnist, 28, "012"),
    "FashionMNIST": (lambda *given: mnist(*given, name="FashionMNIST"), 28, None),
    "KMNIST": (lambda *given: mnist(*given, name="KMNIST"), 28, None),
    "EMNIST": (lambda *given: mnist(*given, name="EMNIST", prefix=f"emnist-balanced-{given[1]}"), 28, None),
    "USPS": (usps, 16, "012"),
    "SVHN": (svhn, 32, "012"),
    "STL10": (stl10, 96, ["airplane", "bird", "car"]),
    "GTSRB": (gtsrb, 40, ["class 0", "class 1", "class 2"]),
    "Flowers102": (flowers102, 40, None),
    "OxfordIIITPet": (pets, 40, ["Abyssinian", "Basset Hound", "Beagle"]),
    "DTD": (dtd, 40, ["banded", "dotted", "woven"]),
    "Food101": (food101, 40, ["apple_pie", "ramen", "waffles"]),
    "FGVCAircraft": (aircraft, 40, ["707-320", "A340-200", "Boeing 717"]),
    "Country211": (lambda folder, split, *given: by_class(folder / f"country211/{split}", ["AD", "AE", "ZW"], ".jpg", *given),
                   40, ["AD", "AE", "ZW"]),
    "Imagenette": (imagenette, 40, ["tench", "English springer", "cassette player"]),
    "RenderedSST2": (lambda folder, split, *given: by_class(folder / f"rendered-sst2/{split}", ["negative", "positive"], ".png",
                                                           *given), 40, ["negative", "positive"]),
}  # fmt: skip


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes a small data set in its layout and returns its folder and the images of each split."""
    for module in ("utils", "svhn", "stl10", "flowers102"):
        monkeypatch.setattr(
            getattr(torchvision.datasets, module), "check_integrity", lambda path, *_: Path(path).is_file()
        )

    def write(name):
        maker, side, names = LAYOUTS[name]
        written = {}
        for split, labels in LABELS.items():
            images = pixels(split, side, side)
            labels = [min(label, 1) for label in labels] if name == "RenderedSST2" else labels
            maker(tmp_path, split, labels, images)
            corners = [image[0, 0, 0].item() for image in images]
            written[split] = dict(zip(corners, zip(labels, images, strict=True), strict=True))
        classes = 2 if name == "RenderedSST2" else 3
        names = () if names is None or len(names) > classes else tuple(names)
        changes = {"images": (5, 4), "classes": classes} | ({"names": tuple("012")} if DATASETS[name].names else {})
        monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], **changes))
        return tmp_path, side, written, names

    return write


def test_every_data_set_has_a_row():
    assert list(get_args(Name)) == list(DATASETS) == list(LAYOUTS)
    for name in DATASETS:
        assert hasattr(torchvision.datasets, name)


@pytest.mark.parametrize("name", DATASETS)
def test_images_and_labels_are_those_of_the_archive(write, name):
    folder, side, written, names = write(name)
    for split, data in zip(("train", "test"), open_sets(name, folder, side, 2), strict=True):
        read = data.in_memory()
        assert Counter(read.labels.tolist()) == Counter(label for label, _ in written[split].values())
        found = []
        for image, label in zip(read.images.astype(int), read.labels.tolist(), strict=True):
            # the upper left corner tells which image it is; JPEG and USPS round
            nearest = min(written[split], key=lambda corner: abs(corner - image[0, 0, 0]))
            expected, pixels_written = written[split][nearest]
            assert label == expected
            assert abs(image - pixels_written).max() <= 3
            found.append(nearest)
        assert len(set(found)) == len(found)
        assert read.classes == names or not names
        assert read.notes[0].startswith(f"{name} ({DATASETS[name].reference}), from the archives of torchvision")
        assert len(read.notes) == 1


def test_the_classes_of_a_data_set_of_which_torchvision_has_other_names_are_numbered(write):
    train, _ = open_sets("KMNIST", write("KMNIST")[0], 32, 1)  # its ten names do not belong to these three classes
    assert train.classes == ("class 0", "class 1", "class 2")


def test_images_are_enlarged_and_only_those_that_are_used_are_read(write):
    folder, *_ = write("DTD")
    train, _ = open_sets("DTD", folder, 64, 2)
    chosen = train.chosen(np.array([0, 1, 2]), "three")
    (folder / "dtd/dtd/images/woven/train4.jpg").unlink()
    assert chosen.in_memory().images.shape == (3, 64, 64, 3)
    assert chosen.notes[-1] == "3 of 3 images are smaller than 64 × 64 pixels and were enlarged"
    with pytest.raises(
        DataError, match=r"image 4 of DTD cannot be read \(.*train4\.jpg.*\)\. Remove what was unpacked in .*"
    ):
        train.in_memory()


def test_a_configuration_chooses_the_data_set(write):
    folder, *_ = write("GTSRB")
    settings = {"image_size": 16, "train_images": 4, "test_images": 3, "class_names": ["stop", "yield", "turn"]}
    data = Data(source="torchvision", dataset="GTSRB", path=str(folder), **settings).model_dump(mode="json")
    train, test = (split.in_memory() for split in sources.load(data, threads=2))
    assert [split.images.shape for split in (train, test)] == [(4, 16, 16, 3), (3, 16, 16, 3)]
    assert sorted(test.labels) == [0, 1, 2]
    assert train.classes == test.classes == ("stop", "yield", "turn")


def test_an_archive_that_was_unpacked_in_part_is_refused(write):
    folder, *_ = write("Imagenette")
    (folder / "imagenette2/val/n02979186/3.jpeg").unlink()
    with pytest.raises(DataError, match=rf"Imagenette has 4 images, but there are 3 in {folder}\. .* run again"):
        open_sets("Imagenette", folder, 32, 1)


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("File not found or corrupted."), OSError("full")])
def test_a_failed_download_is_reported_with_what_to_do(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(torchvision.datasets.dtd, "download_and_extract_archive", fail)
    with pytest.raises(DataError) as caught:
        open_sets("DTD", tmp_path, 32, 1)
    message = str(caught.value)
    assert message.startswith("data.dataset: torchvision could not load DTD (")
    assert str(error) in message
    assert f"in {tmp_path} yourself" in message
    assert "arrays or image_folder" in message


def test_a_damaged_file_is_reported(write):
    folder, *_ = write("USPS")
    path = folder / "usps.bz2"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"could not load USPS \(.* if a file there is damaged"):
        open_sets("USPS", folder, 32, 1)


def test_a_torchvision_without_the_data_set_is_reported(monkeypatch, tmp_path):
    monkeypatch.delattr(torchvision.datasets, "Imagenette")
    with pytest.raises(DataError, match=r"torchvision \S+ has no Imagenette; install a newer version"):
        open_sets("Imagenette", tmp_path, 32, 1)
