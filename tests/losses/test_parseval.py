"""The Parseval retraction against the scalar map of singular values and the gradient that it is a step of."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lgg import models
from lgg.losses import parseval_retract_, parseval_retraction_

SHAPES = [(3, 7), (7, 3), (5, 5), (1, 4), (4, 1), (4, 2, 3, 3), (6, 2, 1, 1), (8, 3, 2)]


def weight_of(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def with_singular_values(shape, values, seed=0):
    matrix = weight_of(shape, seed).flatten(1)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return (left * torch.tensor(values, dtype=torch.float64) @ right).view(shape)


@given(shape=st.sampled_from(SHAPES), beta=st.sampled_from([1e-4, 0.01, 0.3, 0.5]), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_is_its_definition(shape, beta, seed):
    weight = weight_of(shape, seed)
    rows = weight.flatten(1).tolist()
    gram = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]
    expected = [
        [
            (1 + beta) * rows[i][j] - beta * sum(gram[i][m] * rows[m][j] for m in range(len(rows)))
            for j in range(len(rows[0]))
        ]
        for i in range(len(rows))
    ]
    assert parseval_retraction_(weight, beta) is weight
    torch.testing.assert_close(weight.flatten(1), torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("beta", [0.01, 0.5])
def test_orthonormal_rows_or_columns_are_a_fixed_point(shape, beta):
    small = min(shape[0], math.prod(shape[1:]))
    weight = with_singular_values(shape, [1.0] * small)
    before = weight.clone()
    parseval_retraction_(weight, beta)
    torch.testing.assert_close(weight, before, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (4, 2, 3, 3)])
@pytest.mark.parametrize("beta", [0.01, 0.2, 0.5])
def test_every_singular_value_follows_the_scalar_map(shape, beta):
    values = [1.6, 1.1, 0.7, 0.05]
    weight = with_singular_values(shape, values)
    parseval_retraction_(weight, beta)
    # W = U S Rᵀ gives (1 + β)W − βWWᵀW = U ((1 + β)S − βS³) Rᵀ
    expected = sorted(((1 + beta) * s - beta * s**3 for s in values), reverse=True)
    torch.testing.assert_close(torch.linalg.svdvals(weight.flatten(1)), torch.tensor(expected, dtype=torch.float64))


@given(beta=st.floats(1e-3, 0.5), share=st.floats(0.01, 0.99))
@settings(max_examples=50, deadline=None)
def test_a_singular_value_below_one_grows_and_does_not_pass_it(beta, share):
    weight = torch.tensor([[share, 0.0]], dtype=torch.float64)
    parseval_retraction_(weight, beta)
    assert share < weight[0, 0] <= 1


@given(beta=st.floats(1e-3, 0.5), share=st.floats(0.01, 0.99))
@settings(max_examples=50, deadline=None)
def test_a_singular_value_above_one_shrinks_up_to_the_bound_and_grows_beyond_it(beta, share):
    bound = math.sqrt((2 + beta) / beta)
    inside, outside = 1 + share * (bound - 1), bound * (1 + share)
    weight = torch.tensor([[inside]], dtype=torch.float64)
    assert parseval_retraction_(weight, beta).abs() < inside
    weight = torch.tensor([[outside]], dtype=torch.float64)
    assert parseval_retraction_(weight, beta).abs() > outside


@pytest.mark.parametrize("shape", [(3, 6), (6, 3), (3, 2, 2, 2)])
def test_repeated_it_makes_the_smaller_side_orthonormal(shape):
    weight = with_singular_values(shape, [1.8, 0.9, 0.1])
    for _ in range(200):
        parseval_retraction_(weight, 0.1)
    values = torch.linalg.svdvals(weight.flatten(1))
    torch.testing.assert_close(values, torch.ones_like(values))


def test_is_a_step_down_the_gradient_of_the_distance_to_orthonormal_rows():
    weight, beta, h = weight_of((3, 5)), 0.07, 1e-6
    identity = torch.eye(3, dtype=torch.float64)

    def penalty(w):
        return beta / 4 * (w @ w.T - identity).square().sum().item()

    expected = weight.clone()
    for i in range(3):
        for j in range(5):
            shift = torch.zeros_like(weight)
            shift[i, j] = h
            expected[i, j] -= (penalty(weight + shift) - penalty(weight - shift)) / (2 * h)
    parseval_retraction_(weight, beta)
    # central differences: h² times the third derivative, and rounding over h
    torch.testing.assert_close(weight, expected, rtol=1e-7, atol=1e-8)


def test_works_in_place_for_every_memory_format():
    plain = weight_of((6, 4, 3, 3))
    last = plain.clone(memory_format=torch.channels_last)
    strided = torch.zeros(6, 4, 3, 6, dtype=torch.float64)[..., ::2].copy_(plain)
    transposed = plain.transpose(0, 1).contiguous().transpose(0, 1)
    parseval_retraction_(plain, 0.01)
    for weight in (last, strided, transposed):
        strides, address = weight.stride(), weight.data_ptr()
        parseval_retraction_(weight, 0.01)
        torch.testing.assert_close(weight, plain)
        assert (weight.stride(), weight.data_ptr()) == (strides, address)


def test_parameters_are_changed_outside_the_graph():
    layer = torch.nn.Linear(4, 3)
    before = layer.weight.detach().clone()
    parseval_retraction_(layer.weight, 0.1)
    assert layer.weight.requires_grad
    assert layer.weight.is_leaf
    assert layer.weight.grad is None
    assert not torch.equal(layer.weight, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_and_autocast_are_computed_in_float32(dtype):
    weight = weight_of((5, 8), dtype=dtype)
    expected = parseval_retraction_(weight.float(), 0.1).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parseval_retraction_(weight, 0.1)
    assert weight.dtype == dtype
    assert torch.equal(weight, expected)


def test_all_weights_of_a_network_are_retracted_and_nothing_else():
    model = models.build("preact_resnet18", num_classes=3, base_width=2, parseval=True, bottleneck=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert parseval_retract_(model, 0.05) is None
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    matrices = {name for name, parameter in model.named_parameters() if parameter.dim() > 1}
    assert changed == matrices
    # 17 convolutions, 3 shortcuts, the bottleneck and the classifier
    assert len(matrices) == 22
    assert {"conv.weight", "blocks.2.shortcut.weight", "bottleneck.weight", "classifier.weight"} <= matrices
    for name in matrices:
        torch.testing.assert_close(model.state_dict()[name], parseval_retraction_(before[name], 0.05))


@pytest.mark.parametrize("shape", [(), (5,)])
def test_weight_that_is_no_matrix_is_refused(shape):
    with pytest.raises(ValueError, match="at least two axes; this one has shape"):
        parseval_retraction_(torch.ones(shape), 0.01)


@pytest.mark.parametrize("beta", [0, -0.1, 0.51, math.nan, math.inf])
def test_beta_out_of_bounds_is_refused(beta):
    with pytest.raises(ValueError, match=f"above 0 and at most 0.5, not {beta}"):
        parseval_retraction_(torch.ones(2, 2), beta)
