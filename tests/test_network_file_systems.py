"""Files in a folder whose file system has no locks and no memory mapping, as some of Lustre, NFS and FUSE.

Replaced functions of the C library return the errors of such file systems. All files are written and read in one process.
"""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.system  # needs a compiler

LIBRARY = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int flock(int file, int operation) { errno = atoi(getenv("FLOCK_ANSWERS")); return -1; }
int fchmodat(int folder, const char *path, mode_t mode, int flags) { errno = ENOTSUP; return -1; }
int chmod(const char *path, mode_t mode) { errno = ENOTSUP; return -1; }
int fsync(int file) { errno = EINVAL; return -1; }

void *mmap(void *at, size_t length, int protection, int flags, int file, off_t offset) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = file < 0 ? -1 : readlink(link, path, sizeof path - 1);
    if (size > 0 && (path[size] = 0, strstr(path, "/network/"))) { errno = ENODEV; return MAP_FAILED; }
    return (void *)syscall(SYS_mmap, at, length, protection, flags, file, offset);
}
void *mmap64(void *at, size_t length, int protection, int flags, int file, off_t offset) {
    return mmap(at, length, protection, flags, file, offset);
}
"""

PROCESS = """
import fcntl, mmap, os, sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lgg import models
from lgg.pipeline import gpus
from lgg.data import sources
from lgg.data.corruption_archive import CorruptionArchive, write_archive
from lgg.data.storage import ImageSet, read_header, read_images, write_images
from lgg.files import read_json, write_json
from lgg.training.checkpoint import load_model, save_model
from lgg.training.resume import Checkpoints

folder = Path(sys.argv[1])


def refused(call):
    try:
        call()
    except OSError:
        return True


write_json(folder / "a.json", [1])
assert read_json(folder / "a.json") == [1]
with (folder / "a.json").open("r+b") as file:  # the file system behaves as intended
    assert refused(lambda: fcntl.flock(file, fcntl.LOCK_EX))
    assert refused(lambda: mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
split = ImageSet(images, np.arange(6) % 2, ("a", "b"))
write_images(folder / "images.safetensors", split)
assert read_header(folder / "images.safetensors")["sha256"] == split.sha256
assert read_images(folder / "images.safetensors", verify=True).sha256 == split.sha256

np.savez(folder / "train.npz", images=images, labels=split.labels)
np.savez(folder / "test.npz", images=images, labels=split.labels)
numbers = dict.fromkeys(("train_images", "test_images", "validation_images"))
data = {"source": "arrays", "path": folder, "image_size": 32, **numbers}
assert sources.load(data | {"class_names": None, "seed": 0})[1].in_memory().sha256 == split.sha256
for place, image in enumerate(images):
    path = folder / f"pictures/{('train', 'test')[place // 4]}/{'ab'[place % 2]}/{place}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
data |= {"source": "image_folder", "path": folder / "pictures"}
assert (sources.load(data | {"class_names": None, "seed": 0})[0].in_memory().images[[0, 2]] == images[[0, 1]]).all()

write_archive(folder / "archive.tar", images, split.labels, ["brightness"])
archive = CorruptionArchive(folder / "archive.tar")
assert (archive.labels == split.labels).all() and archive.images("brightness", 5).shape == images.shape

architecture = {"name": "wide_resnet", "num_classes": 2, "depth": 10, "width": 0.25}
model = models.build(**architecture)
save_model(folder / "model.safetensors", model, architecture, {})
restored = load_model(folder / "model.safetensors").state_dict()
assert all(torch.equal(value, restored[name]) for name, value in model.state_dict().items())

for number in (1, 2):
    checkpoints = Checkpoints(folder / "checkpoint.safetensors", {})
    checkpoints.write({"a": torch.full((3,), float(number))}, {"step": number, "epoch": 0})
assert checkpoints.read()[0]["a"].tolist() == [2.0] * 3
assert checkpoints._read(checkpoints.before)[0]["a"].tolist() == [1.0] * 3

gpus.PARENTS = (str(folder),)
with gpus.claimed(1, {}, 1) as (one,):
    os.environ["CUDA_VISIBLE_DEVICES"] = "0,1"  # another job's
    with gpus.claimed(1, {}, 1) as (other,):
        assert {one, other} == {"0", "1"}

assert not [path for path in folder.rglob(".*")], "temporary files are left"
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Return environment variables under which a folder `network` is on such a file system."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and Linux")
    folder = tmp_path_factory.mktemp("library")
    (folder / "network.c").write_text(LIBRARY)
    built = [compiler, "-shared", "-fPIC", "-o", folder / "network.so", folder / "network.c"]
    subprocess.run(built, check=True, capture_output=True)
    return {"LD_PRELOAD": str(folder / "network.so"), "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "0,1"}


@pytest.mark.parametrize("answer", ["ENOSYS", "ENOLCK"])
def test_files_work_without_locks_and_memory_mapping(network, tmp_path, answer):
    folder = tmp_path / "network"
    folder.mkdir()
    variables = network | {"FLOCK_ANSWERS": str(getattr(errno, answer))}
    environment = {name: value for name, value in os.environ.items() if name != "SLURM_JOB_ID"} | variables
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, folder], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_no_module_but_that_of_image_files_memory_maps_files():
    for path in (ROOT / "lgg").rglob("*.py"):
        text = path.read_text(encoding="utf-8").replace("safetensors.torch.load_file(", "")  # printed for others to run
        found = re.findall(r"\b(safe_open|load_file|memmap|mmap_mode|mmap)\b", text)
        assert not found or path == ROOT / "lgg/data/storage.py", f"{path}: {found}"
