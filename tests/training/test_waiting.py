"""Within an epoch nothing waits for the device: no operation of a step needs to know a value on the host.

But for the first step: losses of cosine graphs then look whether a layer's values can be negative.
"""

from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lgg import losses, models
from lgg.data.batches import Batches
from lgg.defences import Adversarial, Parseval, Regularizer
from lgg.training.fit import train_step
from lgg.training.objectives import CrossEntropy, Distillation, MetricLearning, Robust
from lgg.training.optimizers import SGD, AdamW
from lgg.training.together import BatchesTogether, CrossEntropyTogether, DistillationTogether, Together

# operations whose result, or the size of whose result, is read from the device
WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "unique", "equal", "item", "bincount")


class Watch(TorchDispatchMode):
    """Collects the operations of a step that would wait."""

    def __init__(self):
        super().__init__()
        self.waited = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_mask = name.startswith(("index", "_index")) and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for group in args[1:2]
            for index in (group if isinstance(group, list | tuple) else [group])
        )
        if by_mask or name.lstrip("_").startswith(WAITING) or name in WAITING:
            self.waited.append(name)
        return function(*args, **(kwargs or {}))


def wide_resnet(width=0.5):
    return models.build("wide_resnet", num_classes=3, depth=10, width=width)


def preact_resnet(**options):
    return models.build("preact_resnet18", num_classes=3, base_width=2, **options)


def batches(seed=0):
    images = torch.randint(256, (12, 32, 32, 3), dtype=torch.uint8)
    return Batches(images, torch.arange(12) % 3, batch_size=6, seed=seed, augmentation="crop_and_flip")


def distillation(criterion, **options):
    return Distillation(wide_resnet(1), criterion, 1.0, **options)


OBJECTIVES = {
    "cross-entropy": (wide_resnet, CrossEntropy()),
    "hinton": (wide_resnet, distillation(losses.HintonDistillation(temperature=4.0))),
    "rkd_d": (wide_resnet, distillation(losses.RelationalDistillation())),
    "gkd": (wide_resnet, distillation(losses.GraphDistillation(k=3, edges="inter"))),
    "label variation": (
        preact_resnet,
        MetricLearning(losses.LabelVariation(normalize_embeddings=True, reduction="mean"), 1.0),
    ),
    "regularizer": (preact_resnet, Robust([Regularizer()])),
    "regularizer of a sparse graph": (preact_resnet, Robust([Regularizer(1.0, k=2, normalize=True)])),
    "Parseval": (partial(preact_resnet, parseval=True), Robust([Parseval()])),
    "adversarial": (preact_resnet, Robust([Adversarial(steps=2)])),
}


def waited(model, objective, feed, optimizer=SGD):
    optimizer = optimizer(model.parameters())
    after_step = partial(objective.after_step, model) if isinstance(objective, Robust) else None
    model.train()
    steps = feed.epoch(0)
    train_step(model, objective, *next(steps), optimizer, 0.1, "float32", after_step)
    with Watch() as watch:
        for images, labels in steps:
            train_step(model, objective, images, labels, optimizer, 0.1, "float32", after_step)
    return watch.waited


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_step_waits(name):
    build, objective = OBJECTIVES[name]
    assert waited(build(), objective, batches()) == []


def test_no_step_of_adamw_waits():
    assert waited(wide_resnet(), CrossEntropy(), batches(), AdamW) == []


@pytest.mark.parametrize("name", ["cross-entropy", "gkd"])
def test_no_step_of_networks_together_waits(name):
    objective = CrossEntropyTogether() if name == "cross-entropy" else DistillationTogether(OBJECTIVES[name][1])
    feed = BatchesTogether([batches(), batches(1)])
    assert waited(Together([wide_resnet(), wide_resnet()]), objective, feed) == []


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        torch.unique,
        lambda x: bool((x > 0).all()),
        lambda x: x.masked_fill_(x > 0, 1.0)[x > 2],
    ],
)
def test_operations_that_wait_are_noticed(waits):
    with Watch() as watch:
        waits(torch.rand(4))
    assert watch.waited
