"""The Parseval retraction against the scalar map of singular values and the gradient that it is a step of."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lgg import models
from lgg.losses import parseval, parseval_retract_, parseval_retraction_

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


@pytest.mark.parametrize("shape", [(2, 7), (5, 3), (9, 10), (10, 9), (8, 8)])
def test_blocks_of_the_square_matrix_make_no_difference(shape, monkeypatch):
    monkeypatch.setattr(parseval, "BLOCK", 4)
    weight = weight_of(shape)
    expected = 1.1 * weight - 0.1 * weight @ weight.T @ weight
    torch.testing.assert_close(parseval_retraction_(weight, 0.1), expected, rtol=1e-12, atol=1e-12)


# Accelerators, whose form runs on the CPU too

MIXED = [(4, 2, 3, 3), (3, 7), (4, 2, 3, 3), (7, 3), (6, 2, 1, 1), (3, 7), (2, 9, 1, 1), (4, 2, 3, 3), (5, 5)]


def mixed(scale=1.0, dtype=torch.float64):
    """Weights of several shapes, some of them channels-last."""
    weights = [(scale * weight_of(shape, seed)).to(dtype) for seed, shape in enumerate(MIXED)]
    return [w.contiguous(memory_format=torch.channels_last) if w.dim() == 4 and i else w for i, w in enumerate(weights)]


def as_stored(weights):
    return [w.movedim(1, -1) if w.is_contiguous(memory_format=torch.channels_last) else w for w in weights]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_weights_of_one_shape_changed_at_once_are_those_changed_one_by_one(dtype):
    weights = mixed(0.5, dtype)
    expected = [parseval_retraction_(weight.clone(), 0.2) for weight in weights]
    formats = [weight.stride() for weight in weights]
    parseval._retract_stacked_(as_stored(weights), 0.2, bfloat16=False)
    # sums in another order, and for half precision one rounding of nearly the same numbers
    accuracy = 8 * torch.finfo(dtype).eps
    for weight, one in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight, one, rtol=accuracy, atol=accuracy)
    assert [weight.stride() for weight in weights] == formats


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0])
def test_products_of_bfloat16_change_the_step_by_no_more_than_their_rounding(scale):
    """With rounded weights W + E and a rounded I − WWᵀ = R, to first order the step (I − WWᵀ)W changes by E − EWᵀW − WEᵀW −
    WWᵀE + δR W. With unit roundoff u, spectral norm s and Frobenius norms, ‖E‖ ≤ u‖W‖ and ‖δR‖ ≤ u‖R‖."""
    u, beta = 2.0**-8, 0.2
    before = mixed(scale, torch.float32)
    exact = [weight.double() for weight in before]
    rounded = [weight.clone() for weight in before]
    parseval._retract_stacked_(as_stored(rounded), beta, bfloat16=True)
    for weight, start in zip(rounded, exact, strict=True):
        w = start.flatten(1)
        s, e = torch.linalg.matrix_norm(w, 2), u * w.norm()
        # the smaller of the two square matrices, which differ by columns of zeros and their identity
        rest = torch.eye(min(w.shape), dtype=w.dtype) - (w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w)
        shift = e * (1 + 3 * s**2) + 3 * s * e**2 + e**3
        of_rest = u * (rest.norm() + 2 * s * e + e**2 + e) * (s + e)
        float32 = 2.0**-22 * (1 + s**2) * w.norm()
        error = (weight.double() - parseval_retraction_(start.clone(), beta)).norm()
        assert 0 < error <= beta * (shift + of_rest) + float32


def test_a_step_of_bfloat16_leads_to_weights_that_are_orthonormal_to_its_precision():
    weights = mixed(0.3, torch.float32)
    for _ in range(200):
        parseval._retract_stacked_(as_stored(weights), 0.2, bfloat16=True)
    for weight in weights:
        matrix = weight.double().flatten(1)
        # rounded to orthonormal ones, values are off by at most the norm of the rounding
        u = 2.0**-8 * matrix.norm()
        assert (torch.linalg.svdvals(matrix) - 1).abs().max() <= 2 * u


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_is_the_form_of_accelerators():
    here = mixed(0.5, torch.float32)
    there = torch.nn.ParameterList([weight.to("cuda") for weight in here])
    parseval_retract_(there, 0.2)
    parseval._retract_stacked_(as_stored(here), 0.2, bfloat16=torch.cuda.is_bf16_supported(including_emulation=False))
    for weight, expected in zip(there, here, strict=True):
        # another order of the sums may round I − WWᵀ to a neighbour
        torch.testing.assert_close(weight.detach().cpu(), expected, rtol=0, atol=0.2 * 2.0**-7 * 4)


@pytest.mark.parametrize("shape", [(), (5,)])
def test_weight_that_is_no_matrix_is_refused(shape):
    with pytest.raises(ValueError, match="at least two axes; this one has shape"):
        parseval_retraction_(torch.ones(shape), 0.01)


@pytest.mark.parametrize("beta", [0, -0.1, 0.51, math.nan, math.inf])
def test_beta_out_of_bounds_is_refused(beta):
    with pytest.raises(ValueError, match=f"above 0 and at most 0.5, not {beta}"):
        parseval_retraction_(torch.ones(2, 2), beta)
