import subprocess
import sys

import pytest
import torch

from lgg.training.sgd import SGD


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in ((3, 2), (4,), ())
    ]


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_steps_are_those_of_torch(momentum, nesterov, weight_decay):
    ours, theirs = parameters(), parameters()
    mine = SGD(ours, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    reference = torch.optim.SGD(theirs, lr=0.1, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    for step, rate in enumerate([0.1, 0.3, 0.0, 0.05]):
        reference.param_groups[0]["lr"] = rate
        for network, optimizer in ((ours, mine), (theirs, reference)):
            optimizer.zero_grad()
            sum((value * (step + 1)).sin().sum() for value in network).backward()
        mine.step(rate)
        reference.step()
        for value, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-13, atol=0)


def test_a_parameter_without_gradient_stays():
    first, second, _ = values = parameters()
    before = second.detach().clone()
    optimizer = SGD(values, momentum=0.9, weight_decay=0.1)
    first.sum().backward()
    optimizer.step(0.1)
    assert torch.equal(second.detach(), before)
    optimizer.zero_grad()
    optimizer.step(0.1)


def test_forgetting_is_a_fresh_start():
    values = parameters()
    optimizer = SGD(values, momentum=0.9)
    sum(value.square().sum() for value in values).backward()
    optimizer.step(0.1)
    optimizer.forget()
    assert all(velocity.count_nonzero() == 0 for velocity in optimizer.velocities)


def test_training_does_not_import_the_compiler():
    code = (
        "import sys, torch; from lgg.training.sgd import SGD; w = torch.ones(2, requires_grad=True); "
        "o = SGD([w], momentum=0.9); w.sum().backward(); o.step(0.1); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
