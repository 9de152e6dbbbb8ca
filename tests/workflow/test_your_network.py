"""Follows the page on your own network step by step, with fewer pictures and less training."""

import ast
import io
import re
import runpy
import subprocess
import sys
from contextlib import redirect_stdout

import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from snakemake_runs import ROOT, copy_checkout, plan, snakemake

from lgg import export
from lgg.data.batches import to_model_input
from lgg.data.storage import read_images
from lgg.training.checkpoint import load_model

pytestmark = pytest.mark.pipeline

PAGE = (ROOT / "docs" / "your_network.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r'^```python title="(.+?)"\n(.*?)^```$', PAGE, re.M | re.S))
OVERLAY = "config/own-network.yaml"
SMALL = """
seeds: [0]
distillation:
  training: {batch_size: 20, schedule: [{epochs: 1, learning_rate: 0.002}]}
resources: {device: cpu, train: {threads: 1}, evaluate: {threads: 1}}
"""
CLASSES = 4


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The page up to its report: pictures, a teacher trained in plain PyTorch, and the run."""
    folder, digits = copy_checkout(tmp_path_factory.mktemp("walk")), load_digits()
    for label in range(CLASSES):
        for place, image in enumerate(digits.images[digits.target == label][:30]):
            path = folder / "pictures" / ("train" if place < 20 else "test") / f"digit {label}" / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15.9).astype("uint8")).save(path)
    code = BLOCKS["train_teacher.py"].replace("range(5)", "range(1)")
    subprocess.run([sys.executable, "-c", f"import torch\ntorch.set_num_threads(1)\n{code}"], cwd=folder, check=True)
    (folder / "small.yaml").write_text(SMALL)
    done = snakemake(folder, "--cores", "2", configs=(OVERLAY, "small.yaml"))
    assert done.returncode == 0, done.stdout
    return folder


def test_the_run_makes_the_table_from_a_teacher_that_it_does_not_train(walked):
    table = pd.read_csv(walked / "results/own-network/tables/table1.csv").set_index("name")
    assert set(table.index) == {"teacher", "baseline", "hinton", "gkd"}
    logs = {path.stem for path in (walked / "results/own-network/logs").glob("*.log")}
    assert "load_teacher" in logs and "train_teacher" not in logs
    assert plan(walked, configs=(OVERLAY, "small.yaml")) == {}


def test_the_loaded_teacher_computes_what_it_did_in_plain_pytorch(walked):
    import torchvision

    plain = torchvision.models.resnet18(num_classes=CLASSES)
    plain.load_state_dict(torch.load(walked / "teacher.pt", weights_only=True))
    images = to_model_input(
        torch.from_numpy(read_images(walked / "results/own-network/data/test.safetensors").images[:8])
    )
    loaded = load_model(walked / "results/own-network/distillation/teacher/model.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), plain.eval()((images - 0.5) / 0.25), rtol=1e-4, atol=1e-4)


def test_the_student_is_exported_with_the_lines_that_load_it(walked, monkeypatch):
    monkeypatch.chdir(walked)
    model, printed = "results/own-network/distillation/gkd/seed0/model.safetensors", io.StringIO()
    with redirect_stdout(printed):
        assert export.main([model, "student.safetensors"]) == 0
    written, shown = (ast.dump(ast.parse(code)) for code in (printed.getvalue(), BLOCKS["use_student.py"]))
    assert written == shown
    images = to_model_input(torch.from_numpy(read_images("results/own-network/data/test.safetensors").images[:8]))
    with torch.no_grad():
        (walked / "use_student.py").write_text(printed.getvalue())
        found = runpy.run_path("use_student.py", {"images": images})["logits"]
        torch.testing.assert_close(found, load_model(model)(images), rtol=1e-4, atol=1e-4)


def test_other_weights_are_refused_before_any_training(walked, tmp_path):
    import torchvision

    torch.save(torchvision.models.resnet34(num_classes=CLASSES).state_dict(), tmp_path / "other.pt")
    change = tmp_path / "other.yaml"
    change.write_text(f"run: other\ndistillation: {{teacher: {{weights: {tmp_path / 'other.pt'}}}}}")
    done = snakemake(walked, "--cores", "2", configs=(OVERLAY, "small.yaml", change))
    assert done.returncode != 0
    assert "layer1.2.conv1.weight" in done.stdout and "distillation.teacher" in done.stdout
    assert not list((walked / "results/other").rglob("model.safetensors"))
