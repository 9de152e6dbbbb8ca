"""The examples run as documented, on a folder of pictures."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = ("distil_resnet18.py", "label_variation_of_layers.py", "train_embedding.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of two dissimilar digits: 2 × 70 for training and 2 × 20 for testing."""
    folder, digits = tmp_path_factory.mktemp("pictures"), load_digits()
    for label in (0, 1):
        for place, image in enumerate(digits.images[digits.target == label][:90]):
            path = folder / ("train" if place < 70 else "test") / f"digit {label}" / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15.9).astype("uint8")).convert("RGB").save(path)
    return folder


@pytest.fixture
def few(folder, tmp_path):
    """A copy with three pictures per class, to be made invalid."""
    for path in folder.glob("*/*/*.png"):
        if int(path.stem) % 70 < 3:
            (tmp_path / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / path.relative_to(folder))
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs an example in this process as from the command line and returns its output."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.syspath_prepend(EXAMPLES)  # as Python does for a script
        with torch.random.fork_rng():
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_a_resnet18_is_distilled_into_a_smaller_network(run, folder):
    output = run("distil_resnet18.py", folder, "--epochs", 2, "--size", 32)
    assert output.count("epoch 2/2") == 2  # teacher and student
    assert re.search(r"accuracy: teacher [\d.]+ %, student [\d.]+ %\n$", output)


def test_the_loop_of_distillation_is_short():
    code = (EXAMPLES / "distil_resnet18.py").read_text("utf-8").split('"""', 2)[2]
    assert sum(bool(line.strip()) for line in code.splitlines()) < 60


@pytest.mark.parametrize(("split", "images"), [("train", 60), ("test", 40)])
def test_label_variation_is_printed_for_each_layer(run, folder, split, images):
    output = run("label_variation_of_layers.py", folder, "--split", split, "--size", 32, "--batch", 60)
    assert output.startswith(f"{images} images of 2 classes, 5 nearest neighbours\n")
    values = dict(re.findall(r"^(\w+) +([\d.]+)$", output, re.MULTILINE))
    assert list(values) == ["images", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"]
    assert all(0 <= float(value) <= 1 for value in values.values())
    # in pixel space, most neighbours of zeros and ones are of their own class
    assert float(values["images"]) < 0.2


def test_layers_with_negative_values_use_distances(run, folder):
    output = run("label_variation_of_layers.py", folder, "--size", 32, "--batch", 40, "--layers", "conv1", "relu")
    rows = r"^conv1 +0\.\d+ \(RBF similarity, since values are negative\)\nrelu +0\.\d+$"
    assert re.search(rows, output, re.MULTILINE)


def test_an_embedding_separates_zeros_from_ones(run, folder):
    output = run("train_embedding.py", folder, "--epochs", 4, "--width", 8)
    # 20 of each class: chance is 50 %, and exceeds 75 % in one of a thousand runs
    assert float(re.search(r"accuracy: ([\d.]+) %", output)[1]) > 75


# --- invalid input ----------------------------------------------------------------------------------------------------


def one_class(folder):
    for split in ("train", "test"):
        shutil.rmtree(folder / split / "digit 1")


def other_class(folder):
    (folder / "test" / "digit 1").rename(folder / "test" / "digit 7")


def empty_class(folder):
    for path in (folder / "train" / "digit 1").iterdir():
        path.unlink()


def damaged(folder):
    (folder / "train" / "digit 0" / "1.png").write_bytes((folder / "train" / "digit 0" / "1.png").read_bytes()[:60])


def classes_at_the_top(folder):
    for path in (folder / "train").iterdir():
        path.rename(folder / path.name)
    (folder / "train").rmdir()


SPOILT = {
    classes_at_the_top: "there is no folder",
    shutil.rmtree: "there is no folder",
    one_class: "only the class 'digit 0', but at least two are needed",
    other_class: "train and test differ in the classes digit 1, digit 7",
    empty_class: "digit 1",
    damaged: "1.png is not a readable picture",
}


@pytest.mark.parametrize(
    ("name", "spoil"),
    # this example reads a single split, which cannot differ from the other
    [(n, s) for n in SCRIPTS for s in SPOILT if (n, s) != ("label_variation_of_layers.py", other_class)],
)
def test_an_invalid_folder_is_refused_with_the_reason(run, few, capsys, name, spoil):
    spoil(few)
    with pytest.raises(SystemExit) as ended:
        run(name, few)
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert SPOILT[spoil] in last
    assert "train" in last


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("label_variation_of_layers.py", ["--layers", "layer9"], "no layer 'layer9'; the closest names are layer"),
        ("label_variation_of_layers.py", ["--network", "resnet"], "resnet"),
        ("label_variation_of_layers.py", ["--k", "6"], "at most 5 neighbours among 6 images"),
        ("label_variation_of_layers.py", ["--k", "0"], "at least 1, not '0'"),
        ("label_variation_of_layers.py", ["--k", "2", "--weights", "{other}"], "is not a state dict of this network"),
        ("label_variation_of_layers.py", ["--k", "2", "--weights", "nowhere.pt"], "nowhere.pt"),
        ("distil_resnet18.py", ["--teacher", "{other}"], "is not a state dict of this network"),
        ("distil_resnet18.py", ["--epochs", "-1"], "at least 1, not '-1'"),
        ("train_embedding.py", ["--dimensions", "none"], "at least 1, not 'none'"),
    ],
)
def test_invalid_arguments_are_refused_with_the_reason(run, few, capsys, name, arguments, words):
    torch.save({"weight": torch.zeros(1)}, few / "other.pt")
    with pytest.raises(SystemExit) as ended:
        run(name, few, "--size", 32, *(argument.format(other=few / "other.pt") for argument in arguments))
    assert ended.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_s_docstring_states_its_usage(name):
    text = (EXAMPLES / name).read_text("utf-8").split('"""')[1]
    assert f"    python examples/{name} FOLDER" in text
    assert "FOLDER has train/CLASS/*.png and test/CLASS/*.png" in text
