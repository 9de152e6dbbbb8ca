"""Networks that were trained elsewhere, and the check of all networks that are not the paper's."""

import hashlib
import json

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lgg.data.storage import read_header, read_images
from lgg.errors import NetworkError, WeightsError
from lgg.evaluation.geometry import label_variation_of_layers
from lgg.models.own_file import code_digest
from lgg.pipeline.stages import (
    check_networks,
    distill_student,
    list_networks,
    load_network,
    train_network,
)
from lgg.reporting.tables import FORMS
from lgg.training.checkpoint import load_model

NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, width=3, signed=False):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=4)
        self.relu = nn.Identity() if signed else nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.pool(self.relu(self.conv(x))).flatten(1))
"""


class Net(nn.Module):
    """The same network, written again."""

    def __init__(self, num_classes, width=3):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, width, 3, stride=4), nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean(dim=(2, 3)))


@pytest.fixture
def built(tmp_path):
    """Return a function that makes the recipe's architecture of a network in a file, with layers."""
    path = tmp_path / "nets.py"
    path.write_text(NET, "utf-8")
    own = {"name": "file", "path": str(path), "class": "Net", "digest": code_digest(path), "stem": "standard"}
    return lambda layers=("relu",), **arguments: {**own, "arguments": arguments, "layers": list(layers)}


@pytest.fixture
def weights(tmp_path):
    """Return a function that stores the state of a new network, and returns file, SHA-256 and the network."""

    def make(num_classes=2, seed=5, name="weights.pt", change=None):
        torch.manual_seed(seed)
        network = Net(num_classes)
        state = network.state_dict()
        if change is not None:
            change(state)
        torch.save(state, tmp_path / name)
        return tmp_path / name, hashlib.sha256((tmp_path / name).read_bytes()).hexdigest(), network.eval()

    return make


def pixels_of(images):
    data, header = read_images(images / "train.safetensors"), read_header(images / "train.safetensors")
    x = torch.from_numpy(data.images).permute(0, 3, 1, 2) / 255
    constants = [torch.tensor(header[name]).view(1, 3, 1, 1) for name in ("mean", "std")]
    return x, (x - constants[0]) / constants[1], torch.from_numpy(data.labels)


def loaded(call, folder, architecture, path, digest, **more):
    recipe = {"architecture": architecture, "weights": digest, **more.pop("recipe", {})}
    files = {"out_model": folder / "model.safetensors", "out_metrics": folder / "metrics.json"}
    call(load_network, recipe, weights=path, **files, **{"out_label_variation": None, **more})
    return load_model(files["out_model"])


# --- loading ------------------------------------------------------------------------------------------------------


def test_a_loaded_network_computes_what_the_original_does(call, images, built, weights, tmp_path):
    path, digest, original = weights()
    model = loaded(call, tmp_path, built(), path, digest)
    x, normalized, _ = pixels_of(images)
    torch.testing.assert_close(model(x), original(normalized))
    metrics = json.loads((tmp_path / "metrics.json").read_text("utf-8"))
    assert metrics["weights"] == {"file": str(path), "sha256": digest}
    assert metrics["data_sha256"] == read_header(images / "train.safetensors")["sha256"]


def test_its_own_constants_replace_those_of_the_images(call, images, built, weights, tmp_path):
    path, digest, original = weights()
    own = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    model = loaded(call, tmp_path, built() | own, path, digest)
    x = pixels_of(images)[0]
    constants = [torch.tensor(own[name]).view(1, 3, 1, 1) for name in ("mean", "std")]
    torch.testing.assert_close(model(x), original((x - constants[0]) / constants[1]))


def test_a_loaded_row_of_section_4_3_has_its_label_variation_without_training(call, images, built, weights, tmp_path):
    path, digest, _ = weights()
    variation = tmp_path / "label_variation.csv"
    more = {"recipe": {"defences": []}, "out_label_variation": variation}
    model = loaded(call, tmp_path, built(["conv", "relu"]), path, digest, **more)
    rows = pd.read_csv(variation)
    assert rows["epoch"].tolist() == [0, 0] and rows["layer"].tolist() == [1, 2]
    x, _, labels = pixels_of(images)
    expected = label_variation_of_layers(model, (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1), labels)
    assert rows["label_variation"].tolist() == pytest.approx(expected[:, 0].tolist(), rel=1e-4)


def test_weights_of_other_classes_are_refused(call, built, weights, tmp_path):
    path, digest, _ = weights(num_classes=10)
    with pytest.raises(WeightsError, match="classifier has 10 outputs, the images have 2 classes"):
        loaded(call, tmp_path, built(), path, digest)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_file_that_changed_after_planning_is_refused(call, built, weights, tmp_path):
    path, _, _ = weights()
    with pytest.raises(WeightsError, match="changed since the jobs were planned"):
        loaded(call, tmp_path, built(), path, "0" * 64)


# --- starting -----------------------------------------------------------------------------------------------------

