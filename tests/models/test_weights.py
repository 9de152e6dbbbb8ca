"""Files of weights: which are read, under which names they are loaded, and what is refused."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lgg import models
from lgg.errors import LggError, WeightsError
from lgg.models.foreign import ForeignNetwork
from lgg.models.weights import check_classes, load_weights, read_header, read_state_dict
from lgg.training.checkpoint import save_model

CONSTANTS = {"mean": [0.5] * 3, "std": [0.25] * 3}
OWN = {"name": "wide_resnet", "depth": 10, "width": 0.25, "num_classes": 4, **CONSTANTS}


def original(classes=4, width=3):
    features = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU())
    parts = {"features": features, "pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    model = nn.Sequential()
    for name, part in (parts | {"head": nn.Linear(width, classes)}).items():
        model.add_module(name, part)
    return model


def network(seed=0, classes=4, bottleneck=None):
    """A network that was not written for this package."""
    torch.manual_seed(seed)
    constants = {"image_size": 8, "bottleneck": bottleneck, "stem": "standard", **CONSTANTS}
    return ForeignNetwork(original(classes), "the network", [], num_classes=classes, **constants)


def state(seed=1, classes=4, **more):
    torch.manual_seed(seed)
    return original(classes, **more).state_dict()


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pt"


# Reading


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_state_dicts_are_read_whatever_they_are_wrapped_in(wrapper, prefix, path):
    named = {prefix + name: value for name, value in state().items()}
    content = {wrapper: named, "epoch": 3, "optimizer": {"lr": 0.1}} if wrapper else named
    torch.save(content, path)
    assert equal(read_state_dict(path), state())


def test_formats_are_known_by_their_content(path):
    save_file(state(), path)  # named as a file of PyTorch
    assert equal(read_state_dict(path), state())
    torch.save(state(), path, _use_new_zipfile_serialization=False)
    assert equal(read_state_dict(path), state())
    torch.save({f"module.{name}": value for name, value in state().items()} | {"n_averaged": torch.tensor(3)}, path)
    assert equal(read_state_dict(path), state())


class Command:
    def __reduce__(self):
        return os.mkdir, ("made_by_a_pickle",)


def test_pickled_objects_are_refused_and_nothing_in_them_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in (original(), {"state_dict": state(), "extra": Command()}, Command()):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=r"pickled, .*torch.save\(network.state_dict\(\), 'weights.pt'\)"):
            read_state_dict(path)
    assert not (tmp_path / "made_by_a_pickle").exists()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut", b"\x40\0\0\0\0\0\0\0{cut"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damaged_files_are_refused_by_name(content, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"weights\{suffix}: damaged, or not"):
        read_state_dict(path)


def test_truncated_files_are_refused(path):
    for write in (torch.save, save_file):
        write(state(), path)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(WeightsError, match="damaged, or not"):
            read_state_dict(path)
    with pytest.raises(WeightsError, match=r"absent\.pt: there is no such file"):
        read_state_dict(path.with_name("absent.pt"))


def test_what_is_no_state_dict_is_refused_with_what_there_is(path):
    for content, message in (
        ({"epoch": 3, "loss": 0.5}, "its keys are epoch, loss, and 'epoch' is no tensor"),
        ({}, "its keys are none"),
        ([torch.zeros(2)], "holds no state dict, but a list"),
        ({"net": {"a": torch.zeros(2)}, "epoch": 3}, r"keys are net, epoch, .*torch.load\('weights.pt'\)\['net'\]"),
        ({"a": torch.zeros(2), "epoch": 3}, "'epoch' is no tensor.*network.state_dict"),
        ({0: torch.zeros(2)}, "and 0 is no tensor"),
    ):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=message):
            read_state_dict(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused_by_their_tensor(value, path):
    broken = state()
    broken["head.bias"][1] = value
    torch.save(broken, path)
    with pytest.raises(WeightsError, match=r"head\.bias holds values that are not finite"):
        read_state_dict(path)
    assert issubclass(WeightsError, LggError)


# Loading


@pytest.mark.parametrize("prefix", ["", "network.", "encoder.", "net.backbone.", "module."])
def test_weights_are_loaded_under_the_names_of_the_original_with_any_prefix(prefix, path):
    torch.save({prefix + name: value for name, value in state().items()}, path)
    model = network()
    assert load_weights(model, path) == []
    assert equal(dict(model.network.state_dict()), state())
    assert model.mean.flatten().tolist() == CONSTANTS["mean"]


@pytest.mark.parametrize("prefix", ["", "module."])
def test_networks_of_this_package_are_loaded_with_their_constants(prefix, path):
    torch.manual_seed(1)
    trained = models.build(**OWN | {"mean": [0.1, 0.2, 0.3]})
    torch.save({prefix + name: value for name, value in trained.state_dict().items()}, path)
    model = models.build(**OWN)
    assert load_weights(model, path) == []
    assert equal(model.state_dict(), trained.state_dict())
    save_model(path, trained, OWN, {})
    other = models.build(**OWN)
    load_weights(other, path)
    assert equal(other.state_dict(), trained.state_dict())
    assert read_header(path) == OWN
    torch.save({"x": torch.zeros(1)}, path)
    assert read_header(path) == {}


@pytest.mark.parametrize("own_constants", [False, True])
def test_constants_that_are_stated_are_kept(own_constants, path):
    there, here = (models.build(**OWN | {"mean": [value] * 3}) for value in (0.3, 0.5))
    save_model(path, there, OWN, {})
    load_weights(here, path, own_constants=own_constants)
    assert torch.equal(here.mean, torch.full_like(here.mean, 0.5 if own_constants else 0.3))
    theirs = there.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in here.state_dict().items() if name != "mean")


def test_classes_that_a_file_states_must_have_the_order_of_the_images(path):
    save_file({"a": torch.zeros(2)}, path, metadata={"lgg": json.dumps({"classes": ["cat", "dog"]})})
    assert check_classes(path, ("cat", "dog")) == []
    with pytest.raises(WeightsError, match=r"another order.*the file has cat, dog; the images have dog, cat"):
        check_classes(path, ("dog", "cat"))
    assert "the file has cat, dog; the images have 0, 1" in check_classes(path, ("0", "1"))[0]
    torch.save(state(), path)
    assert check_classes(path, ("0", "1")) == []


def test_a_training_may_start_from_a_network_without_classifier(path):
    torch.save({name: tensor for name, tensor in state().items() if not name.startswith("head")}, path)
    assert "it has no classifier, so there is a new one of 4" in load_weights(network(), path, new_classifier=True)[0]


def test_precision_and_missing_counters_do_not_matter(path):
    given = {name: value.half() for name, value in state().items() if not name.endswith("num_batches_tracked")}
    torch.save(given, path)
    model = network()
    load_weights(model, path)
    for name, value in given.items():
        assert torch.equal(model.network.state_dict()[name], value.float())


def test_another_number_of_classes_is_stated_plainly(path):
    torch.save(state(classes=7), path)
    model = network()
    with pytest.raises(WeightsError, match="the file's classifier has 7 outputs, the images have 4 classes"):
        load_weights(model, path)
    assert equal(model.state_dict(), network().state_dict())


@pytest.mark.parametrize(("classes", "bottleneck"), [(4, None), (7, None), (7, 2), (4, 2)])
def test_training_can_start_with_a_new_classifier(classes, bottleneck, path):
    torch.save(state(classes=classes), path)
    model, fresh = network(bottleneck=bottleneck), network(bottleneck=bottleneck).state_dict()
    lines = load_weights(model, path, new_classifier=True)
    is_new = classes != 4 or bottleneck is not None
    assert len(lines) == is_new
    if is_new:
        assert f"its classifier of {classes} outputs is replaced by a new one of 4" in lines[0]
    for name, value in model.state_dict().items():
        if "head" in name and is_new:
            assert torch.equal(value, fresh[name])
        elif name not in ("mean", "std"):
            assert torch.equal(value, state(classes=classes)[name.removeprefix("network.")])


def test_training_can_start_with_the_bottleneck_of_another_set_of_classes(path):
    start = models.build(**OWN | {"num_classes": 9, "bottleneck": 2})
    torch.save(start.state_dict(), path)
    model = models.build(**OWN | {"bottleneck": 2})
    fresh = model.classifier.weight.clone()
    assert len(load_weights(model, path, new_classifier=True)) == 1
    assert torch.equal(model.classifier.weight, fresh)
    assert torch.equal(model.conv.weight, start.conv.weight)


def test_weights_of_auxiliary_classifiers_are_left_out(path):
    torch.save(state() | {"aux1.conv.weight": torch.zeros(2), "AuxLogits.fc.bias": torch.zeros(1)}, path)
    model = network()
    assert load_weights(model, path) == [f"{path}: its 2 weights of auxiliary classifiers are not used."]
    assert equal(dict(model.network.state_dict()), state())


@pytest.mark.parametrize("new_classifier", [False, True])
def test_weights_that_do_not_fit_are_refused_with_what_differs_and_nothing_is_loaded(new_classifier, path):
    wide = state(width=5)
    renamed = {name.replace("features.0", "stem"): value for name, value in state().items()}
    several = {f"layer{number}.weight": torch.zeros(1) for number in range(8)}
    for content, parts in (
        (wide, ["shapes differ of features.0.weight (5×3×3×3 in the file, 3×3×3×3 in the network)", "others"]),
        (renamed, ["it lacks features.0.weight, features.0.bias;", "the network has no stem.weight, stem.bias"]),
        (state() | several, ["the network has no layer0.weight", "layer4.weight and 3 others"]),
        (several, ["it lacks features.0.weight", "and 3 others"]),
    ):
        torch.save(content, path)
        model = network()
        with pytest.raises(WeightsError) as error:
            load_weights(model, path, new_classifier=new_classifier)
        assert all(part in str(error.value) for part in parts), error.value
        assert "network.features" not in str(error.value)
        assert equal(model.state_dict(), network().state_dict())
