"""Values of the published code of the source papers in float64, for inputs given by a formula."""

import math
from itertools import pairwise

import pytest
import torch

import lgg
from lgg.losses import GraphDistillation, LabelVariationRegularizer, RelationalDistillation

WEIGHT = 25  # λ of both distillation losses in the paper
LABEL_VARIATION = {
    (1, "S0"): 20.4239724401003,
    (1, "T1"): 37.0310614046608,
    (2, "S0"): 57.648542683924084,
    (2, "T1"): 172.58614109127177,
}
CHANGES = {1: 8.898730731560512, 2: 64.51431159041971}
LABELS = torch.arange(12) % 3


def features(shape, a):
    count = math.prod(shape)
    n = torch.arange(count, dtype=torch.float64)
    values = torch.sin(a * n + 0.5) + 0.6 * torch.cos(1.7 * a * n**2 / count)
    return (values.clamp_min(0) + 0.01).reshape(shape)


STUDENT = [features((12, 3, 4, 4), 0.7), features((12, 5, 2, 2), 0.9), features((12, 7), 1.1)]
TEACHER = [features((12, 6, 4, 4), 0.5), features((12, 10, 2, 2), 0.8), features((12, 14), 1.3)]
LAYERS = {"S0": STUDENT[0], "T1": TEACHER[1]}


def exactly(value):
    return pytest.approx(value, rel=1e-10, abs=0)


def test_graph_distillation():
    assert WEIGHT * GraphDistillation()(STUDENT, TEACHER, LABELS).item() == exactly(22.70571656235715)


def test_graph_distillation_between_classes():
    assert WEIGHT * GraphDistillation(edges="inter")(STUDENT, TEACHER, LABELS).item() == exactly(19.727834010498622)


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"k": 3}, 6.791038792175276),
        ({"k": 3, "power": 2}, 2.2571811919253744),
        ({"k": 3, "edges": "inter"}, 6.935685117306785),
        ({"k": 2, "edges": "inter", "power": 2}, 1.0660510633286975),
        ({"edges": "inter", "power": 2}, 1.4870490898244377),
        ({"k": 3, "edges": "intra"}, 2.977882551858508),
        ({"edges": "intra", "power": 3}, 0.19541952291583098),
    ],
)
def test_graph_distillation_in_the_published_order(options, value):
    loss = GraphDistillation(order="published", **options)
    assert WEIGHT * loss(STUDENT, TEACHER, LABELS).item() == exactly(value)


@pytest.mark.parametrize(
    ("power", "published_k", "value"),
    [
        (1, 3, 10.119160642503818),
        (1, 5, 11.100713741678723),
        (2, 3, 29.529199619600067),
        (2, 5, 52.30299955320943),
    ],
)
def test_k_of_the_published_regularizer_counts_the_vertex_itself(power, published_k, value):
    loss = LabelVariationRegularizer(power=power, k=published_k - 1)
    assert loss(STUDENT, LABELS).item() == exactly(value)


def test_relational_distillation():
    assert WEIGHT * RelationalDistillation()(STUDENT, TEACHER).item() == exactly(1.029076150232128)


@pytest.mark.parametrize(("power", "layer"), LABEL_VARIATION)
def test_label_variation(power, layer):
    x, expected = LAYERS[layer], exactly(LABEL_VARIATION[power, layer])
    assert lgg.label_variation(lgg.similarity_graph(x), LABELS, power=power).item() == expected
    assert lgg.cosine_label_variation(x, LABELS, power=power).item() == expected


@pytest.mark.parametrize("power", CHANGES)
def test_change_of_label_variation(power):
    variations = [lgg.cosine_label_variation(x, LABELS, power=power).item() for x in STUDENT]
    gaps = [abs(after - before) for before, after in pairwise(variations)]
    assert sum(gaps) / len(gaps) == exactly(CHANGES[power])


@pytest.mark.parametrize("power", CHANGES)
def test_regularizer(power):
    loss = LabelVariationRegularizer(power=power)
    assert loss(STUDENT, LABELS).item() == exactly(CHANGES[power])
    # two gaps
    summed = LabelVariationRegularizer(power=power, reduction="sum")
    assert summed(STUDENT, LABELS).item() == exactly(2 * CHANGES[power])
    # with every neighbour kept the graphs themselves are formed
    assert LabelVariationRegularizer(power=power, k=11)(STUDENT, LABELS).item() == exactly(CHANGES[power])
