"""Relational distillation by distances compared with the double loop that defines it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lgg.losses import RelationalDistillation

SHAPES = [((3, 2, 2), (4, 2, 2)), ((5,), (8,))]


def layers(size, seed, of_teacher=False, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.rand(size, *pair[of_teacher], dtype=torch.float64, generator=generator) + 0.01).to(dtype)
        for pair in SHAPES
    ]


def relative_distances_by_definition(x):
    rows = x.flatten(1).tolist()
    distances = {(i, j): math.dist(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j}
    mean = sum(distances.values()) / len(distances)
    return {pair: distance / mean for pair, distance in distances.items()}


def loss_by_definition(student, teacher):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        of_student, of_teacher = relative_distances_by_definition(s), relative_distances_by_definition(t)
        differences = [abs(of_student[pair] - of_teacher[pair]) for pair in of_student]
        total += sum(0.5 * d**2 if d < 1 else d - 0.5 for d in differences) / len(differences)
    return total / len(student)


@given(size=st.integers(2, 9), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_is_the_smooth_difference_of_relative_distances_over_distinct_pairs(size, seed):
    student, teacher = layers(size, seed), layers(size, seed + 1, of_teacher=True)
    value = RelationalDistillation()(student, teacher)
    assert value.shape == ()
    assert value.item() == pytest.approx(loss_by_definition(student, teacher), rel=1e-9, abs=1e-13)


def test_large_differences_count_linearly():
    # one distant input gives differences above 1, where the smooth L1 loss is linear
    student, teacher = layers(6, 0), layers(6, 1, of_teacher=True)
    student[1][0] *= 50
    of_student, of_teacher = relative_distances_by_definition(student[1]), relative_distances_by_definition(teacher[1])
    assert max(abs(of_student[pair] - of_teacher[pair]) for pair in of_student) > 1.5
    assert RelationalDistillation()(student, teacher).item() == pytest.approx(loss_by_definition(student, teacher))


def test_is_the_mean_over_the_layers():
    student, teacher = layers(6, 0), layers(6, 1, of_teacher=True)
    loss = RelationalDistillation()
    each = [loss([s], [t]).item() for s, t in zip(student, teacher, strict=True)]
    assert each[0] != pytest.approx(each[1])
    assert loss(student, teacher).item() == pytest.approx(sum(each) / 2)


def test_is_zero_where_the_distances_are_proportional_and_positive_elsewhere():
    teacher = layers(6, 0)
    moved = [7.0 * t + 3.0 for t in teacher]
    loss = RelationalDistillation()
    assert loss(moved, teacher).item() < 1e-25
    moved[0][2, 0] += 1.0
    assert loss(moved, teacher).item() > 1e-6


@pytest.mark.parametrize("moved", ["student", "teacher"])
def test_scale_translation_and_rotation_do_not_matter(moved):
    student, teacher = [layers(7, 0)[1]], [layers(7, 1, of_teacher=True)[1]]
    loss = RelationalDistillation()
    expected = loss(student, teacher).item()
    x = {"student": student, "teacher": teacher}[moved]
    rotation = torch.linalg.qr(torch.randn(2 * [x[0].shape[1]], generator=torch.Generator().manual_seed(2))).Q.double()
    x[0] = 0.03 * (x[0] @ rotation) - torch.arange(x[0].shape[1])
    assert expected > 1e-3
    # the rotation is orthogonal only to float32 precision
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_order_of_the_batch_does_not_matter():
    student, teacher = layers(6, 0), layers(6, 1, of_teacher=True)
    order = [3, 0, 5, 1, 2, 4]
    loss = RelationalDistillation()
    permuted = loss([s[order] for s in student], [t[order] for t in teacher])
    assert permuted.item() == pytest.approx(loss(student, teacher).item())
    assert loss([s[order] for s in student], teacher).item() != pytest.approx(permuted.item())


def test_gradient_reaches_the_student_only():
    student = [s.requires_grad_() for s in layers(5, 0)]
    teacher = [t.requires_grad_() for t in layers(5, 1, of_teacher=True)]
    RelationalDistillation()(student, teacher).backward()
    assert all((s.grad != 0).any() for s in student)
    assert all(t.grad is None for t in teacher)


def test_gradient_is_that_of_finite_differences():
    teacher = layers(4, 1, of_teacher=True)
    student = [s.requires_grad_() for s in layers(4, 0)]
    assert torch.autograd.gradcheck(lambda *s: RelationalDistillation()(s, teacher), student)


@pytest.mark.parametrize("most", [0, 9], ids=["products", "both"])
def test_is_its_definition_however_distances_are_computed(most, monkeypatch):
    monkeypatch.setattr("lgg.graph.MOST_DIMENSIONS_SUBTRACTED", most)
    student, teacher = layers(6, 0), layers(6, 1, of_teacher=True)
    value = RelationalDistillation()(student, teacher)
    assert value.item() == pytest.approx(loss_by_definition(student, teacher), rel=1e-9)
    leaves = [s.requires_grad_() for s in student]
    assert torch.autograd.gradcheck(lambda *s: RelationalDistillation()(s, teacher), leaves)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identical_and_zero_inputs_give_finite_gradients(dtype):
    teacher = layers(6, 1, of_teacher=True, dtype=dtype)
    some, all_equal, zero = layers(6, 0, dtype=dtype), layers(6, 0, dtype=dtype), layers(6, 0, dtype=dtype)
    for x in some:
        x[1] = x[0]
        x[3:5] = 0
    all_equal = [x[:1].expand_as(x).clone() for x in all_equal]
    zero = [torch.zeros_like(x) for x in zero]
    for student in (some, all_equal, zero):
        leaves = [s.requires_grad_() for s in student]
        value = RelationalDistillation()(leaves, teacher)
        assert value.isfinite()
        value.backward()
        assert all(s.grad.isfinite().all() for s in leaves)


def test_identical_inputs_are_all_at_distance_zero():
    # only the teacher's relative distances remain, equal to 1 for a single pair
    student, teacher = [torch.ones(2, 3, dtype=torch.float64)], [torch.eye(2, 3, dtype=torch.float64)]
    assert RelationalDistillation()(student, teacher).item() == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_and_autocast_are_computed_in_float32(dtype):
    student, teacher = layers(8, 0, dtype=dtype), layers(8, 1, of_teacher=True, dtype=dtype)
    loss = RelationalDistillation()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(student, teacher)
    assert value.dtype == torch.float32
    expected = loss([s.float() for s in student], [t.float() for t in teacher])
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)


def test_single_tensor_is_refused():
    x = torch.rand(4, 4)
    for student, teacher in ((x, [x]), ([x], x)):
        with pytest.raises(ValueError, match="put a single tensor in a list"):
            RelationalDistillation()(student, teacher)


def test_different_numbers_of_layers_are_refused():
    for student, teacher in (([], []), (layers(4, 0), layers(4, 0)[:1])):
        with pytest.raises(ValueError, match=f"at least one, not {len(student)} and {len(teacher)}"):
            RelationalDistillation()(student, teacher)


def test_batches_of_different_sizes_are_refused():
    student, teacher = layers(4, 0), layers(4, 0)
    student[1] = student[1][:3]
    with pytest.raises(ValueError, match="layer 1: the student's batch has 3 inputs, the teacher's 4"):
        RelationalDistillation()(student, teacher)


def test_layers_of_different_batches_are_refused():
    with pytest.raises(
        ValueError, match="layer 1 has a batch of 3 inputs, layer 0 of 4; all layers must be of one batch"
    ):
        RelationalDistillation()([torch.ones(4, 2), torch.ones(3, 2)], [torch.ones(4, 2), torch.ones(3, 2)])
