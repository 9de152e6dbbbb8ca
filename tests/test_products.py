import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lgg import products
from lgg.products import grams, product

SIZES = st.integers(1, 9)


def _by_loops(a: Tensor, b: Tensor) -> Tensor:
    """The definition, in double precision."""
    return (a.double()[:, :, None] * b.double()[None, :, :]).sum(dim=1)


def _laid_out(matrix: Tensor, layout: str) -> Tensor:
    """The same values in another memory layout."""
    if layout == "transposed":
        return matrix.T.contiguous().T
    if layout == "with gaps":
        wider = torch.zeros(2 * len(matrix), 2 * matrix.shape[1] + 1)
        wider[::2, 1::2] = matrix
        return wider[::2, 1::2]
    return matrix


LAYOUTS = st.sampled_from(["rows", "transposed", "with gaps"])


@given(SIZES, SIZES, SIZES, LAYOUTS, LAYOUTS, st.integers(0, 99))
def test_the_product_is_that_of_the_definition_in_every_layout(
    n: int, k: int, m: int, layout_a: str, layout_b: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(n, k, generator=generator), torch.randn(k, m, generator=generator)
    found = product(_laid_out(a, layout_a), _laid_out(b, layout_b))
    # float32 rounds each of k terms by at most 2^-23 of its magnitude
    bound = (k + 1) * 2.0**-23 * _by_loops(a.abs(), b.abs())
    assert found.shape == (n, m)
    assert ((found.double() - _by_loops(a, b)).abs() <= bound + 1e-30).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_other_types_use_torch(dtype: torch.dtype) -> None:
    a, b = torch.arange(6).view(2, 3).to(dtype), torch.arange(12).view(3, 4).to(dtype)
    assert product(a, b).dtype == dtype
    assert torch.equal(product(a, b), a @ b)


@pytest.mark.parametrize(("n", "k", "m"), [(0, 3, 2), (2, 0, 3), (2, 3, 0)])
def test_matrices_without_entries(n: int, k: int, m: int) -> None:
    assert torch.equal(product(torch.ones(n, k), torch.ones(k, m)), torch.zeros(n, m))


def test_without_the_operator_torch_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.randn(20, 30), torch.randn(30, 10)
    by_onednn = product(a, b)
    monkeypatch.setattr(products, "_LINEAR", None)
    torch.testing.assert_close(product(a, b), by_onednn)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch is built without oneDNN")
def test_this_torch_has_the_operator() -> None:
    assert products._LINEAR is not None


def test_the_product_has_no_gradient() -> None:
    a = torch.randn(3, 3, requires_grad=True)
    assert not product(a, a).requires_grad


def layers_of(size: int, dtypes: list[torch.dtype]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(size)
    return [torch.randn(size, 3 + 4 * n, generator=generator).to(dtype) for n, dtype in enumerate(dtypes)]


@given(SIZES, st.lists(st.sampled_from([torch.bfloat16, torch.float16, torch.float32, torch.float64]), min_size=1))
def test_grams_contain_the_products_of_all_pairs_of_each_layer_s_rows(size: int, dtypes: list[torch.dtype]) -> None:
    layers = layers_of(size, dtypes)
    found = grams(layers)
    assert found.dtype == (torch.float64 if torch.float64 in dtypes else torch.float32)
    # a layer is not rounded to its own type, so half precision is as accurate as float32
    torch.testing.assert_close(found.double(), torch.stack([_by_loops(x, x.T) for x in layers]), rtol=1e-5, atol=1e-5)


def test_the_gradient_of_grams_is_right_and_differentiable() -> None:
    layers = [x.requires_grad_() for x in layers_of(4, [torch.float64] * 3)]
    assert torch.autograd.gradcheck(lambda *x: grams(x), layers)
    assert torch.autograd.gradgradcheck(lambda *x: grams(x), layers)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # in half precision the factors and the result are rounded; float16 layers are multiplied in float32
    [(torch.float32, 1e-5), (torch.float16, 2 * 2.0**-11), (torch.bfloat16, 2 * 2.0**-8)],
)
def test_the_gradient_of_grams_is_autograd_s_in_the_precision_of_the_layer(
    dtype: torch.dtype, tolerance: float
) -> None:
    layers = [x.requires_grad_() for x in layers_of(7, [dtype, torch.float32])]
    weights = torch.randn(2, 7, 7)
    found = torch.autograd.grad((grams(layers) * weights).sum(), layers)
    exact = [x.detach().double().requires_grad_() for x in layers]
    value = sum((x @ x.T * factor).sum() for x, factor in zip(exact, weights, strict=True))
    expected = torch.autograd.grad(value, exact)
    for x, one, other in zip(layers, found, expected, strict=True):
        assert one.dtype == x.dtype
        assert (one.double() - other).norm() <= tolerance * other.norm()


def test_grams_of_layers_without_a_gradient_need_no_product_for_it() -> None:
    student, teacher = (x.requires_grad_(n == 0) for n, x in enumerate(layers_of(5, [torch.float32] * 2)))
    grams([student, teacher]).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None
