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
from lgg.training.objectives import CrossEntropy, Distillation, MetricLearning, Robust
from lgg.training.optimizers import SGD, AdamW
from lgg.training.step import TrainingStep

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


def batches():
    images = torch.randint(256, (15, 32, 32, 3), dtype=torch.uint8)
    return Batches(images, torch.arange(15) % 3, batch_size=6, seed=0, augmentation="crop_and_flip")


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


def step_of(model, objective, optimizer=SGD):
    after_step = partial(objective.after_step, model) if isinstance(objective, Robust) else None
    optimizer, generator = optimizer(model.parameters()), torch.Generator().manual_seed(0)
    step = TrainingStep(model.train(), objective, batches(), optimizer, [0.1] * 3, "float32", after_step, generator)
    step.begin(0, 0, 0)
    return step


def waited(step):
    """Return the operations that wait in all steps of an epoch but the first; the last batch is smaller."""
    step()
    with Watch() as watch:
        sizes = [step(), step()]
    assert sizes == [6, 3]
    return watch.waited


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_step_waits(name):
    build, objective = OBJECTIVES[name]
    assert waited(step_of(build(), objective)) == []


def test_no_step_of_adamw_waits():
    assert waited(step_of(wide_resnet(), CrossEntropy(), AdamW)) == []


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
