"""Networks of other libraries and of your own files, weights from elsewhere, and rows that were trained elsewhere."""

import json

import numpy as np
import pytest
import timm
import torchvision.models
from configurations import configured, content, read
from pydantic import TypeAdapter
from safetensors.numpy import save_file

from lgg.errors import ConfigError
from lgg.pipeline import registry
from lgg.pipeline.config import plan
from lgg.pipeline.config.networks import Architecture, Network

NET = """
from torch import nn
import blocks


class Net(nn.Module):
    def __init__(self, num_classes, width, depth=2):
        super().__init__()


class Free(blocks.Base):
    pass


def make(width):
    return Net(10, width)
"""


@pytest.fixture
def folder(tmp_path):
    """Return a folder with weights of both formats, and files that are none."""
    save_file({"x": np.zeros(2, np.float32)}, tmp_path / "good.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "good.safetensors").read_bytes()[:-1])
    (tmp_path / "good.pt").write_bytes(b"PK\3\4...")
    (tmp_path / "old.pth").write_bytes(b"\x80\2...")
    (tmp_path / "text.pt").write_text("no weights", encoding="utf-8")
    (tmp_path / "nets.py").write_text(NET, encoding="utf-8")
    (tmp_path / "blocks.py").write_text("Base = object\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("class Net(\n", encoding="utf-8")
    return tmp_path


def planned(folder, *overlays):
    return plan(read(), *map(content, overlays), folder=folder)


def refusal(folder, *overlays):
    """Return the mistakes that are reported when `overlays` are planned in `folder`, by key."""
    with pytest.raises(ConfigError) as caught:
        planned(folder, *overlays)
    lines = [line.strip() for line in str(caught.value).split("\n")[1:-1]]
    return dict(line.split(": ", 1) for line in lines)


def test_names_of_networks_are_those_that_the_libraries_list():
    assert set(registry.torchvision_models()) == set(torchvision.models.list_models(module=torchvision.models))
    assert set(timm.list_models()) <= set(registry.timm_models())
    assert {name for name in registry.timm_models() if not timm.is_model(name)} == set()


@pytest.mark.parametrize(
    ("overlay", "key", "words"),
    [
        ("geometry: {architecture: {name: torchvision, model: resnet81}}", "geometry.architecture.model", "'resnet18'"),
        ("geometry: {architecture: {name: timm, model: resnet18x.a1}}", "geometry.architecture.model", "no network"),
        (
            "geometry: {architecture: {name: torchvision, model: resnet18, mean: [0, 0, 0]}}",
            "geometry.architecture.std",
            "set both",
        ),
        (
            "geometry: {architecture: {name: wide_resnet, depth: 10, width: 1, mean: [0], std: [1, 1, 1]}}",
            "geometry.architecture.mean",
            "three numbers",
        ),
        ("geometry: {architecture: {name: other}}", "geometry.architecture.module", "set either `class`"),
        (
            "geometry: {architecture: {name: other, module: wide_resnet, class: 'nets.py:Net'}}",
            "geometry.architecture.module",
            "set either `class`",
        ),
        (
            "geometry: {architecture: {name: other, module: preact_resnet18, layers: relus}}",
            "geometry.architecture.layers",
            "remove this key",
        ),
        ("geometry: {architecture: {name: other, class: nets.py}}", "geometry.architecture.class", "FILE.py:CLASS"),
        ("geometry: {fine_tune: true}", "geometry.fine_tune", "nothing to start from"),
        (
            "embedding: {weights: good.pt, architecture: {name: torchvision, model: resnet18, pretrained: true}}",
            "embedding.weights",
            "choose one of the two",
        ),
        (
            "robustness: {methods: {both: {architecture: {name: preact_resnet18}}}}",
            "robustness.methods.both.architecture",
            "only a row that was trained elsewhere",
        ),
        # files
        ("geometry: {weights: none.pt}", "geometry.weights", "there is no file"),
        ("distillation: {teacher: {weights: text.pt}}", "distillation.teacher.weights", "neither a state dict"),
        ("distillation: {student: {weights: cut.safetensors}}", "distillation.student.weights", "neither a state dict"),
        ("geometry: {architecture: {name: other, class: 'no.py:Net'}}", "geometry.architecture.class", "no.py"),
        (
            "geometry: {architecture: {name: other, class: 'broken.py:Net'}}",
            "geometry.architecture.class",
            "not Python",
        ),
        (
            "geometry: {architecture: {name: other, class: 'nets.py:Nett'}}",
            "geometry.architecture.class",
            "did you mean 'Net'?",
        ),
        (
            "geometry: {architecture: {name: other, class: 'nets.py:Net'}}",
            "geometry.architecture.arguments",
            "Net needs width",
        ),
        (
            "geometry: {architecture: {name: other, class: 'nets.py:Net', arguments: {width: 1, dept: 3}}}",
            "geometry.architecture.arguments.dept",
            "did you mean 'depth'?",
        ),
        # rows that were trained elsewhere
        (
            "distillation: {methods: {gkd: {trained: good.pt}}}",
            "distillation.methods.gkd.trained",
            "one file cannot hold the networks of 2 seeds",
        ),
        (
            "{seeds: [7], robustness: {methods: {both: {trained: 'net{seed}.pt'}}}}",
            "robustness.methods.both.trained",
            "net7.pt",
        ),
        # layers
        (
            "distillation: {methods: {gkd: {layers: [{teacher: pol, student: pool}]}}}",
            "distillation.methods.gkd.layers",
            "the teacher, a wide_resnet, has no layer 'pol'; did you mean 'pool'?",
        ),
        (
            "distillation: {methods: {gkd: {layers: [pool, pool]}}}",
            "distillation.methods.gkd.layers",
            "listed twice",
        ),
    ],
)
def test_a_mistake_is_found_before_anything_runs(folder, monkeypatch, overlay, key, words):
    monkeypatch.chdir(folder)
    found = refusal(folder, overlay)
    assert words in found.pop(key)
    assert not found


def test_all_missing_files_are_reported_at_once(folder):
    elsewhere = "{trained: 'both{seed}.pt'}"
    found = refusal(
        folder,
        f"distillation: {{teacher: {{weights: a.pt}}, student: {{weights: b.pt}}, methods: {{gkd: {elsewhere}}}}}",
        f"robustness: {{weights: c.pt, methods: {{baseline: {elsewhere}}}}}",
    )
    rows = {"distillation.methods.gkd.trained", "robustness.methods.baseline.trained"}
    sections = {"distillation.teacher.weights", "distillation.student.weights", "robustness.weights"}
    assert set(found) == rows | sections


@pytest.mark.parametrize("name", ["good.pt", "old.pth", "good.safetensors"])
def test_files_of_both_formats_are_accepted(folder, name):
    assert planned(folder, {"distillation": {"teacher": {"weights": name}}}).distillation.teacher.weights == name


@pytest.mark.parametrize("name", ["Net", "make", "Free"])
def test_a_class_or_a_function_of_your_own_is_accepted(folder, name, monkeypatch):
    monkeypatch.chdir(folder)
    own = {"name": "other", "class": f"nets.py:{name}", "arguments": {"width": 3}}
    geometry = planned(folder, {"geometry": {"architecture": own}}).geometry
    built = geometry.network.built_with
    assert (built["name"], built["path"], built["class"]) == ("file", "nets.py", name)
    assert built["arguments"] == {"width": 3} and built["layers"] == "stages"


def test_a_transferred_attack_needs_one_more_baseline(folder):
    for seed in (0, 1):
        (folder / f"base{seed}.pt").write_bytes(b"PK")
    overlay = "robustness: {methods: {baseline: {trained: 'base{seed}.pt'}}}"
    assert "base1000.pt" in refusal(folder, overlay)["robustness.methods.baseline.trained"]
    (folder / "base1000.pt").write_bytes(b"PK")
    assert list(planned(folder, overlay).robustness.trained_elsewhere) == ["baseline"]


def test_a_file_that_vanishes_after_planning_is_named(folder, monkeypatch):
    monkeypatch.chdir(folder)
    network = planned(folder, {"geometry": {"weights": "good.pt"}}).geometry.network
    (folder / "good.pt").unlink()
    with pytest.raises(ConfigError, match=r"good\.pt cannot be read"):
        network.digest_of()


def test_networks_of_robustness_have_all_their_relus_and_others_their_stages():
    foreign = {"architecture": {"name": "torchvision", "model": "resnet18"}}
    config = configured({"robustness": foreign, "embedding": foreign, "geometry": foreign})
    assert config.robustness.network.built_with["layers"] == "relus"
    assert config.embedding.network.built_with["layers"] == config.geometry.network.built_with["layers"] == "stages"
    named = {"architecture": {**foreign["architecture"], "layers": ["layer1", "layer2*"]}}
    assert configured({"robustness": named}).robustness.network.built_with["layers"] == ["layer1", "layer2*"]


def test_a_network_with_weights_of_this_project_has_the_stem_that_their_file_states(folder, monkeypatch):
    monkeypatch.chdir(folder)
    header = {"format": "lgg-model-1", "architecture": {"name": "torchvision", "stem": "small"}}
    save_file({"x": np.zeros(2, np.float32)}, "own.safetensors", metadata={"lgg": json.dumps(header)})
    architecture = TypeAdapter(Architecture).validate_python({"name": "torchvision", "model": "resnet18"})
    stems = {
        "own.safetensors": "small",
        "good.safetensors": "standard",
        "good.pt": "standard",
        "s{seed}.pt": "standard",
    }
    for path, stem in stems.items():
        assert Network(architecture, path).built_without_weights["stem"] == stem
    assert Network(architecture).built_without_weights["stem"] == "auto"


@pytest.mark.parametrize(
    ("overlay", "here"),
    [
        ("{}", True),
        ("{weights: a.pt}", False),
        ("{weights: a.pt, fine_tune: true}", True),
        ("{architecture: {name: timm, model: resnet18, pretrained: true}}", False),
        ("{architecture: {name: timm, model: resnet18, pretrained: true}, fine_tune: true}", True),
    ],
)
def test_a_teacher_with_weights_is_trained_only_if_it_is_fine_tuned(overlay, here):
    for role in (
        configured({"distillation": {"teacher": content(overlay)}}).distillation.teacher,
        configured({"geometry": content(overlay)}).geometry,
    ):
        assert role.is_trained_here == here


def test_rows_that_were_trained_elsewhere_are_in_no_figure_of_training_and_not_timed():
    overlay = "{distillation: {methods: {gkd: {trained: x}}}, robustness: {methods: {both: {trained: y}}}}"
    config = configured(overlay)
    assert "gkd" in config.distillation.active_methods and "gkd" not in config.distillation.trained_here
    assert "both" in config.robustness.table_methods and "both" not in config.robustness.watched_methods
    assert {("distillation", "gkd"), ("robustness", "both")}.isdisjoint(config.timed_methods)
    assert {("distillation", "gkd"), ("robustness", "both")} & set(configured().timed_methods)
    # ratios refer to the section's baseline
    without = configured("robustness: {methods: {baseline: {trained: y}}}").timed_methods
    assert {section for section, _ in without} == {"distillation", "embedding"}


def test_a_row_that_was_trained_elsewhere_needs_no_teacher():
    methods = dict.fromkeys(("hinton", "rkd_d", "gkd_inter")) | {"gkd": {"trained": "x{seed}"}}
    config = configured({"distillation": {"teacher": None, "methods": methods}})
    assert config.distillation.methods["gkd"].trained == "x{seed}"


def test_a_new_row_that_was_trained_elsewhere_need_not_state_a_loss():
    config = configured({"distillation": {"methods": {"mine": {"label": "Mine", "trained": "x{seed}"}}}})
    assert "mine" in config.distillation.trained_elsewhere
    with pytest.raises(ConfigError, match="the key 'loss' is required"):
        configured({"distillation": {"methods": {"mine": {"label": "Mine"}}}})


def test_an_overlay_can_exchange_the_network_of_every_section():
    foreign = {"name": "torchvision", "model": "mobilenet_v3_small", "arguments": {"dropout": 0.1}}
    overlay = {name: {"architecture": foreign} for name in ("geometry", "embedding", "robustness")}
    overlay["distillation"] = {"teacher": {"architecture": foreign}, "student": {"architecture": foreign}}
    config = configured(json.loads(json.dumps(overlay)))
    for network in (config.geometry.network, config.distillation.student.network, config.robustness.network):
        assert network.built_with["model"] == "mobilenet_v3_small"
        assert not {"depth", "width", "base_width", "pretrained", "mean", "std"} & set(network.built_with)
