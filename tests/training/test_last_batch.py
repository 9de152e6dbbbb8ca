"""An epoch whose last batch has a single image, under every objective."""

import pytest
import torch

from lgg import losses, models
from lgg.data.batches import Batches
from lgg.defences import Adversarial, Regularizer
from lgg.training.fit import fit
from lgg.training.objectives import Distillation, MetricLearning, Robust

SCHEDULE = [{"epochs": 2, "learning_rate": 0.01}]
OBJECTIVES = {
    "label variation": (4, MetricLearning(losses.LabelVariation(reduction="mean"), 1.0)),
    "triplets": (4, MetricLearning(losses.Triplet(triplets="all"), 1.0)),
    "regularizer": (2, Robust([Regularizer(0.01)])),
    "adversarial": (2, Robust([Adversarial(0.03, 0.04, steps=1)])),
}
DISTILLATIONS = {
    "relational": losses.RelationalDistillation(),
    "graph": losses.GraphDistillation(k=2, edges="inter"),
    "Hinton": losses.HintonDistillation(temperature=4.0),
}


def network(seed=0, outputs=2):
    torch.manual_seed(seed)
    return models.build("preact_resnet18", num_classes=outputs, base_width=2)


def feed(seed=0):
    images = torch.randint(256, (9, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Batches(images, torch.arange(9) % 2, batch_size=4, seed=seed)


def check(model, history):
    assert len(history) == 2  # a loss that is not a number would have stopped it
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_one_image_is_left_over():
    assert [len(labels) for _, labels in feed().epoch(0)] == [4, 4, 1]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_one_image_left_over_is_trained_on(name):
    outputs, objective = OBJECTIVES[name]
    model = network(outputs=outputs)
    check(model, fit(model, objective, feed(), schedule=SCHEDULE))


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_one_image_left_over_is_distilled(name):
    model, objective = network(), Distillation(network(9), DISTILLATIONS[name], 0.5)
    check(model, fit(model, objective, feed(), schedule=SCHEDULE))
