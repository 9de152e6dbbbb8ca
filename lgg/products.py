"""Products of float32 matrices by oneDNN on the CPU, and inner products of the rows of several layers.

PyTorch uses MKL, whose AVX-512 kernels run on Intel processors only. On others oneDNN, which also ships with PyTorch,
takes half the time for square products and a third for thin ones. It is called through the operator that PyTorch's
compiler uses for linear layers. If that is missing, and for other types and devices, PyTorch's own product is used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

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


@dataclass(frozen=True)
class Call:
    """One evaluation of a `ClosedForm`: its arguments, the results of ``forward``, and which arguments need a gradient."""

    arguments: Sequence[Any]
    results: Sequence[Tensor]
    needed: Sequence[bool]


class ClosedForm(torch.autograd.Function):
    """A function of tensors whose gradient has a formula of its own, in fewer operations than autograd would take.

    A subclass has three static methods:

    - ``plain(*arguments)`` returns the value in operations that autograd differentiates. It is what `torch.compile` traces and
      `torch.func.vmap` vectorises, and what is differentiated for a gradient that will itself be differentiated;
    - ``forward(*arguments)`` returns the value, followed by tensors that the gradient needs;
    - ``gradients(gradient, call)`` returns the gradients of the first arguments, from that of the value. They are None for
      what is no tensor, and may be None for what needs none.
    """

    plain: ClassVar[Callable[..., Tensor]]
    gradients: ClassVar[Callable[..., Sequence[Tensor | None]]]

    @classmethod
    def of(cls, *arguments: Any) -> Tensor:
        """Return the value."""
        value: Tensor = cls.plain(*arguments) if _is_traced(arguments) else cls.apply(*arguments)[0]
        return value

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.others = [None if isinstance(one, Tensor) else one for one in inputs]
        ctx.places = [place for place, one in enumerate(inputs) if isinstance(one, Tensor)]
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*(inputs[place] for place in ctx.places), *output)

    @classmethod
    def backward(cls, ctx: Any, gradient: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        arguments, saved = list(ctx.others), ctx.saved_tensors
        for place, tensor in zip(ctx.places, saved, strict=False):
            arguments[place] = tensor
        if gradient is None:
            found: Sequence[Tensor | None] = []
        elif torch.is_grad_enabled():
            found = _by_autograd(cls.plain, arguments, gradient)
        else:
            found = cls.gradients(gradient, Call(arguments, saved[len(ctx.places) :], ctx.needs_input_grad))
        return (*found, *[None] * (len(arguments) - len(found)))


def _is_traced(arguments: Sequence[Any]) -> bool:
    return torch.compiler.is_compiling() or any(isinstance(one, Tensor) and is_vectorised(one) for one in arguments)


def is_vectorised(x: Tensor) -> bool:
    """Return whether `x` is one of several inside `torch.func.vmap`."""
    if torch.compiler.is_compiling():  # which cannot trace these calls
        return False
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(x):
        if functorch.is_batchedtensor(x):
            return True
        x = functorch.get_unwrapped(x)
    return False


def _by_autograd(function: Callable[..., Tensor], arguments: Sequence[Any], gradient: Tensor) -> list[Tensor | None]:
    """Return the gradients of `function`, times `gradient`, as tensors that can be differentiated again."""
    wanted = [isinstance(one, Tensor) and one.requires_grad for one in arguments]
    tensors = [one for one, needed in zip(arguments, wanted, strict=True) if needed]
    found = iter(torch.autograd.grad(function(*arguments), tensors, gradient, create_graph=True))
    return [next(found) if needed else None for needed in wanted]


def grams(layers: Sequence[Tensor]) -> Tensor:
    """Return the inner products of all pairs of rows of N matrices (B, d), shape (N, B, B), in at least float32.

    The widths d may differ. The result can be differentiated repeatedly. The gradient of a bfloat16 matrix is computed by
    bfloat16 products with float32 sums.
    """
    return _Grams.of(*layers)


class _Grams(ClosedForm):
    """X Xᵀ of each layer, with the gradients (G + Gᵀ) X in one product each; autograd computes G X + Gᵀ X in two."""

    @staticmethod
    def plain(*layers: Tensor) -> Tensor:
        dtype = sums_type(layers)
        return torch.stack([x.to(dtype) @ x.to(dtype).T for x in layers])

    @staticmethod
    def forward(*layers: Tensor) -> tuple[Tensor]:
        return (inner_products(layers),)

    @staticmethod
    def gradients(gradient: Tensor, call: Call) -> Sequence[Tensor | None]:
        return times_layers(gradient + gradient.mT, call.arguments, call.needed)


def as_type(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return `tensors` in type `dtype`, without a gradient; those of another one are converted by one operation."""
    results = [x if x.dtype == dtype else torch.empty_like(x, dtype=dtype) for x in tensors]
    pairs = [(new, old) for new, old in zip(results, tensors, strict=True) if new is not old]
    if pairs:
        torch._foreach_copy_([new for new, _ in pairs], [old.detach() for _, old in pairs])
    return results


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
    converted = {
        kind: factors.to(kind).unbind() for kind in {kind for kind, one in zip(kinds, wanted, strict=True) if one}
    }
    return [
        product(converted[kind][place], x.to(kind)).to(x.dtype) if one else None
        for place, (x, kind, one) in enumerate(zip(layers, kinds, wanted, strict=True))
    ]
