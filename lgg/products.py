"""Products of float32 matrices by oneDNN on the CPU, and inner products of the rows of several layers.

PyTorch uses MKL, whose AVX-512 kernels run on Intel processors only. On others oneDNN, which also ships with PyTorch,
takes half the time for square products and a third for thin ones. It is called through the operator that PyTorch's
compiler uses for linear layers. If that is missing, and for other types and devices, PyTorch's own product is used.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def _onednn_linear() -> Callable[..., Tensor] | None:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    operator: Callable[..., Tensor] | None = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return operator


_LINEAR = _onednn_linear()


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return the product a b (n, m) of matrices a (n, k) and b (k, m) of the same type, without a gradient."""
    if _LINEAR is None or a.dtype != torch.float32 or a.device.type != "cpu" or 0 in (*a.shape, *b.shape):
        return a.detach() @ b.detach()
    result: Tensor = _LINEAR(_dense(a.detach()), _dense(b.detach()).T, None, "none", [], "")
    return result


def _dense(matrix: Tensor) -> Tensor:
    """Return `matrix` without gaps between rows or columns, which slow oneDNN down a thousandfold."""
    return matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()


def sums_type(matrices: Sequence[Tensor]) -> torch.dtype:
    """Return the type in which products of `matrices` are summed: float64 if one of them is, else float32."""
    return torch.float64 if any(matrix.dtype == torch.float64 for matrix in matrices) else torch.float32


def grams(layers: Sequence[Tensor]) -> Tensor:
    """Return the inner products of all pairs of rows of N matrices (B, d), shape (N, B, B), in at least float32.

    The widths d may differ. The result can be differentiated repeatedly. The gradient of a bfloat16 matrix is computed by
    bfloat16 products with float32 sums.
    """
    if torch.compiler.is_compiling():
        dtype = sums_type(layers)
        return torch.stack([x.to(dtype) @ x.to(dtype).T for x in layers])
    value: Tensor = _Grams.apply(*layers)
    return value


def inner_products(layers: Sequence[Tensor]) -> Tensor:
    """Return `grams` without a gradient: one product per layer, each written to its place in the result."""
    size = len(layers[0])
    results = layers[0].new_empty(len(layers), size, size, dtype=sums_type(layers))
    for rows, result in zip(layers, results.unbind(), strict=True):
        _write_gram(rows.detach(), result)
    return results


def _write_gram(rows: Tensor, result: Tensor) -> None:
    if rows.device.type == "cpu":
        rows = rows.to(result.dtype)
        result.copy_(product(rows, rows.T))
    elif rows.dtype == torch.bfloat16 and result.dtype == torch.float32 and (rows.is_cuda or rows.is_meta):
        # products of bfloat16 numbers are exact in float32
        torch.mm(rows, rows.T, out_dtype=torch.float32, out=result)
    else:
        rows = rows.to(result.dtype)
        torch.mm(rows, rows.T, out=result)


def times_layers(factors: Tensor, layers: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor | None]:
    """Return the products of N matrices `factors` (N, B, B) and `layers` (B, d), without a gradient; None if not `wanted`.

    A bfloat16 layer is multiplied in bfloat16: that type has float32's range, and rounding the summands loses no more
    digits than rounding their sum. Results have the types of the layers.
    """
    kinds = [x.dtype if x.dtype == torch.bfloat16 else factors.dtype for x in layers]
    # one conversion for all layers
    converted = {kind: factors.to(kind).unbind() for kind in set(kinds)}
    return [
        product(converted[kind][place], x.to(kind)).to(x.dtype) if needed else None
        for place, (x, kind, needed) in enumerate(zip(layers, kinds, wanted, strict=True))
    ]


class _Grams(torch.autograd.Function):
    """X Xᵀ of each layer, with the gradients (G + Gᵀ) X in one product each; autograd computes G X + Gᵀ X in two."""

    @staticmethod
    def forward(*layers: Tensor) -> Tensor:
        return inner_products(layers)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers = ctx.saved_tensors
        both = gradient + gradient.mT
        if torch.is_grad_enabled():
            # a gradient that will be differentiated again needs differentiable products
            return tuple((factor @ x.to(both.dtype)).to(x.dtype) for factor, x in zip(both, layers, strict=True))
        return tuple(times_layers(both, layers, ctx.needs_input_grad))


def gradient_by_autograd(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients of `function` at `inputs`, times `gradient`, as tensors that can be differentiated again.

    For the backward pass of a function with a closed-form gradient, when that gradient will itself be differentiated.
    """
    wanted = [x for x in inputs if x.requires_grad]
    with torch.enable_grad():
        found = iter(torch.autograd.grad(function(*inputs), wanted, gradient, create_graph=True))
    return tuple(next(found) if x.requires_grad else None for x in inputs)
