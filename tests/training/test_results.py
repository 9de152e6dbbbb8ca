import csv
import json

import torch

from lgg import models
from lgg.training.checkpoint import load_model
from lgg.training.results import ResultFiles, describe_run
from lgg.training.setup import build_network

ARCHITECTURE = {"name": "wide_resnet", "depth": 10, "width": 0.0625}
RECIPE = {
    "architecture": ARCHITECTURE,
    "training": {"schedule": [{"epochs": 1.5}, {"epochs": 0.5}], "precision": "float32"},
    "seed": 3,
}
HEADER = {"shape": [24, 32, 32, 3], "sha256": "ab", "mean": [0.4] * 3, "std": [0.2] * 3}
HISTORY = [{"epoch": 1, "loss": 2.0, "seconds": 5.0}, {"epoch": 2, "loss": 1.0, "seconds": 3.0}]


def test_what_is_written_describes_the_run_and_gives_the_network_back(tmp_path):
    device = torch.device("cpu")
    model = models.build(**ARCHITECTURE, num_classes=2)
    about = describe_run(RECIPE, HEADER, HISTORY, **RECIPE["training"], device=device, threads=2)
    files = ResultFiles(*(tmp_path / name for name in ("model.safetensors", "history.csv", "metrics.json")))
    files.write(model, ARCHITECTURE | {"num_classes": 2}, HISTORY, about)
    found = load_model(files.model, expected=ARCHITECTURE)
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in model.state_dict().items())
    with files.history.open(encoding="utf-8") as rows:
        assert [{name: float(value) for name, value in row.items()} for row in csv.DictReader(rows)] == HISTORY
    metrics = json.loads(files.metrics.read_text(encoding="utf-8"))
    assert metrics["recipe"] == RECIPE
    assert metrics["last_epoch"] == HISTORY[1]
    expected = {"images": 24, "data_sha256": "ab", "epochs": 2, "seconds": 8.0, "precision": "float32", "threads": 2}
    assert {key: metrics[key] for key in expected} == expected
    assert metrics["device"].startswith("CPU (")


def test_a_network_is_drawn_by_its_seed_for_the_images():
    class Images:
        classes = ("one", "other", "third")
        images = torch.zeros(1, 32, 32, 3)

    given = {"data": Images, "header": HEADER, "seed": 3, "device": torch.device("cpu")}
    built_with, model = build_network(ARCHITECTURE, **given)
    constants = {"num_classes": 3, "mean": HEADER["mean"], "std": HEADER["std"]}
    assert built_with == ARCHITECTURE | constants
    torch.manual_seed(3)
    expected = models.build(**ARCHITECTURE, **constants)
    assert all(map(torch.equal, model.parameters(), expected.parameters()))
    assert build_network(ARCHITECTURE, **given, outputs=7)[0]["num_classes"] == 7
