import os
import platform
import shutil
import subprocess

import numpy as np
import pytest
from configurations import configured

from lgg.data.storage import ImageSet, write_images
from lgg.errors import DataError
from lgg.files import read_json
from lgg.pipeline import provenance


@pytest.fixture
def images(tmp_path):
    data = ImageSet(np.zeros((2, 32, 32, 3), np.uint8), np.arange(2), ("cat", "dog"), ("a note",))
    files = [str(tmp_path / "data" / f"{split}.safetensors") for split in ("train", "test")]
    for file in files:
        write_images(file, data)
    return data, files


def write(folder, files, *overlays, repository=None):
    """Write provenance.json as a run would, and return its path."""
    provenance.write(folder / "results", configured(*overlays), repository or folder, files)
    return folder / "results" / "provenance.json"


# --- content ------------------------------------------------------------------------------------------------------


def test_it_holds_the_complete_configuration_with_defaults(tmp_path, images):
    content = read_json(write(tmp_path, images[1]))
    assert content["configuration"] == configured().model_dump(mode="json")
    assert content["configuration"]["distillation"]["training"]["optimizer"]["momentum"] == 0.9


def test_it_holds_the_data_with_their_hashes(tmp_path, images):
    data, files = images
    assert read_json(write(tmp_path, files))["data"] == {
        split: {"shape": [2, 32, 32, 3], "classes": ["cat", "dog"], "notes": ["a note"], "sha256": data.sha256}
        for split in ("train", "test")
    }


def test_it_holds_versions_and_the_machine(tmp_path, images):
    content = read_json(write(tmp_path, images[1]))
    assert content["versions"]["python"] == platform.python_version()
    assert content["versions"]["numpy"] == np.__version__
    assert set(provenance.PACKAGES) < set(content["versions"])
    assert content["machine"]["cores"] >= 1
    assert content["machine"]["processor"]
    assert "T" in content["written"]


def test_a_package_that_is_not_installed_has_no_version(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-package",))
    assert read_json(write(tmp_path, []))["versions"]["no-such-package"] is None


def test_data_that_are_not_there_yet_are_left_out(tmp_path, images):
    (tmp_path / "data" / "test.safetensors").unlink()
    assert list(read_json(write(tmp_path, images[1]))["data"]) == ["train"]


def test_damaged_data_are_an_error(tmp_path, images):
    (tmp_path / "data" / "test.safetensors").write_text("damaged")
    with pytest.raises(DataError, match=r"test\.safetensors"):
        write(tmp_path, images[1])


# --- git ----------------------------------------------------------------------------------------------------------


def test_outside_a_git_checkout_there_is_no_commit(tmp_path):
    assert read_json(write(tmp_path, []))["git"]["commit"] is None


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_json(write(tmp_path, []))["git"]["commit"] is None


@pytest.mark.system
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_checkout_gives_its_commit_and_whether_it_was_changed(tmp_path, monkeypatch):
    repository = tmp_path / "repository"
    repository.mkdir()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)

    def git(*arguments):
        command = ["git", "-C", str(repository), "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init")
    (repository / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "First")
    clean = read_json(write(tmp_path, [], repository=repository))["git"]
    assert clean == {"commit": git("rev-parse", "HEAD"), "uncommitted_changes": False}
    (repository / "file").write_text("two")
    assert read_json(write(tmp_path, [], repository=repository))["git"]["uncommitted_changes"] is True
    monkeypatch.setenv("PATH", str(tmp_path))  # a machine without git says that it does not know
    assert read_json(write(tmp_path, [], repository=repository))["git"] == {"commit": None, "uncommitted_changes": None}


# --- when it is written -------------------------------------------------------------------------------------------


def age(path):
    """Make a file look old, so that a rewrite is visible."""
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path.stat().st_mtime_ns


def test_unchanged_content_leaves_the_file_alone(tmp_path, images):
    path = write(tmp_path, images[1])
    before, text = age(path), path.read_text()
    write(tmp_path, images[1])
    assert path.stat().st_mtime_ns == before
    assert path.read_text() == text


def test_another_configuration_is_written(tmp_path, images):
    path = write(tmp_path, images[1])
    before = age(path)
    write(tmp_path, images[1], "seeds: [7]")
    assert path.stat().st_mtime_ns != before
    assert read_json(path)["configuration"]["seeds"] == [7]


def test_other_data_are_written(tmp_path, images):
    path = write(tmp_path, images[1])
    before = age(path)
    brighter = ImageSet(np.ones((2, 32, 32, 3), np.uint8), np.arange(2), ("cat", "dog"))
    write_images(images[1][0], brighter)
    write(tmp_path, images[1])
    assert path.stat().st_mtime_ns != before
    assert read_json(path)["data"]["train"]["sha256"] == brighter.sha256


@pytest.mark.parametrize(
    "damage",
    [
        "",
        '{"configuration":',
        "{}",
        "[]",
    ],
)
def test_a_damaged_file_is_replaced(tmp_path, images, damage):
    path = write(tmp_path, images[1])
    path.write_text(damage)
    write(tmp_path, images[1])
    assert "configuration" in read_json(path)
