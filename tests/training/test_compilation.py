import copy
import shutil
from functools import partial

import pytest
import torch

from lgg import models
from lgg.data.batches import Batches
from lgg.defences import Regularizer
from lgg.models.base import ImageClassifier, average_pixels
from lgg.models.wide_resnet import BasicBlock
from lgg.training.compilation import compiled
from lgg.training.fit import fit
from lgg.training.objectives import CrossEntropy, Robust

SCHEDULE = [{"epochs": 1, "learning_rate": 0.01}]


def network():
    torch.manual_seed(0)
    return models.build("wide_resnet", num_classes=2, depth=10, width=0.5)


def batches():
    images = torch.randint(256, (16, 32, 32, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return Batches(images, torch.arange(16) % 2, batch_size=8, seed=0)


def without_code(compile_, model, **options):
    return compile_(model, backend="aot_eager", dynamic=options["dynamic"])


def test_none_is_the_network_itself():
    model = network()
    assert compiled(model, "none") is model


@pytest.mark.parametrize("mode", ["default", "reduce-overhead", "max-autotune"])
def test_the_mode_reaches_torch_with_fixed_shapes(mode, monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: calls.append(options) or model)
    fit(network(), CrossEntropy(), batches(), schedule=SCHEDULE, compilation=mode)
    assert calls == [{"mode": mode, "dynamic": False}]


@pytest.mark.parametrize("defences", [[], [Regularizer(1e-4)]], ids=["plain", "regularizer"])
def test_a_compiled_network_trains_alike(defences, monkeypatch):
    """Uses the compiler's tracer without code generation, so no C++ compiler is needed: weights are shared and trained."""
    monkeypatch.setattr(torch, "compile", partial(without_code, torch.compile))
    plain, traced = network(), network()
    rows = [
        fit(model, Robust(defences), batches(), schedule=SCHEDULE, compilation=compilation)
        for model, compilation in ((plain, "none"), (traced, "default"))
    ]
    assert rows[1][0]["loss"] == pytest.approx(rows[0][0]["loss"], rel=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(traced.state_dict()[name], value, rtol=1e-3, atol=1e-4)


class OneBlock(ImageClassifier):
    """A network of one block: code is generated and compiled for each operation of a network, for a second or more."""

    layers = ()

    def __init__(self):
        super().__init__((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        self.block = BasicBlock(3, 4, stride=2)
        self.classifier = torch.nn.Linear(4, 2)

    def _compute(self, x):
        return self.classifier(average_pixels(self.block(x))), []


@pytest.mark.pipeline  # for the time that it takes
@pytest.mark.system
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on the CPU needs a C++ compiler")
def test_generated_code_trains_alike():
    plain = OneBlock()
    fast = copy.deepcopy(plain)
    for model, compilation in ((plain, "none"), (fast, "default")):
        fit(model, CrossEntropy(), batches(), schedule=SCHEDULE, compilation=compilation)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], value, rtol=1e-3, atol=1e-4)
