import pytest
import torch
from safetensors.torch import save_file

from lgg import models
from lgg.errors import ModelFileError
from lgg.training.checkpoint import load_model, read_architecture, save_model

ARCHITECTURE = {
    "name": "wide_resnet",
    "num_classes": 4,
    "depth": 10,
    "width": 0.5,
    "mean": [0.1, 0.2, 0.3],
    "std": [0.9, 0.8, 0.7],
}


@pytest.fixture
def saved(tmp_path):
    model = models.build(**ARCHITECTURE)
    for buffer in model.buffers():  # running statistics other than those of a new network
        if buffer.is_floating_point():
            buffer.add_(0.01)
    path = tmp_path / "model.safetensors"
    save_model(path, model, ARCHITECTURE, {"recipe": {"seed": 3}})
    return model.eval(), path


def test_a_network_is_restored_bit_by_bit(saved):
    model, path = saved
    again = load_model(path)
    assert not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(images), again(images))
    assert read_architecture(path) == ARCHITECTURE


def test_another_architecture_than_expected_is_refused(saved):
    with pytest.raises(ModelFileError, match=r"num_classes = 4, but 10 is expected"):
        load_model(saved[1], expected={"num_classes": 10})


def test_a_truncated_file_is_refused(saved):
    path = saved[1]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="damaged"):
        load_model(path)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x80\x04pickled"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"model.safetensors: damaged, or not a model file"):
        load_model(path)


def test_tensors_of_other_software_are_refused(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="not a model file written by lgg"):
        load_model(tmp_path / "other.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"absent.safetensors: there is no such file"):
        load_model(tmp_path / "absent.safetensors")


def test_weights_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, models.build(**ARCHITECTURE), ARCHITECTURE | {"width": 1}, {})
    with pytest.raises(ModelFileError, match=r"do not match the architecture in its header \(.*\)\. Remove it and run"):
        load_model(path)
