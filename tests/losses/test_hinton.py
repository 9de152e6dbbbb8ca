"""Hinton's distillation loss compared with the sum that defines it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lgg.losses import HintonDistillation


def logits(size, classes, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(size, classes, dtype=torch.float64, generator=generator)).to(dtype)


def divergence_by_definition(student, teacher, temperature):
    total = 0.0
    for s, t in zip(student.double().numpy(), teacher.double().numpy(), strict=True):
        q = np.exp(s / temperature) / np.exp(s / temperature).sum()
        p = np.exp(t / temperature) / np.exp(t / temperature).sum()
        total += sum(p[c] * math.log(p[c] / q[c]) for c in range(len(p)))
    return total / len(student)


@given(size=st.integers(1, 6), classes=st.integers(1, 7), temperature=st.floats(0.5, 20), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_is_the_divergence_of_softened_probabilities_in_float32(size, classes, temperature, seed):
    student, teacher = (logits(size, classes, s, torch.float32) for s in (seed, seed + 1))
    loss = HintonDistillation(temperature)(student, teacher)
    assert loss.shape == ()
    torch.testing.assert_close(
        loss.double(),
        torch.tensor(divergence_by_definition(student, teacher, temperature)).double(),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("temperature", [0.7, 1.0, 4.0, 20])
def test_float64_logits_keep_their_precision(temperature):
    student, teacher = logits(5, 4, 0), logits(5, 4, 1)
    loss = HintonDistillation(temperature)(student, teacher)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(divergence_by_definition(student, teacher, temperature), rel=1e-11)


def test_is_the_divergence_from_teacher_to_student():
    one, other = logits(5, 4, 0), logits(5, 4, 1)
    forth, back = (HintonDistillation(2.0)(*pair).item() for pair in ((one, other), (other, one)))
    assert abs(forth - back) > 0.01
    assert forth == pytest.approx(divergence_by_definition(one, other, 2.0), rel=1e-5)


def test_is_zero_where_the_logits_differ_by_a_constant_and_positive_elsewhere():
    teacher = logits(5, 4, 0)
    loss = HintonDistillation(3.0)
    assert loss(teacher.clone(), teacher) == 0
    assert loss(teacher + torch.arange(5.0)[:, None], teacher).abs() < 1e-6
    student = teacher.clone()
    student[2, 1] += 0.5
    assert loss(student, teacher) > 1e-4


def test_is_not_multiplied_by_the_square_of_the_temperature():
    student, teacher = logits(5, 4, 0), logits(5, 4, 1)
    scaled = HintonDistillation(4.0)(4 * student, 4 * teacher)
    torch.testing.assert_close(scaled, HintonDistillation(1.0)(student, teacher))


def test_is_the_mean_over_the_batch():
    student, teacher = logits(6, 4, 0), logits(6, 4, 1)
    loss = HintonDistillation(4.0)
    each = torch.stack([loss(student[i : i + 1], teacher[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(loss(student, teacher), each.mean(), rtol=1e-5, atol=0)
    order = [3, 0, 5, 1, 2, 4]
    torch.testing.assert_close(loss(student[order], teacher[order]), loss(student, teacher), rtol=1e-5, atol=0)


def test_gradient_is_the_difference_of_probabilities_and_reaches_the_student_only():
    student, teacher = logits(5, 4, 0).requires_grad_(), logits(5, 4, 1).requires_grad_()
    HintonDistillation(2.5)(student, teacher).backward()
    expected = (torch.softmax(student / 2.5, 1) - torch.softmax(teacher / 2.5, 1)) / (2.5 * 5)
    torch.testing.assert_close(student.grad, expected.detach(), rtol=1e-5, atol=1e-7)
    assert teacher.grad is None


def test_gradient_is_that_of_finite_differences():
    teacher = logits(4, 3, 1)
    assert torch.autograd.gradcheck(lambda s: HintonDistillation(2.0)(s, teacher), (logits(4, 3, 0).requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    student, teacher = (logits(5, 4, seed).to(dtype) for seed in (0, 1))
    loss = HintonDistillation(4.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(student, teacher)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(student.float(), teacher.float()))


def test_extreme_logits_give_finite_values():
    student = torch.tensor([[1e4, -1e4], [0.0, 0.0]], requires_grad=True)
    loss = HintonDistillation(1.0)(student, student.detach().flip(1))
    assert loss.item() == pytest.approx(1e4)
    loss.backward()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan])
def test_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature must be positive, not {temperature}"):
        HintonDistillation(temperature)


def test_logits_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"not \(4, 3\) and \(1, 3\)"):
        HintonDistillation(4.0)(torch.rand(4, 3), torch.rand(1, 3))
