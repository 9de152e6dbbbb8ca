import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lgg import products
from lgg.products import gram, product

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


@given(SIZES, SIZES, st.integers(0, 99))
def test_gram_contains_the_products_of_all_pairs(n: int, d: int, seed: int) -> None:
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(gram(rows), rows @ rows.T)


def test_the_gradient_of_gram_is_right_and_differentiable() -> None:
    rows = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gram, (rows,))
    assert torch.autograd.gradgradcheck(gram, (rows,))


def test_the_gradient_of_gram_in_float32_is_autograd_s() -> None:
    rows = torch.randn(7, 50, requires_grad=True)
    weights = torch.randn(7, 7)
    (found,) = torch.autograd.grad((gram(rows) * weights).sum(), rows)
    (expected,) = torch.autograd.grad((rows @ rows.T * weights).sum(), rows)
    torch.testing.assert_close(found, expected)
