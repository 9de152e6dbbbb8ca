"""benchmarks/kernels.py: what it counts in small cases, its autocast, and the goals for steps at the paper's sizes."""

from contextlib import nullcontext

import pytest
import torch
from kernels import (
    GOALS,
    OPTIMIZER_GOAL,
    PLAIN_GOAL,
    PRECISIONS,
    REFERENCES,
    Kernels,
    autocast,
    autocast_everywhere,
    count,
    kernels_of_step,
    trials,
)
from kernels import kernels_of_optimizer as update_of

from lgg import models
from lgg.training.objectives import CrossEntropy
from lgg.training.optimizers import SGD
from lgg.training.step import train_step

# Counting


def counted(run, kind="meta"):
    with Kernels(kind) as kernels:
        run()
    return dict(kernels.counts)


def test_views_allocations_and_scalars_are_not_counted():
    x = torch.empty(4, 6, device="meta")
    assert counted(lambda: (x.view(2, 12), x.T, x[1:3], x.detach(), x.expand(2, 4, 6), torch.empty_like(x))) == {}
    # a transposed matrix has to be copied
    assert counted(lambda: x.T.reshape(24)) == {"aten::clone": 1}
    assert counted(lambda: torch.where(x > 0, x, 0.0)) == {"aten::gt": 1, "aten::where": 1}


def test_a_list_is_one_kernel_also_where_meta_lacks_the_operation():
    weights, gradients, velocities = ([torch.empty(3, device="meta") for _ in range(5)] for _ in range(3))
    assert counted(lambda: torch._foreach_mul_(weights, 2.0)) == {"aten::_foreach_mul_": 1}
    options = {"weight_decay": 0.1, "momentum": 0.9, "lr": 0.1, "dampening": 0.0, "nesterov": False}
    more = {"maximize": False, "is_first_step": False}
    assert counted(lambda: torch._fused_sgd_(weights, gradients, velocities, **options, **more)) == {
        "aten::_fused_sgd_": 1
    }


def test_a_product_with_a_type_of_its_sums_is_one_kernel_and_of_that_type():
    x = torch.empty(2, 3, 4, dtype=torch.bfloat16, device="meta")
    with Kernels() as kernels:
        out = torch.bmm(x, x.mT, out_dtype=torch.float32)
    assert kernels.counts == {"aten::bmm": 1}
    assert (out.dtype, out.shape) == (torch.float32, (2, 3, 3))


def test_gradients_are_counted_and_other_devices_are_not():
    x = torch.empty(5, 3, device="meta", requires_grad=True)
    here = torch.ones(5, 3)
    # exp, sum; the seed of ones, its expansion (a view) times exp(x)
    assert counted(lambda: (here + here, x.exp().sum().backward())) == {
        "aten::exp": 1, "aten::sum": 1, "aten::ones_like": 1, "aten::mul": 1,
    }  # fmt: skip


def step_on_cpu(patched, monkeypatch, together):
    """The kernels, loss and weights of a step of a small network in bfloat16, whose weights are cast together or not."""
    monkeypatch.setattr(models.base, "transformed", lambda: not together)
    torch.manual_seed(0)
    model = models.build("preact_resnet18", num_classes=3, base_width=2, bottleneck=2).train()
    images, labels, optimizer = torch.rand(4, 3, 16, 16), torch.arange(4) % 3, SGD(model.parameters())
    with patched, Kernels("cpu") as kernels:
        step = train_step(model, CrossEntropy(), images, labels, optimizer, 0.1, "bfloat16", None)
    return kernels.counts, step.loss.detach(), [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize("together", [False, True])
def test_its_autocast_casts_what_pytorch_s_does(together, monkeypatch):
    (expected, loss, weights), (found, same_loss, same_weights) = (
        step_on_cpu(patched, monkeypatch, together) for patched in (nullcontext(), autocast_everywhere())
    )
    # each weight and its gradient, or all at once
    assert expected["aten::_to_copy"] > 2 * 20 or together
    assert expected["aten::_foreach_copy_"] == 2 * together
    assert found == expected
    assert torch.equal(loss, same_loss)
    assert all(map(torch.equal, weights, same_weights))


def test_its_autocast_casts_a_weight_once_and_can_be_disabled_inside():
    weight, x = torch.ones(3, 3, requires_grad=True), torch.ones(3, 3)
    with autocast("cpu"), Kernels("cpu") as kernels:
        assert (x @ weight).dtype == torch.mm(x, weight).dtype == torch.bfloat16
        assert (x.bfloat16() @ weight.detach()).exp().dtype == torch.float32
        with autocast("cpu", enabled=False):
            assert (x @ weight).dtype == torch.float32
        assert (x @ weight).dtype == torch.bfloat16
        assert torch.cat([x, x.bfloat16()]).dtype == torch.float32
    assert (x @ weight).dtype == torch.float32
    # x three times, the weight once; x and the detached weight; the product for exp; x, and its copy for cat
    assert kernels.counts["aten::_to_copy"] == 3 + 1 + 2 + 1 + 2
    with autocast("cpu", enabled=False):
        assert (x @ weight).dtype == torch.float32


# The goals


@pytest.fixture(scope="module")
def trained():
    """Every training with a goal, and those that they are compared with."""
    return {name: one for name, one in trials().items() if name in {*GOALS, *REFERENCES.values()}}


@pytest.fixture(scope="module", params=PRECISIONS)
def table(request, trained):
    return count(trained, request.param).set_index("training")


@pytest.mark.parametrize("name", GOALS)
def test_a_method_adds_no_more_kernels_than_its_goal(table, name):
    assert table["added"][name] <= GOALS[name]


def test_the_plain_step_and_the_update_have_no_more_kernels_than_their_goals(trained):
    plain = trained["robustness.baseline"]
    assert kernels_of_step(plain, "float32").total() <= PLAIN_GOAL
    assert update_of(plain) <= OPTIMIZER_GOAL
    # autocast casts all weights of convolutions by one kernel and their gradients by another; the classifier's weight and
    # bias, what it and the first convolution take, and the logits for the loss each by their own, with gradients of three
    assert kernels_of_step(plain, "bfloat16").total() - kernels_of_step(plain, "float32").total() <= 2 + 5 + 4
