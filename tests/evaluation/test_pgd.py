"""Predictions under PGD of many images, compared with `lgg.attacks.pgd` and with starts drawn one by one."""

import math

import pytest
import torch
from torch import nn

from lgg.attacks import pgd
from lgg.evaluation import pgd as module
from lgg.evaluation.accuracy import predict
from lgg.evaluation.pgd import Starts, predict_under_pgd
from lgg.models.base import ImageClassifier

SEARCH = {"epsilon": 0.06, "step_size": 0.02, "steps": 2}


class Network(ImageClassifier):
    """A small network with curved borders that records how many images it sees."""

    layers = ()

    def __init__(self, seed, factor=8.0):
        super().__init__((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(75, 16), nn.Tanh(), nn.Linear(16, 3))
        self.factor = factor
        self.seen = []

    def _compute(self, x):
        self.seen.append(len(x))
        return self.factor * self.body(x), []


def draw(count=23):
    return torch.randint(256, (count, 5, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def as_input(images):
    return images.permute(0, 3, 1, 2) / 255


OPTIONS = [
    {},
    {"random_start": True},
    {"restarts": 4},
    {"restarts": 4, "random_start": True},
    {"restarts": 3, "random_start": True, "loss": "logit_difference", "stop_at_success": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_predictions_are_those_for_the_images_of_pgd(options):
    model, images = Network(0), draw()
    labels = predict(model, images)
    labels[:3] = (labels[:3] + 1) % 3
    generator = torch.Generator().manual_seed(7)
    attacked = pgd(model, as_input(images), labels, **SEARCH, **options, generator=generator)
    expected = model(attacked).argmax(dim=1)
    assert 3 < (expected != labels).sum() < len(labels)
    for batch_size in (None, 23, 5):
        found = predict_under_pgd(model, images, labels, **SEARCH, **options, seed=7, batch_size=batch_size)
        assert torch.equal(found, expected)
        assert found.dtype == torch.int64
    assert not model.training


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_another_network_predicts_for_the_images_that_were_found(options):
    model, target, images = Network(0), Network(1), draw()
    labels = predict(model, images)
    generator = torch.Generator().manual_seed(7)
    attacked = pgd(model, as_input(images), labels, **SEARCH, **options, generator=generator)
    found = predict_under_pgd(model, images, labels, **SEARCH, **options, seed=7, target=target.train(), batch_size=5)
    assert torch.equal(found, target(attacked).argmax(dim=1))
    assert not target.training


def test_the_seed_determines_random_starts_and_torch_s_generator_is_not_used():
    model, images = Network(0), draw()
    labels = predict(model, images)
    state = torch.get_rng_state()
    given = {"epsilon": 0.3, "step_size": 1e-6, "steps": 1, "random_start": True}
    one, again, other = (predict_under_pgd(model, images, labels, **given, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_images_left_for_another_start_fill_batches():
    """In a ball of one point nothing is found: the images that are right are tried again, four at a time."""
    model, images = Network(0), draw()
    right = predict(model, images)
    labels = torch.where(torch.arange(23) % 3 == 0, (right + 1) % 3, right)
    model.seen.clear()
    predict_under_pgd(model, images, labels, epsilon=0.0, step_size=0.01, steps=1, restarts=3, batch_size=4)
    # each batch passes once for its step and once for its assessment
    first, further = [4] * 5 + [3], [4] * 3 + [3]
    assert model.seen == [size for size in first + further + further for _ in range(2)]


def test_without_images_left_no_further_start_is_made():
    model, images = Network(0), draw()
    labels = (predict(model, images) + 1) % 3
    model.seen.clear()
    found = predict_under_pgd(model, images, labels, epsilon=0.0, step_size=0.01, steps=1, restarts=9)
    assert model.seen == [23, 23]
    assert (found != labels).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"epsilon": math.nan}, "at least 0, not nan"), ({"restarts": 0}, "at least 1, not 2 and 0")],
)
def test_bad_arguments_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        predict_under_pgd(Network(0), draw(), torch.zeros(23, dtype=torch.int64), **(SEARCH | wrong))


@pytest.mark.parametrize("batch_size", [1, 3, 4, 9, 100])
def test_starts_are_drawn_group_by_group_and_do_not_depend_on_batches(batch_size, monkeypatch):
    monkeypatch.setattr(module, "GROUP", 4)
    generator = torch.Generator().manual_seed(5)
    expected = torch.empty(3, 10, 3, 6, 2)
    for group in (slice(0, 4), slice(4, 8), slice(8, 10)):
        for start in range(3):
            expected[start, group] = 2 * torch.rand(expected[start, group].shape, generator=generator) - 1
    starts = Starts(5, 10, (6, 2, 3), 3)
    for start in (0, 1, 2, 1, 0):
        for positions in (torch.arange(10), torch.tensor([1, 3, 4, 9]), torch.tensor([8])):
            parts = list(starts.batches(start, positions, batch_size))
            assert [len(part) for part in parts[:-1]] == [batch_size] * (len(parts) - 1)
            assert torch.equal(torch.cat(parts), expected[start, positions])
