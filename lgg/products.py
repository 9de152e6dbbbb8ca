"""Products of float32 matrices by oneDNN on the CPU.

PyTorch uses MKL, whose AVX-512 kernels run on Intel processors only. On others oneDNN, which also ships with PyTorch,
takes half the time for square products and a third for thin ones. It is called through the operator that PyTorch's
compiler uses for linear layers. If that is missing, and for other types and devices, PyTorch's own product is used.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _onednn_linear() -> Callable[..., Tensor] | None:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    operator: Callable[..., Tensor] | None = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return operator


_LINEAR = _onednn_linear()


def is_wrapped(x: Tensor) -> bool:
    """Return whether `x` wraps another tensor inside `torch.func.vmap` or `torch.func.grad`."""
    # torch.compile cannot trace this call
    return not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(x)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return the product a b (n, m) of matrices a (n, k) and b (k, m) of the same type, without a gradient."""
    if (
        _LINEAR is None
        or a.dtype != torch.float32
        or a.device.type != "cpu"
        or 0 in (*a.shape, *b.shape)
        or is_wrapped(a)
    ):
        return a.detach() @ b.detach()
    result: Tensor = _LINEAR(_dense(a.detach()), _dense(b.detach()).T, None, "none", [], "")
    return result


def _dense(matrix: Tensor) -> Tensor:
    """Return `matrix` without gaps between rows or columns, which slow oneDNN down a thousandfold."""
    return matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()


def gram(rows: Tensor) -> Tensor:
    """Return the inner products of all pairs of `rows` (n, d), shape (n, n); can be differentiated repeatedly."""
    value: Tensor = _Gram.apply(rows)
    return value


class _Gram(torch.autograd.Function):
    """x xᵀ, with the gradient (G + Gᵀ) x in one product; autograd computes G x + Gᵀ x in two."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor) -> Tensor:
        return product(rows, rows.T)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        both = gradient + gradient.T
        # a gradient that will be differentiated again needs differentiable products
        return both @ rows if torch.is_grad_enabled() else product(both, rows)
