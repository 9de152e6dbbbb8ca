import subprocess
import sys
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lgg.training import optimizers
from lgg.training.optimizers import SGD, AdamW

RATES = [0.1, 0.3, 0.0, 0.05]
BOTH = [SGD, AdamW]


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in ((3, 2), (4,), ())
    ]


def descend(values, optimizer, step):
    """Give `values` the gradients of a loss that differs from step to step."""
    optimizer.zero_grad()
    sum((value * (step + 1)).sin().sum() for value in values).backward()


def compare(make, make_reference):
    ours, theirs = parameters(), parameters()
    mine, reference = make(ours), make_reference(theirs)
    for step, rate in enumerate(RATES):
        reference.param_groups[0]["lr"] = rate
        descend(ours, mine, step)
        descend(theirs, reference, step)
        mine.step(rate)
        reference.step()
        for value, expected in zip(ours, theirs, strict=True):
            # float64 rounds to 1e-16; a step is some ten operations
            torch.testing.assert_close(value, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_steps_of_sgd_are_those_of_torch(momentum, nesterov, weight_decay):
    options = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    compare(partial(SGD, **options), partial(torch.optim.SGD, lr=0.1, **options))


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5), [0.5, 0.9]])
@pytest.mark.parametrize(("epsilon", "weight_decay"), [(1e-8, 0.01), (0.1, 0.0), (1e-8, 0.5)])
def test_steps_of_adamw_are_those_of_torch(betas, epsilon, weight_decay):
    compare(
        partial(AdamW, betas=betas, epsilon=epsilon, weight_decay=weight_decay),
        partial(torch.optim.AdamW, betas=tuple(betas), eps=epsilon, weight_decay=weight_decay, foreach=False),
    )


@pytest.mark.parametrize(("make", "theirs"), [(SGD, torch.optim.SGD), (AdamW, torch.optim.AdamW)])
def test_without_decay_of_norms_only_parameters_of_several_dimensions_decay(make, theirs):
    """As two groups of torch's optimiser, one without decay."""

    def grouped(values):
        groups = [{"params": values[:1], "weight_decay": 0.1}, {"params": values[1:], "weight_decay": 0.0}]
        return theirs(groups, lr=0.1, **({"momentum": 0.9} if make is SGD else {}))

    ours, others = parameters(), parameters()  # of shapes (3, 2), (4,) and ()
    mine, reference = make(ours, weight_decay=0.1, decay_norms=False), grouped(others)
    for step, rate in enumerate(RATES):
        for group in reference.param_groups:
            group["lr"] = rate
        for values, optimizer in ((ours, mine), (others, reference)):
            descend(values, optimizer, step)
        mine.step(rate)
        reference.step()
    for value, expected in zip(ours, others, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-13, atol=1e-14)


def test_adamw_is_its_algorithm_written_out():
    """Algorithm 2 of Loshchilov and Hutter on one number, with their η in place of the rate and their λ of the decay."""
    weight, first, second, decay = torch.tensor([0.7], dtype=torch.float64, requires_grad=True), 0.8, 0.95, 0.1
    optimizer = AdamW([weight], betas=(first, second), epsilon=1e-3, weight_decay=decay)
    theta, mean, square = 0.7, 0.0, 0.0
    for t, (rate, gradient) in enumerate([(0.1, 2.0), (0.2, -1.0), (0.05, 0.5)], start=1):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step(rate)
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient**2
        corrected, spread = mean / (1 - first**t), square / (1 - second**t)
        theta -= rate * (corrected / (spread**0.5 + 1e-3) + decay * theta)
        assert weight.item() == pytest.approx(theta, rel=1e-13)


@given(rate=st.floats(1e-4, 1), decay=st.floats(0, 1))
def test_the_decay_of_adamw_is_decoupled(rate, decay):
    """Without a gradient a weight shrinks by rate · decay, whatever its moments would scale it by."""
    weight = torch.tensor([3.0], dtype=torch.float64, requires_grad=True)
    weight.grad = torch.zeros_like(weight)
    AdamW([weight], weight_decay=decay).step(rate)
    assert weight.item() == pytest.approx(3.0 * (1 - rate * decay), rel=1e-14)


@pytest.mark.parametrize("make", BOTH)
def test_a_parameter_without_gradient_stays(make):
    first, second, _ = values = parameters()
    before = second.detach().clone()
    optimizer = make(values, weight_decay=0.1)
    first.sum().backward()
    optimizer.step(0.1)
    assert torch.equal(second.detach(), before)
    optimizer.zero_grad()
    optimizer.step(0.1)
    assert torch.equal(second.detach(), before)


def test_a_parameter_that_gets_its_first_gradient_late_begins_then():
    """As in torch: the correction of its moments counts its own steps."""
    ours, theirs = parameters(), parameters()
    mine, reference = AdamW(ours), torch.optim.AdamW(theirs, lr=0.1, foreach=False)
    for used in (1, 1, 3):
        for values, optimizer in ((ours, mine), (theirs, reference)):
            optimizer.zero_grad()
            sum(value.sin().sum() for value in values[:used]).backward()
        mine.step(0.1)
        reference.step()
    for value, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("make", BOTH)
