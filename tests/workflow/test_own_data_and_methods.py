"""Follows the page on own data and methods step by step."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from snakemake_runs import DIGITS, ROOT, copy_checkout, environment, plan, snakemake, write_overlay

from lgg.data.own_files import picture_splits

pytestmark = pytest.mark.pipeline

PAGE = (ROOT / "docs" / "own_data_and_methods.md").read_text(encoding="utf-8")
FOUND = re.findall(r'^```(\w+)(?: title="(.+?)")?\n(.*?)^```$', PAGE, re.M | re.S)
BLOCKS = {(language, title): text for language, title, text in FOUND}


def write(folder, title, language="yaml"):
    path = folder / title
    path.write_text(BLOCKS[language, title], encoding="utf-8")
    return path


def test_every_titled_block_is_walked_here():
    walked = {
        "pictures",
        "imagenette",
        "arrays",
        "variant",
        "similarity",
        "squeezing",  # in tests/defences/test_own_defence.py
        "plain_cnn",  # in tests/models/test_own_network.py
    }
    assert {title for _, title in BLOCKS if title} == {f"config/{name}.yaml" for name in walked} | {
        "lgg/losses/similarity_preserving.py",
        "lgg/losses/__init__.py",
        "lgg/defences/logit_squeezing.py",
        "lgg/defences/__init__.py",
        "lgg/models/plain_cnn.py",
        "lgg/models/__init__.py",
    }
    commands = set(re.findall(r"^snakemake .*$", PAGE, re.M))
    assert {re.search(r"config/(\w+)\.yaml$", line)[1] for line in commands} == walked


def test_a_folder_of_images_goes_through_to_table_1(tmp_path):
    folder, digits = copy_checkout(tmp_path), load_digits()
    for label in range(4):
        for place, image in enumerate(digits.images[digits.target == label][:95]):
            path = folder / "pictures" / ("train" if place < 65 else "test") / f"digit {label}" / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15.9).astype("uint8")).save(path)
    first = folder / "pictures/train/digit 0"
    for number, name in enumerate(("{x}.png", "$(touch x) 'y'\n.png", os.fsdecode(b"z\xe9bu.png"))):
        sorted(first.glob("[0-9]*"))[number].rename(first / name)
    (first / "notes.heic").touch()
    # two rows of the table from one seed: the images are new here, the methods are not
    fewer = write_overlay(
        tmp_path, "{seeds: [0], distillation: {methods: {hinton: null, rkd_d: null, gkd_inter: null}}}"
    )
    configs = (DIGITS, write(folder, "config/pictures.yaml"), fewer)
    done = snakemake(folder, "results/pictures/tables/table1.csv", "--cores", "2", configs=configs)
    assert done.returncode == 0, done.stdout
    assert "digit 0/notes.heic" in done.stdout and "zebu" not in done.stdout and "{x}" not in done.stdout
    table = (folder / "results/pictures/tables/table1.md").read_text(encoding="utf-8")
    assert "Errors on 100 test images" in table
    assert "Paper" not in table and "CIFAR" not in table
    assert plan(folder, "results/pictures/data/train.safetensors", configs=configs) == {}
    (first / "{x}.png").unlink()
    assert plan(folder, "results/pictures/data/train.safetensors", configs=configs) == {"prepare_data": 1}
    # without the tests' small configuration, as the page has it
    assert plan(folder, configs=(folder / "config/pictures.yaml",))


def test_tiny_imagenet_is_arranged_by_the_page_s_commands(tmp_path):
    """On a made folder of its form."""
    for path in ("train/n01/images/a.JPEG", "train/n02/images/b.JPEG", "test/images/c.JPEG"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    (tmp_path / "val/images").mkdir(parents=True)
    rows = {"val_0.JPEG": "n02", "val_1.JPEG": "n01"}
    for name in rows:
        (tmp_path / "val/images" / name).touch()
    lines = [f"{name}\t{label}\t0\t32\t44\t62\n" for name, label in rows.items()]
    (tmp_path / "val/val_annotations.txt").write_text("".join(lines))
    (commands,) = (text for language, _, text in FOUND if language == "bash" and "tiny-imagenet" in text)
    subprocess.run(["bash", "-ec", commands.partition("cd tiny-imagenet-200\n")[2]], cwd=tmp_path, check=True)
    train, test = picture_splits(tmp_path)
    assert list(train.classes) == list(test.classes) == ["n01", "n02"]
    assert {label: [Path(path).name for path in files] for label, files in test.classes.items()} == {
        "n01": ["val_1.JPEG"],
        "n02": ["val_0.JPEG"],
    }


def test_a_data_set_of_torchvision_is_planned(tmp_path):
    folder = copy_checkout(tmp_path)
    assert plan(folder, configs=(write(folder, "config/imagenette.yaml"),))["prepare_data"] == 1


def test_arrays_are_planned_and_prepared(tmp_path):
    folder = copy_checkout(tmp_path)
    subprocess.run([sys.executable, "-c", BLOCKS["python", ""]], cwd=folder, env=environment(), check=True)
    assert np.load(folder / "arrays" / "train.npz")["images"].dtype == np.uint8
    config = write(folder, "config/arrays.yaml")
    assert plan(folder, configs=(config,))
    done = snakemake(folder, "results/arrays/data/train.safetensors", "--cores", "1", configs=(config,))
    assert done.returncode == 0, done.stdout


@pytest.fixture
def continued(finished, tmp_path):
    """A copy of a finished run, in which Snakemake knows what was made."""
    folder = tmp_path / "continued"
    shutil.copytree(finished, folder, symlinks=True)
    return folder


def students(name):
    return {f"distill_student {name}": 2, f"evaluate_student {name}": 2}


def test_a_variant_trains_its_students_alone(continued):
    planned = plan(continued, configs=(DIGITS, write(continued, "config/variant.yaml")))
    made = {job: count for job, count in planned.items() if not job.startswith(("assemble_", "draw_"))}
    assert made == students("gkd_10nn")
    assert planned["assemble_table1"] == 1


def test_a_new_loss_is_one_file_and_one_line(continued):
    write(continued, "lgg/losses/similarity_preserving.py", "python")
    registry = continued / "lgg/losses/__init__.py"
    line = BLOCKS["python", "lgg/losses/__init__.py"]
    registry.write_text(registry.read_text("utf-8").replace("_EXPORTS = {\n", "_EXPORTS = {\n" + line, 1), "utf-8")
    # a file that is not used changes nothing
    assert plan(continued) == {}
    configs = (DIGITS, write(continued, "config/similarity.yaml"))
    planned = plan(continued, configs=configs)
    assert {job: n for job, n in planned.items() if not job.startswith(("assemble_", "draw_"))} == students(
        "similarity"
    )
    one_seed = ("--cores", "2", "--config", "seeds=[0]")
    done = snakemake(continued, "results/digits/tables/table1.md", *one_seed, configs=configs)
    assert done.returncode == 0, done.stdout
    assert "| Similarity preserving" in (continued / "results/digits/tables/table1.md").read_text("utf-8")
    mistaken = "distillation={methods: {similarity: {arguments: {exponant: 1}}}}"
    refused = snakemake(continued, "-n", "--config", mistaken, configs=configs)
    assert refused.returncode != 0
    assert "did you mean 'exponent'?" in refused.stdout
