import contextlib
from itertools import count
from unittest.mock import Mock

import pytest
import torch

from lgg import models
from lgg.data.batches import Batches
from lgg.training import timing
from lgg.training.objectives import CrossEntropy
from lgg.training.optimizers import AdamW
from lgg.training.step import WARM_UP
from lgg.training.timing import Trial, measure


class Clocked:
    """A trial whose steps take `cost` seconds each, by a clock that only it moves."""

    def __init__(self, name, cost, log, captured=False):
        self.name, self.cost, self.log, self.captured = name, cost, log, captured

    def seconds(self, steps):
        self.log.append((self.name, steps))
        return self.cost * steps


def test_rounds_are_interleaved_and_every_other_one_goes_backwards():
    log = []
    trials = {name: Clocked(name, cost, log) for name, cost in (("a", 1.0), ("b", 2.5), ("c", 0.5))}
    rows = measure(trials, rounds=3, steps=4, warm_up=2)
    assert log[:3] == [("a", 2), ("b", 2), ("c", 2)]
    assert [name for name, _ in log[3:]] == ["a", "b", "c", "c", "b", "a", "a", "b", "c"]
    assert {steps for _, steps in log[3:]} == {4}
    assert [(row["name"], row["round"]) for row in rows] == [
        *(("a", 0), ("b", 0), ("c", 0)),
        *(("c", 1), ("b", 1), ("a", 1)),
        *(("a", 2), ("b", 2), ("c", 2)),
    ]
    assert all(row["seconds_per_step"] == trials[row["name"]].cost for row in rows)


def test_captured_steps_are_captured_before_they_are_timed():
    log = []
    measure({"a": Clocked("a", 1.0, log, captured=True)}, rounds=1, steps=1)
    assert log == [("a", WARM_UP + 1), ("a", 1)]


def batches(images=7, batch_size=3):
    pixels = torch.randint(256, (images, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Batches(pixels, torch.arange(images) % 2, batch_size=batch_size, seed=0)


def trial(seen, **options):
    torch.manual_seed(0)
    model = models.build("wide_resnet", num_classes=2, depth=10, width=0.0625)

    def objective(network, images, labels):
        seen.append(len(labels))
        assert network.training
        return CrossEntropy()(network, images, labels)

    return Trial(model, objective, batches(), **options)


def test_steps_are_full_batches_of_consecutive_epochs():
    seen, after = [], count()
    one = trial(seen, after_step=lambda: next(after))
    assert one.seconds(5) > 0
    # epochs of two whole batches; the third has one image and would be cheaper
    assert seen == [3] * 5
    assert next(after) == 5


def test_weights_stay_where_they_are():
    one = trial([])
    before = [parameter.detach().clone() for parameter in one.model.parameters()]
    one.seconds(3)
    assert all(torch.equal(*pair) for pair in zip(before, one.model.parameters(), strict=True))


def test_the_clock_stops_when_the_device_is_done(monkeypatch):
    """With a GPU the time between two waits for it is counted."""
    moments, waited = iter([1.0, 6.0]), []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(device))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(moments))
    one = trial([])
    one.batches.device = torch.device("cuda")
    one.step = Mock(stream=contextlib.nullcontext)
    assert one.seconds(1) == 5.0
    assert waited == [torch.device("cuda")] * 2


def test_fewer_images_than_a_batch_are_refused():
    model = models.build("wide_resnet", num_classes=2, depth=10, width=0.0625)
    with pytest.raises(ValueError, match="2 images do not fill the batch of 3"):
        Trial(model, CrossEntropy(), batches(images=2))


def test_a_step_is_that_of_the_optimizer_given():
    rates = []

    class Watched(AdamW):
        def step(self, rate):
            rates.append(rate)
            super().step(rate)

    torch.manual_seed(0)
    model = models.build("wide_resnet", num_classes=2, depth=10, width=0.0625)
    Trial(model, CrossEntropy(), batches(), optimizer=Watched(model.parameters())).seconds(2)
    assert [float(rate) for rate in rates] == [timing.RATE] * 2