TRAINING = {
    "batch_size": 8,
    "augmentation": "none",
    "label_smoothing": 0.0,
    "gradient_clipping": None,
    "precision": "float32",
    "optimizer": {"name": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    "schedule": [{"epochs": 1, "learning_rate": 0.0, "shape": "linear", "fresh_optimizer": False}],
}


def outputs(*folders, **more):
    kinds = {"model": "safetensors", "history": "csv", "metrics": "json", **more}
    return {f"out_{name}": [folder / f"{name}.{kind}" for folder in folders] for name, kind in kinds.items()}


@pytest.mark.parametrize("classes", [2, 10])
def test_training_starts_from_the_weights_with_a_new_classifier_for_other_classes(
    call, built, weights, tmp_path, classes
):
    """Steps of size zero change nothing."""
    path, digest, original = weights(num_classes=classes)
    recipe = {"architecture": built(), "training": TRAINING, "start": digest}
    folders = [tmp_path / "seed0", tmp_path / "seed1"]
    call(train_network, recipe, [0, 1], start=path, **outputs(*folders))
    found = [load_file(folder / "model.safetensors") for folder in folders]
    for state in found:
        assert torch.equal(state["network.conv.weight"], original.conv.weight)
    heads = [state["network.fc.weight"] for state in found]
    if classes == 2:
        assert all(torch.equal(head, original.fc.weight) for head in heads)
    else:
        assert heads[0].shape == (2, 3) and not torch.equal(*heads)
    metrics = json.loads((folders[1] / "metrics.json").read_text("utf-8"))
    assert metrics["started_from"] == {"file": str(path), "sha256": digest}


def test_a_teacher_that_was_trained_elsewhere_teaches_a_student(call, built, weights, tmp_path):
    path, digest, _ = weights()
    loaded(call, tmp_path / "teacher", built(["conv", "relu"]), path, digest)
    step = {
        "loss": "graph_distillation",
        "options": {},
        "weight": 1.0,
        "layers": [["relu", "block1.relu1"], ["relu", "final.relu"]],
    }
    student = {"name": "preact_resnet18", "base_width": 1}
    recipe = {"architecture": student, "training": TRAINING, **step}
    teacher = tmp_path / "teacher/model.safetensors"
    call(distill_student, recipe, [0], teacher=teacher, **outputs(tmp_path / "student"))
    assert pd.read_csv(tmp_path / "student/history.csv")["distillation"][0] > 0


# --- the check ----------------------------------------------------------------------------------------------------


def row(name, architecture, **changes):
    plain = {
        "name": name,
        "architecture": architecture,
        "weights": [],
        "is_trained_here": True,
        "teacher": None,
        "step": {},
    }
    return plain | changes


def check(call, folder, recipe, weights=(), others=()):
    """Return what the check of a row finds, the `others` of which are the rows and files of further checks."""
    rows = {one["name"]: {"recipe": one, "weights": [str(path) for path in paths]} for one, paths in others}
    path = folder / f"{recipe['name']}.json"
    call(check_networks, recipe, weights=list(weights), rows=rows, out_networks=path)
    return json.loads(path.read_text("utf-8"))


def test_a_check_describes_the_network(call, built, weights, tmp_path):
    path, digest, original = weights()
    recipe = row("distillation.teacher", built(["conv", "relu"]), weights=[digest], is_trained_here=False)
    found = check(call, tmp_path, recipe, [path])
    assert found["row"] == "distillation.teacher" and found["image_size"] == 32
    assert found["layers"] == [{"name": name, "shape": [3, 8, 8]} for name in ("conv", "relu")]
    assert found["parameters"] == sum(one.numel() for one in original.parameters())
    assert found["operations"] == 3 * 8 * 8 * 27 + 3 * 2


GKD = {"loss": "graph_distillation", "options": {}, "weight": 1.0, "layers": None}
SIGNED = {"loss": "regularizer", "options": {}}


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("robustness.a", lambda net: row("robustness.a", net(["nothing"])), "nothing"),
        ("robustness.a", lambda net: row("robustness.a", net(wdith=3)), "wdith"),
        (
            "robustness.a",
            lambda net: row(
                "robustness.a",
                net(["conv", "relu"]),
                step={"defences": [{"name": "regularizer", "options": {"weight": 1.0}}]},
            ),
            "conv",
        ),
        ("robustness.a", lambda net: row("robustness.a", net() | {"layers": "relus"} | signed(net)), "ReLU"),
        (
            "robustness.a",
            lambda net: row("robustness.a", net(), step={"defences": [{"name": "parseval", "options": {}}]}),
            "parseval",
        ),
        (
            "distillation.a",
            lambda net: row("distillation.a", net(["relu"]), teacher=net(["conv", "relu"]), step=GKD),
            "the teacher has 2 representations",
        ),
        (
            "distillation.a",
            lambda net: row("distillation.a", net(["conv"]), teacher=net(["conv"]), step=GKD),
            "negative",
        ),
        (
            "distillation.a",
            lambda net: row("distillation.a", net(), teacher=net(), step=GKD | {"layers": [["relu", "rellu"]]}),
            "the student has no layer 'rellu'",
        ),
    ],
)
def test_a_mistake_in_a_network_is_found_before_training(call, built, tmp_path, name, make, words):
    section, method = name.split(".")
    with pytest.raises(NetworkError, match=rf"(?s)a mistake.*\n  {section}\.methods\.{method}: .*{words}"):
        check(call, tmp_path, make(built))
    assert not list(tmp_path.glob("*.json"))


