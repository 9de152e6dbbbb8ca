"""Exported networks, loaded by the lines that are printed, without the package's own classes."""

import json
import warnings

import numpy as np
import pytest
import torch

from lgg import export, models
from lgg.data.storage import ImageSet, write_images
from lgg.errors import ModelFileError
from lgg.files import read_tensors_metadata
from lgg.models.weights import load_weights, read_header
from lgg.training.checkpoint import load_model, save_model

CONSTANTS = {"mean": [0.1, 0.2, 0.3], "std": [0.9, 0.8, 0.7]}
NETWORKS = {
    "torchvision": {"name": "torchvision", "model": "shufflenet_v2_x0_5", "image_size": 16, "bottleneck": 2},
    "timm": {"name": "timm", "model": "resnet18", "arguments": {"channels": [4, 4, 8, 8]}, "image_size": 16},
    "file": {"name": "file", "path": "tiny_net.py", "class": "Tiny", "arguments": {"width": 3}, "image_size": 8},
    "own": {"name": "wide_resnet", "depth": 10, "width": 0.25},
}
TINY = """
from torch import nn


class Tiny(nn.Module):
    def __init__(self, num_classes, width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.act = nn.ReLU()
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.classifier(self.act(self.conv(x)).mean((2, 3)))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tiny_net.py").write_text(TINY)
    return tmp_path


def saved(where, notes=None, **architecture):
    torch.manual_seed(0)
    built_with = {"num_classes": 3, **CONSTANTS, **architecture}
    model = models.build(**built_with).eval()
    for name, value in model.named_buffers():  # running statistics other than those of a new network
        if name.endswith("running_mean"):
            value.add_(0.1)
    where.parent.mkdir(parents=True, exist_ok=True)
    save_model(where, model, built_with, notes or {})
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_the_printed_lines_give_the_same_logits(name, folder, capsys):
    if name == "timm":
        pytest.importorskip("timm")
    model = saved(folder / "model.safetensors", **NETWORKS[name])
    assert export.main(["model.safetensors", "out.safetensors"]) == 0
    code = capsys.readouterr().out
    assert ("lgg" in code) == (name == "own")
    images = torch.rand(2, 3, *[NETWORKS[name].get("image_size", 16)] * 2)
    scope = {"images": images}
    exec(code, scope)
    with torch.no_grad():
        torch.testing.assert_close(scope["logits"], model(images))
    # the exported file is also one of weights
    again = models.build(**read_header("out.safetensors"))
    assert load_weights(again, "out.safetensors") == []
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(images), model(images))


def test_the_header_states_what_the_network_expects(folder):
    data = ImageSet(np.zeros((3, 8, 8, 3), np.uint8), np.arange(3), ("cat", "dog", "eel"))
    write_images(folder / "run/data/train.safetensors", data)
    path = folder / "run/teacher/seed0/model.safetensors"
    saved(path, {"data_sha256": data.sha256}, **NETWORKS["file"])
    code = export.export(path, folder / "out.safetensors")
    metadata = read_tensors_metadata(folder / "out.safetensors")
    header = json.loads(metadata["lgg"])
    assert metadata["format"] == "pt"
    assert header["classes"] == ["cat", "dog", "eel"]
    assert header["image_size"] == 8
    assert header["code"] == code
    assert {name: header["architecture"][name] for name in CONSTANTS} == CONSTANTS
    # images of another run are not those the network was trained on
    saved(path, {"data_sha256": "other"}, **NETWORKS["file"])
    export.export(path, folder / "out.safetensors")
    assert json.loads(read_tensors_metadata(folder / "out.safetensors")["lgg"])["classes"] is None


def test_mistakes_are_shown_without_a_traceback(folder, capsys):
    saved(folder / "model.safetensors", **NETWORKS["own"])
    for given, message in (
        (["absent.safetensors", "out.safetensors"], "absent.safetensors: there is no such file"),
        (["model.safetensors", "out.pt"], "let the name end in .safetensors"),
        (["model.safetensors", "./model.safetensors"], "would be overwritten"),
    ):
        assert export.main(given) == 1
        shown = capsys.readouterr()
        assert message in shown.err
        assert not shown.out
    load_model("model.safetensors")


def test_onnx_gives_the_logits_of_pytorch(folder):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    model = saved(folder / "model.safetensors", **NETWORKS["file"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        export.export("model.safetensors", "out.safetensors", "out.onnx")
    session = runtime.InferenceSession("out.onnx", providers=["CPUExecutionProvider"])
    for size in (1, 5):
        images = torch.rand(size, 3, 8, 8)
        (logits,) = session.run(None, {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), model(images).detach(), rtol=1e-4, atol=1e-5)


def test_onnx_that_gives_other_logits_is_not_written(folder, monkeypatch):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    saved(folder / "model.safetensors", **NETWORKS["file"])
    monkeypatch.setattr(export, "_run_onnx", lambda _, images: torch.zeros(len(images), 3))
    with warnings.catch_warnings(), pytest.raises(ModelFileError, match="other logits than PyTorch"):
        warnings.simplefilter("ignore")
        export.export("model.safetensors", "out.safetensors", "out.onnx")
    assert not list(folder.glob("*out*"))


def test_onnx_without_its_package_is_refused(folder, monkeypatch):
    saved(folder / "model.safetensors", **NETWORKS["own"])
    find = export.importlib.util.find_spec
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    with pytest.raises(ModelFileError, match="pip install onnx"):
        export.export("model.safetensors", "out.safetensors", "out.onnx")
