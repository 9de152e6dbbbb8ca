"""Products of float32 matrices on the CPU by oneDNN.

PyTorch gives them to MKL, which keeps its AVX-512 kernels for Intel's processors: on others oneDNN, which PyTorch brings
along too, takes half the time for square products and a third for thin ones. It is reached through the operator that
PyTorch's own compiler uses for linear layers; where that is missing, and for other types and devices, these functions
are PyTorch's.
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
    """Return whether `x` is a wrapper of another tensor inside `torch.func.vmap` or `torch.func.grad`."""
    # the question is one that torch.compile cannot trace
    return not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(x)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return a b (n, m) for matrices a (n, k) and b (k, m) of one type, without a gradient."""
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
    """Return `matrix` without gaps between its rows or its columns, with which oneDNN takes a thousand times as long."""
    return matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()


def gram(rows: Tensor) -> Tensor:
    """Return the products of all pairs of `rows` (n, d), shape (n, n), with a gradient that can be taken repeatedly."""
    value: Tensor = _Gram.apply(rows)
    return value


class _Gram(torch.autograd.Function):
    """x xᵀ, whose gradient (G + Gᵀ) x is one product where autograd's, G x + Gᵀ x, are two."""

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
        # a gradient that is to be differentiated again needs products that have one
        return both @ rows if torch.is_grad_enabled() else product(both, rows)
