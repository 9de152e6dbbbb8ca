"""Published weights: the file that is written, with the download replaced."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision

from lgg import models
from lgg.errors import WeightsError
from lgg.models.pretrained import fetch, sha256_of_tensors
from lgg.models.weights import load_weights, read_header, read_state_dict

MODEL = "shufflenet_v2_x0_5"


@pytest.fixture
def downloads(monkeypatch):
    """The URLs that were asked for; weights are those of a new network."""
    asked = []

    def answer(url, model_dir, **options):
        assert options["check_hash"]
        assert options["weights_only"]
        asked.append(url)
        return torchvision.models.get_model(MODEL).state_dict()

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", answer)
    return asked


def test_a_file_states_where_its_weights_are_from_and_starts_a_training(downloads, tmp_path):
    path = tmp_path / "weights.safetensors"
    header = fetch("torchvision", MODEL, path)
    assert read_header(path) == header
    default = torchvision.models.get_model_weights(MODEL).DEFAULT
    assert downloads == [header["source"]] == [default.url]
    assert header["mean"] == [0.485, 0.456, 0.406]
    assert header["std"] == [0.229, 0.224, 0.225]
    assert header["trained_at"] == 224
    assert header["model"] == MODEL
    assert header["sha256"] == sha256_of_tensors(read_state_dict(path))
    model = models.build("torchvision", model=MODEL, num_classes=3, image_size=64, stem="standard")
    assert "classifier of 1000 outputs is replaced" in load_weights(model, path, new_classifier=True)[0]


def test_networks_that_normalise_themselves_are_given_what_their_weights_expect(downloads, tmp_path):
    # x' = (x − m)/s by the constants of ImageNet, then s/½ x' + (m − ½)/½, is (x − ½)/½
    header = fetch("torchvision", "googlenet", tmp_path / "weights.safetensors")
    assert header["mean"] == header["std"] == [0.5] * 3
    x = torch.rand(2, 3, 4, 4)
    shown = torchvision.models.get_model_weights("googlenet").DEFAULT.transforms()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (shown.mean, shown.std))
    original = torchvision.models.GoogLeNet(transform_input=True, init_weights=False, aux_logits=False)
    torch.testing.assert_close(original._transform_input((x - mean) / std), (x - 0.5) / 0.5)


def test_timm_states_licence_and_hub(monkeypatch, tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: create(name, pretrained=not pretrained))
    header = fetch("timm", "test_resnet", path := tmp_path / "weights.safetensors")
    assert header["source"].startswith("https://huggingface.co/timm/test_resnet.")
    assert header["licence"] == "apache-2.0"
    assert header["library"] == f"timm {timm.__version__}"
    assert read_state_dict(path).keys() == create("test_resnet").state_dict().keys()


def test_a_digest_is_over_names_types_shapes_and_values():
    tensors = {"b": torch.arange(3.0), "a": torch.tensor(2)}
    expected = hashlib.sha256(b"a torch.int64 ()\n" + np.int64(2).tobytes())
    expected.update(b"b torch.float32 (3,)\n" + np.arange(3, dtype=np.float32).tobytes())
    assert sha256_of_tensors(tensors) == expected.hexdigest()


def test_failures_say_what_to_do_and_leave_no_file(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fail)
    path = tmp_path / "weights.safetensors"
    for name, model, message in (
        ("torchvision", MODEL, r"cannot be downloaded \(OSError: no route to host\).*`weights` instead of"),
        ("torchvision", "resnet19", "publishes no weights of 'resnet19'"),
        ("timm", "resnet19", "timm publishes no weights of 'resnet19'"),
    ):
        if name == "timm":
            pytest.importorskip("timm", reason="timm is not installed")
        with pytest.raises(WeightsError, match=message):
            fetch(name, model, path)
    assert not [*tmp_path.iterdir()]


def test_weights_that_torchvision_does_not_have_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda _: SimpleNamespace())
    with pytest.raises(WeightsError, match=f"publishes no weights of '{MODEL}'"):
        fetch("torchvision", MODEL, tmp_path / "weights.safetensors")
