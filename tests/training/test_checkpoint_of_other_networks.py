"""Model files and starts of training for networks of torchvision and of files of your own."""

import socket

import numpy as np
import pytest
import torch

from lgg.data.storage import ImageSet
from lgg.errors import ModelFileError, WeightsError
from lgg.models.own_file import code_digest
from lgg.training.checkpoint import load_model, read_architecture, save_model
from lgg.training.setup import build_network, fitted

HEADER = {"mean": [0.4] * 3, "std": [0.2] * 3}
LIBRARY = {"name": "torchvision", "model": "shufflenet_v2_x0_5", "layers": "stages"}
NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.act = nn.ReLU()
        self.classifier = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.classifier(self.act(self.conv(x)).mean((2, 3)))
"""
OWN = {"name": "file", "path": "nets.py", "class": "Net", "arguments": {}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NET)
    return tmp_path


def data(classes=3, side=16):
    labels = np.arange(classes)
    return ImageSet(np.zeros((classes, side, side, 3), np.uint8), labels, tuple(map(str, labels)))


def start(architecture, seed=0, **more):
    options = {"seed": seed, "device": torch.device("cpu"), **more}
    images = options.pop("images", None) or data()
    return build_network(architecture, images, HEADER, **options)


def test_a_network_is_built_again_from_its_file_alone(folder, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a model file needs no network")

    built_with, model = start(LIBRARY | {"bottleneck": 2})
    for name, value in model.named_buffers():
        if name.endswith("running_mean"):
            value.add_(0.1)
    save_model("model.safetensors", model, built_with, {})
    monkeypatch.setattr(socket, "socket", refuse)
    again = load_model("model.safetensors", expected={"num_classes": 3})
    assert again.layers == model.layers == ("stage2", "stage3", "stage4", "pooled", "bottleneck")
    images = torch.rand(2, 3, 16, 16)
    for ours, theirs in zip(
        again(images, return_representations=True)[1],
        model.eval()(images, return_representations=True)[1],
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    # the file names its layers, whatever a later version takes for stages
    assert read_architecture("model.safetensors")["layers"] == list(model.layers)
    assert read_architecture("model.safetensors")["image_size"] == 16


def test_a_network_of_a_file_needs_the_code_it_was_saved_with(folder):
    digest = code_digest("nets.py")
    built_with, model = start(OWN | {"digest": digest})
    save_model("model.safetensors", model, built_with, {})
    (folder / "nets.py").write_text("# what it is for\n" + NET)
    again = load_model("model.safetensors")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    (folder / "nets.py").write_text(NET.replace("ReLU", "GELU"))
    with pytest.raises(
        ModelFileError, match=r"model.safetensors: the network in it cannot be built again: nets.py: its"
    ):
        load_model("model.safetensors")
    (folder / "nets.py").unlink()
    with pytest.raises(ModelFileError, match=r"nets.py: there is no such file"):
        load_model("model.safetensors")


def test_training_starts_from_weights_with_their_constants_stem_and_a_new_classifier(folder, capsys):
    built_with, model = start(LIBRARY | {"mean": [0.1] * 3, "std": [0.3] * 3, "stem": "standard"}, images=data(5))
    save_model("model.safetensors", model, built_with, {})
    then, started = start(LIBRARY, seed=1, start="model.safetensors")
    assert then["mean"] == [0.1] * 3
    assert then["std"] == [0.3] * 3
    assert then["stem"] == "standard"
    assert then["num_classes"] == 3
    assert torch.equal(started.mean.flatten(), torch.full((3,), 0.1))
    theirs = model.state_dict()
    for name, value in started.state_dict().items():
        assert torch.equal(value, theirs[name]) != ("network.fc" in name)
    assert "classifier of 5 outputs is replaced by a new one of 3" in capsys.readouterr().err
    # without weights, those of the images, and the stem for small images
    plain, other = start(LIBRARY, seed=1)
    assert plain["mean"] == HEADER["mean"]
    assert other.network.conv1[0].stride == (1, 1)
    assert torch.equal(other.network.fc.weight, started.network.fc.weight)  # drawn by the seed


def test_constants_in_the_configuration_have_priority_over_those_of_weights(folder):
    built_with, model = start(LIBRARY | {"mean": [0.1] * 3, "std": [0.3] * 3})
    save_model("model.safetensors", model, built_with, {})
    then, started = start(LIBRARY | {"mean": [0.5] * 3, "std": [0.25] * 3}, start="model.safetensors")
    assert then["mean"] == started.mean.flatten().tolist() == [0.5] * 3
    assert then["std"] == started.std.flatten().tolist() == [0.25] * 3


def test_layers_that_share_their_weights_are_written(folder):
    text = NET.replace("self.act =", "self.again = self.conv\n        self.act =")
    (folder / "nets.py").write_text(text)
    built_with, model = start(OWN | {"layers": ["act"]})
    save_model("model.safetensors", model, built_with, {})
    again = load_model("model.safetensors")
    assert again.network.again is again.network.conv
    assert torch.equal(again.network.conv.weight, model.network.conv.weight)


def test_images_of_another_size_get_the_stem_of_the_weights(folder):
    built_with, model = start(LIBRARY)
    assert built_with["stem"] == "small"
    save_model("model.safetensors", model, built_with, {})
    then, started = start(LIBRARY, images=data(side=80), start="model.safetensors")
    assert then["stem"] == "small"
    assert started.network.conv1[0].stride == (1, 1)
    assert start(LIBRARY, images=data(side=80))[0]["stem"] == "standard"


def test_weights_for_another_stem_are_refused_before_training(folder):
    small = {"name": "timm", "model": "resnet18", "arguments": {"channels": [4, 4, 4, 4]}}
    pytest.importorskip("timm", reason="timm is not installed")
    torch.save(start(small | {"stem": "standard"})[1].network.state_dict(), "weights.pt")
    assert start(small, start="weights.pt")[0]["stem"] == "standard"
    with pytest.raises(
        WeightsError, match=r"shapes differ of conv1.weight \(64×3×7×7 in the file, 64×3×3×3 in the net"
    ):
        start(small | {"stem": "small"}, start="weights.pt")


def test_the_paper_s_networks_are_built_with_what_they_were():
    architecture = {"name": "wide_resnet", "depth": 10, "width": 0.25}
    assert fitted(architecture, HEADER, 7, 32) == {**HEADER, **architecture, "num_classes": 7}
    built_with, model = start(architecture, outputs=2)
    assert built_with == {**HEADER, **architecture, "num_classes": 2}
    assert model.layers == ("stage1", "stage2", "pool")
    named = fitted(architecture | {"mean": [0.0] * 3}, HEADER, 7, 32)
    assert named["mean"] == [0.0] * 3
    assert named["std"] == HEADER["std"]


def test_a_file_of_the_user_is_not_to_be_removed_without_a_thought(folder):
    torch.save({"a": torch.zeros(2)}, "teacher.pt")
    with pytest.raises(ModelFileError, match="If a run wrote it, remove it and run the pipeline again"):
        read_architecture("teacher.pt")
