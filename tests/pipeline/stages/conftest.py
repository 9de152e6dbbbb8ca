import json
from argparse import Namespace

import numpy as np
import pytest
import torch
from configurations import configured

from lgg.data.storage import ImageSet, write_images

# networks of one channel and batches of eight: the real stages on tiny data; the students' learning rate is so small that
# rounding, which differs between CPUs, does not grow
TINY = """
distillation:
  teacher: {architecture: {width: 0.25}}
  student: {architecture: {width: 0.0625}}
  training: {batch_size: 8, schedule: [{epochs: 2, learning_rate: 0.0001}]}
embedding:
  architecture: {base_width: 1}
  training: {batch_size: 8, augmentation: none, schedule: [{epochs: 2, learning_rate: 0.05}]}
  methods: {label_variation: {normalize_embeddings: true}, triplet: {normalize_embeddings: false}}
  figure: {epochs: [1]}
robustness:
  architecture: {base_width: 1}
  training: {batch_size: 8, augmentation: none, schedule: [{epochs: 1, learning_rate: 0.05}]}
  tests:
    images: 10
    fgsm_snr: 10
    curve_snrs: [30]
    pgd: {epsilon: 0.2, step_size: 0.1, steps: 2}
    strong_pgd: {epsilon: 0.2, step_size: 0.1, steps: 2, restarts: 2}
    deepfool_images: 0
corruptions: {names: [gaussian_noise], severities: [1, 5], images: 10}
"""


@pytest.fixture(scope="session")
def settings():
    return configured(TINY)


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Return a folder with 24 training and 20 test images of two classes, dark and bright."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 20)):
        pixels = random.integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
        labels = np.arange(count, dtype=np.int64) % 2
        pixels[labels == 0] //= 2
        notes = (f"{split} images without meaning",)
        constants = {"mean": [0.4, 0.4, 0.4], "std": [0.25, 0.25, 0.25]}
        write_images(folder / f"{split}.safetensors", ImageSet(pixels, labels, ("dark", "bright"), notes), constants)
    return folder


@pytest.fixture(autouse=True)
def settings_of_torch():
    """Reset what a stage sets for the process."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def call(images):
    """Return a function that calls a stage's `main` with the recipe of `lgg.pipeline.recipes`, seeds and the files given."""

    def run(stage, recipe, seeds=(), checkpoints=None, **files):
        settings = json.loads(recipe) if isinstance(recipe, str) else recipe
        job = {"seeds": list(seeds), "checkpoints": checkpoints or {}, "captured": False, "start": None, "rows": {}}
        shared = {split: images / f"{split}.safetensors" for split in ("train", "test")}
        stage.main(Namespace(**{"recipe": settings, "code": "", "threads": 1, "gpus": 0, **job, **shared, **files}))

    return run
