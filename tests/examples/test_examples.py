"""The examples run as their pages say, on a folder of images of one's own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two digits, hardly alike, as pictures: 2 × 70 to train with and 2 × 20 to test on."""
    folder, digits = tmp_path_factory.mktemp("pictures"), load_digits()
    for label in (0, 1):
        for place, image in enumerate(digits.images[digits.target == label][:90]):
            path = folder / ("train" if place < 70 else "test") / f"digit {label}" / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15.9).astype("uint8")).convert("RGB").save(path)
    return folder


def run(name, *arguments):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_resnet18_is_distilled_into_a_smaller_network(folder):
    output = run("distil_resnet18.py", folder, "--epochs", 2, "--size", 32)
    assert output.count("epoch 2/2") == 2  # teacher and student
    assert re.search(r"teacher: [\d.]+ %, student: [\d.]+ % right\n$", output)


def test_the_loop_of_distillation_is_short():
    code = (EXAMPLES / "distil_resnet18.py").read_text("utf-8").split('"""', 2)[2]
    assert sum(bool(line.strip()) for line in code.splitlines()) < 60


def test_label_variation_is_printed_for_each_layer(folder):
    output = run("label_variation_of_layers.py", folder / "test", "--size", 32, "--batch", 40)
    values = dict(re.findall(r"^(\w+) +([\d.]+)$", output, re.MULTILINE))
    assert list(values) == ["images", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"]
    assert all(0 <= float(value) <= 1 for value in values.values())


def test_an_embedding_tells_zeros_from_ones(folder):
    output = run("train_embedding.py", folder, "--epochs", 4, "--width", 8)
    # 20 of each: chance is 50 %, and more than 75 % comes by chance in one of a thousand runs
    assert float(re.search(r"([\d.]+) % right", output)[1]) > 75