def signed(net):
    return {"arguments": net(signed=True)["arguments"]}


def test_all_mistakes_of_all_rows_are_reported_at_once_and_each_once(call, built, weights, tmp_path):
    def spoil(state):
        state["conv.bias"][0] = float("nan")

    spoilt, digest, _ = weights(name="spoilt.pt", change=spoil)
    other, other_digest, _ = weights(num_classes=10, name="other.pt")
    rows = [
        (row("distillation.a", built(["nothing"])), []),
        (row("distillation.b", built(["nothing"])), []),
        (row("distillation.teacher", built(), weights=[other_digest], is_trained_here=False), [other]),
        (row("robustness.c", built(), weights=[digest], is_trained_here=False), [spoilt]),
        (row("robustness.fine", built()), []),
        (row("geometry", built(), weights=["published"]), [tmp_path / "not_downloaded_yet.safetensors"]),
    ]
    with pytest.raises(NetworkError) as caught:
        check(call, tmp_path, *rows[0], others=rows)
    first, *lines = str(caught.value).split("\n")
    assert "3 mistakes" in first and len(lines) == 3
    assert lines[0].startswith("  distillation.methods.a, distillation.methods.b: ")
    assert "  distillation.teacher: " in lines[1] and "10 outputs" in lines[1] and "fine_tune: true" in lines[1]
    assert "  robustness.methods.c: " in lines[2] and "conv.bias" in lines[2]
    # a row without a mistake does not wait for those of others
    assert check(call, tmp_path, *rows[4], others=rows)["row"] == "robustness.methods.fine"


def test_files_that_cannot_be_read_are_reported_with_mistakes_in_the_network(call, built, tmp_path):
    path = tmp_path / "list.pt"
    torch.save([torch.zeros(2)], path)
    teacher = row("distillation.teacher", built(["nothing"]), weights=["0"], is_trained_here=False)
    with pytest.raises(NetworkError, match=r"(?s)2 mistakes.*nothing.*holds no state dict") as caught:
        check(call, tmp_path, teacher, [path])
    assert "fine_tune" not in str(caught.value)  # which would not read it either
    with pytest.raises(NetworkError, match=r"a mistake.*\n.*holds no state dict, but a list$"):
        check(call, tmp_path, row("distillation.teacher", built(), weights=["0"], is_trained_here=False), [path])


def test_weights_of_other_classes_are_no_mistake_where_training_starts_from_them(call, built, weights, tmp_path):
    path, digest, _ = weights(num_classes=10)
    assert check(call, tmp_path, row("robustness.a", built(), weights=[digest]), [path])["is_trained_here"]


@pytest.mark.parametrize("k", [0, 3, 7])
def test_a_check_has_as_many_images_of_each_class_as_a_graph_of_neighbours_needs(images, k):
    data = read_images(images / "train.safetensors")
    pixels, labels = check_networks.few_images(data, k)
    assert len(pixels) == len(labels) > k
    assert labels.bincount().min() >= 2 and len(labels.unique()) == len(data.classes)
    chosen = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert all(any((one == other).all() for other in data.images) for one in chosen)


def test_networks_are_listed_once_for_all_rows_that_have_them(call, built, tmp_path):
    rows = [row("robustness.a", built()), row("robustness.b", built()), row("geometry", built(["conv"]))]
    for recipe in rows:
        check(call, tmp_path, recipe)
    networks = [tmp_path / f"{recipe['name']}.json" for recipe in rows]
    files = {f"out_{form}": tmp_path / f"networks.{form}" for form in (*FORMS, "json")}
    call(list_networks, {}, networks=networks, **files)
    table = pd.read_csv(files["out_csv"])
    assert table["rows"].tolist() == ["robustness.methods.a, robustness.methods.b", "geometry"]
    assert table["layer"].tolist() == ["relu", "conv"] and table["shape"].tolist() == ["3×8×8"] * 2
    assert len(json.loads(files["out_json"].read_text("utf-8"))) == 3
    assert "Net of nets.py" in files["out_html"].read_text("utf-8")


def test_published_weights_are_taken_with_the_constants_in_their_header(call, images, built, weights, tmp_path):
    _, _, original = weights()
    path = tmp_path / "published.safetensors"
    header = {"mean": [0.2, 0.2, 0.2], "std": [0.3, 0.3, 0.3]}
    save_file(original.state_dict(), path, metadata={"lgg": json.dumps(header)})
    model = loaded(call, tmp_path, built(), path, "published")
    x = pixels_of(images)[0]
    torch.testing.assert_close(model(x), original((x - 0.2) / 0.3))
