"""The documentation's example of a network of your own: one file, one line, one entry."""

import importlib.util
import json
import re
import shutil
import sys
from argparse import Namespace

import pytest
import torch
import yaml
from configurations import ROOT, configured

from lgg import models
from lgg.data.storage import ImageSet, write_images
from lgg.errors import ConfigError
from lgg.evaluation.size import count_operations
from lgg.pipeline import digest, recipes, registry, syntax
from lgg.pipeline.config import load
from lgg.pipeline.stages import distill_student, train_network
from lgg.reporting.notes import network_name
from lgg.training.checkpoint import load_model

PAGE = (ROOT / "docs/own_data_and_methods.md").read_text("utf-8")
SMALL = """
distillation:
  teacher: {architecture: {width: 0.0625}}
  training: {batch_size: 8, augmentation: none, schedule: [{epochs: 1, learning_rate: 0.01}]}
"""


def block(title):
    return re.search(rf'^```\w+ title="{re.escape(title)}"\n(.*?)^```$', PAGE, re.M | re.S)[1]


OVERLAY = yaml.safe_load(block("config/plain_cnn.yaml"))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's networks and losses with the documented file and line, imported in place of the original."""
    folder = tmp_path / "lgg"
    shutil.copytree(ROOT / "lgg", folder, ignore=shutil.ignore_patterns("__pycache__"))
    table = folder / "models/__init__.py"
    table.write_text(
        table.read_text("utf-8").replace("_EXPORTS = {\n", "_EXPORTS = {\n" + block("lgg/models/__init__.py"), 1)
    )
    path = folder / "models/plain_cnn.py"
    path.write_text(block("lgg/models/plain_cnn.py"), "utf-8")
    monkeypatch.setattr(registry, "PACKAGE", folder)
    monkeypatch.setattr(syntax, "ROOT", folder)
    caches = (registry.networks, registry.network_arguments, registry.network_layers)
    for cached in caches:
        cached.cache_clear()
    digest.forget()
    monkeypatch.setitem(models._EXPORTS, "plain_cnn", registry.networks()["plain_cnn"])
    specification = importlib.util.spec_from_file_location("lgg.models.plain_cnn", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "lgg.models.plain_cnn", module)
    yield folder
    for cached in caches:
        cached.cache_clear()
    digest.forget()


@pytest.fixture
def images(tmp_path):
    pixels = torch.randint(256, (16, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    labels = (torch.arange(16) % 2).numpy()
    constants = {"mean": [0.4] * 3, "std": [0.25] * 3}
    write_images(tmp_path / "train.safetensors", ImageSet(pixels, labels, ("one", "other"), ()), constants)
    return tmp_path / "train.safetensors"


def train(stage, recipe, images, folder, **more):
    files = {"out_model": "model.safetensors", "out_history": "history.csv", "out_metrics": "metrics.json"}
    outputs = {name: [folder / file] for name, file in files.items()}
    job = {"code": "", "threads": 1, "gpus": 0, "seeds": [0], "checkpoints": {}, "captured": False, "start": None}
    shared = Namespace(train=images, **job, **more, **outputs)
    stage.main(Namespace(recipe=json.loads(recipe.settings), **vars(shared)))
    return outputs["out_model"][0]


def test_the_page_s_network_learns_from_a_teacher(package, images, tmp_path):
    distillation = configured(OVERLAY, SMALL).distillation
    teacher = train(train_network, recipes.train_teacher(distillation), images, tmp_path / "teacher")
    recipe = recipes.distill_student(distillation, "gkd")
    student = load_model(train(distill_student, recipe, images, tmp_path / "student", teacher=teacher))
    # the sums of 3 · 3 products: 16², 8² and 4² pixels, and two classes
    by_hand = 9 * (3 * 8 * 16**2 + 8 * 16 * 8**2 + 16 * 32 * 4**2) + 32 * 2
    assert count_operations(student) == by_hand
    assert [tuple(one.shape) for one in student(torch.zeros(2, 3, 32, 32), return_representations=True)[1]] == [
        (2, 8, 16, 16),
        (2, 16, 8, 8),
        (2, 32),
    ]


def test_an_edit_of_its_file_concerns_its_networks_alone(package):
    distillation = configured(OVERLAY, SMALL).distillation

    def codes():
        return {
            "teacher": recipes.train_teacher(distillation).code,
            "student": recipes.train_student(distillation).code,
            "distilled": recipes.distill_student(distillation, "gkd").code,
            "evaluated": recipes.evaluate_network(distillation.student.network).code,
        }

    before = codes()
    path = package / "models/plain_cnn.py"
    path.write_text(path.read_text("utf-8").replace("stride=2", "stride=1"), "utf-8")
    digest.forget()
    after = codes()
    assert {name for name in before if before[name] != after[name]} == {"student", "distilled", "evaluated"}


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"module": "plain_cmm"}, ".module: 'plain_cmm' is not registered; did you mean 'plain_cnn'"),
        ({"arguments": {"chanels": 8}}, ".arguments.chanels: PlainCNN takes no 'chanels'; did you mean 'channels'"),
    ],
)
def test_a_mistake_is_refused_at_planning(package, architecture, message):
    with pytest.raises(ConfigError, match=f"distillation.student.architecture{message}"):
        configured(OVERLAY, SMALL, {"distillation": {"student": {"architecture": architecture}}})


def test_tables_and_the_configuration_name_it_with_what_it_is_made_with(package):
    settings = configured(OVERLAY, SMALL)
    assert network_name(settings.distillation.student.architecture.built_with) == "plain_cnn (channels 8)"
    assert load(settings.model_dump(mode="json")) == settings
    assert (
        network_name({"name": "own", "pooling": True, "norm": None, "kind": "a"})
        == "own (pooling True, norm None, kind a)"
    )
    assert network_name({"name": "own"}) == "own"