def test_forgetting_is_a_fresh_start(make):
    used = parameters()
    optimizer = make(used)
    for step in range(3):
        descend(used, optimizer, step)
        optimizer.step(0.1)
    optimizer.forget()
    others = [value.detach().clone().requires_grad_() for value in used]
    fresh = make(others)
    for values, one in ((used, optimizer), (others, fresh)):
        descend(values, one, 5)
        one.step(0.1)
    assert all(map(torch.equal, used, others))


@pytest.mark.parametrize("make", BOTH)
def test_a_rate_may_be_a_tensor(make):
    numbers, tensors = parameters(), parameters()
    one, other = make(numbers), make(tensors)
    for step, rate in enumerate(RATES):
        descend(numbers, one, step)
        descend(tensors, other, step)
        one.step(rate)
        other.step(torch.tensor(rate, dtype=torch.float64))
    assert all(map(torch.equal, numbers, tensors))


@pytest.mark.parametrize("make", BOTH)
def test_the_state_stays_where_it_is(make):
    values = parameters()
    optimizer = make(values)
    places = [value.data_ptr() for value in optimizer.state().values()]
    descend(values, optimizer, 0)
    optimizer.step(0.1)
    optimizer.forget()
    assert all(not value.any() for value in optimizer.state().values())
    optimizer.restore({name: torch.ones_like(value) for name, value in optimizer.state().items()})
    assert all((value == 1).all() for value in optimizer.state().values())
    assert [value.data_ptr() for value in optimizer.state().values()] == places


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (4, 3, 1, 1), (1, 3, 2, 2)])
def test_gradients_may_be_in_another_order_in_memory(make, shape):
    """The kernels go through memory in order, whatever the strides."""
    generator = torch.Generator().manual_seed(1)
    weight, gradient = torch.randn(2, *shape, generator=generator)
    last = weight.clone(memory_format=torch.channels_last).requires_grad_()
    weight.requires_grad_()
    for value, its_gradient in ((weight, gradient), (last, gradient.contiguous())):
        value.grad = its_gradient.clone()
        make([value]).step(0.1)
    assert torch.equal(weight, last)
    weight.grad = gradient.contiguous(memory_format=torch.channels_last)
    last.grad = gradient
    make([weight, last]).step(0.1)
    assert torch.equal(weight, last)


def test_parameters_with_gaps_in_memory_are_refused():
    with pytest.raises(ValueError, match=r"parameter 1 of shape \(2, 2\) has strides \(4, 2\), with gaps or overlaps"):
        SGD([torch.ones(2), torch.ones(2, 4)[:, ::2]])


def test_parameters_of_several_types_or_devices_are_refused():
    with pytest.raises(ValueError, match=r"are torch.float32 on cpu and torch.float64 on cpu; an optimiser takes"):
        SGD([torch.ones(2), torch.ones(2, dtype=torch.float64)])
    with pytest.raises(ValueError, match=r"are torch.float32 on cpu and torch.float32 on meta"):
        AdamW([torch.ones(2), torch.ones(2, device="meta")])


@pytest.mark.parametrize("make", BOTH)
def test_one_kernel_stands_for_the_update_where_only_kernels_are_counted(make):
    weight = torch.ones(2, device="meta", requires_grad=True)
    weight.grad = torch.ones(2, device="meta")
    counted = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            counted.append(function)
            return function(*args, **(kwargs or {}))

    optimizer = make([weight])
    with Count():
        optimizer.step(0.1)
    assert len(counted) == (1 if make is SGD else 2)  # AdamW counts its steps


@pytest.mark.parametrize("make", BOTH)
def test_from_its_state_another_makes_the_same_steps(make):
    values = parameters()
    optimizer = make(values)
    for step in range(3):
        descend(values, optimizer, step)
        optimizer.step(0.1)
    others = [value.detach().clone().requires_grad_() for value in values]
    other = make(others)
    other.restore({name: value.clone() for name, value in optimizer.state().items()})
    for step in range(3, 5):
        for one, of in ((values, optimizer), (others, other)):
            descend(one, of, step)
            of.step(0.1)
    assert all(map(torch.equal, values, others))


def test_optimizers_by_name():
    sgd = optimizers.build(parameters(), "sgd", momentum=0.5, nesterov=True, weight_decay=0.1)
    assert type(sgd) is SGD and (sgd.momentum, sgd.nesterov, sgd.weight_decay) == (0.5, True, 0.1)
    adamw = optimizers.build(iter(parameters()), "adamw", betas=[0.8, 0.9], epsilon=1e-6, weight_decay=0.2)
    assert type(adamw) is AdamW and len(adamw.parameters) == 3
    assert (tuple(adamw.betas), adamw.epsilon, adamw.weight_decay) == ((0.8, 0.9), 1e-6, 0.2)
    with pytest.raises(ValueError, match="no optimiser 'adam'; there are sgd, adamw"):
        optimizers.build(parameters(), "adam")


def test_training_does_not_import_the_compiler():
    code = (
        "import sys, torch; from lgg.training.optimizers import SGD, AdamW; w = torch.ones(2, requires_grad=True)\n"
        "for o in (SGD([w]), AdamW([w])): w.sum().backward(); o.step(0.1)\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
