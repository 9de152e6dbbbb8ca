"""The retraction of Parseval networks, which keeps weight matrices near orthonormal (Cisse et al. 2017).

On the CPU the weights are changed one after the other, each in place. On accelerators, where starting an operation costs
more than its arithmetic, all weights of one shape are changed by the same few operations. On CUDA the products are those of
bfloat16 numbers with float32 sums, in training of either precision: weights are rounded to 8 binary digits for the
correction only, so that it leads to weights that are orthonormal to about 2⁻⁸.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lgg.graph import at_least_float32
from lgg.products import product

#: rows of a block of WWᵀ on the CPU: blocks below the diagonal are copies of those above
BLOCK = 128

# with AVX2 alone (on an AMD EPYC), MKL's products of these matrices take 4/5 of oneDNN's time
_product = product if torch.backends.cpu.get_cpu_capability() == "AVX512" else torch.mm


@torch.no_grad()
def parseval_retraction_(weight: Tensor, beta: float) -> Tensor:
    """Change W into (1 + β)W − βWWᵀW in place and return it: a step down the gradient of β/4 ‖WWᵀ − I‖².

    Every singular value s becomes (1 + β)s − βs³. Values in (0, 1] grow towards 1 and never exceed it; values above
    √((2 + β)/β), 14.2 for β = 0.01, diverge, so weights must not start that large.

    Args:
        weight: (out, ...), taken as a matrix with one row per output, in any memory format; its products are computed in at
            least float32, on CUDA from weights rounded to bfloat16.
        beta: β, above 0 and at most 1/2; a larger one would push singular values above 1.

    Raises ValueError for a weight of fewer than two axes or another β.
    """
    if weight.dim() < 2:
        raise ValueError(f"a weight matrix has at least two axes; this one has shape {tuple(weight.shape)}")
    _retract_([weight], beta)
    return weight


@torch.no_grad()
def parseval_retract_(model: nn.Module, beta: float) -> None:
    """Apply `parseval_retraction_` to every parameter of `model` with more than one axis, the classifier's included."""
    _retract_([parameter for parameter in model.parameters() if parameter.dim() > 1], beta)


def _retract_(weights: Sequence[Tensor], beta: float) -> None:
    if not 0 < beta <= 0.5:
        raise ValueError(f"beta is the β of the Parseval retraction: above 0 and at most 0.5, not {beta}")
    by_device: dict[torch.device, list[Tensor]] = defaultdict(list)
    for weight in weights:
        # the order of W's columns makes no difference; in that of memory nothing is copied, with channels last either
        last = weight.is_contiguous(memory_format=torch.channels_last)
        by_device[weight.device].append(weight.movedim(1, -1) if last else weight)
    for device, here in by_device.items():
        with torch.autocast(device.type, enabled=False):
            if device.type == "cpu":
                for weight in here:
                    _retract_one_(weight, beta)
            else:
                _retract_stacked_(here, beta, _rounds(device))


def _retract_one_(weight: Tensor, beta: float) -> None:
    matrix = at_least_float32(weight.flatten(1))
    # (I − WWᵀ)W or W(I − WᵀW), whichever has the smaller square matrix
    wide = matrix.shape[0] <= matrix.shape[1]
    rest = _rest(matrix if wide else matrix.T)
    step = (_product(rest, matrix) if wide else _product(matrix, rest)).view(weight.shape)
    if matrix.dtype == weight.dtype:
        weight.add_(step, alpha=beta)
    else:
        weight.copy_(matrix.view(weight.shape).add(step, alpha=beta))


def _rest(rows: Tensor) -> Tensor:
    """Return I − X Xᵀ of a matrix X (n, d), shape (n, n)."""
    size = len(rows)
    if size <= BLOCK:
        gram = _product(rows, rows.T)
    else:
        gram = rows.new_empty(size, size)
        for start in range(0, size, BLOCK):
            end = start + BLOCK
            gram[start:end, start:] = _product(rows[start:end], rows[start:].T)
            gram[end:, start:end] = gram[start:end, end:].T
    gram.neg_().diagonal().add_(1)
    return gram


def _retract_stacked_(weights: Sequence[Tensor], beta: float, bfloat16: bool) -> None:
    """Change all weights of one shape by the same operations; `bfloat16`: whether to round float32 ones for the products."""
    groups: dict[tuple[torch.Size, torch.dtype], list[Tensor]] = defaultdict(list)
    for weight in weights:
        rounded = bfloat16 and weight.dtype == torch.float32
        dtype = torch.bfloat16 if rounded else torch.promote_types(weight.dtype, torch.float32)
        groups[weight.shape, dtype].append(weight)
    ordered = [weight for group in groups.values() for weight in group]
    stacks = [weights[0].new_empty((len(group), *shape), dtype=dtype) for (shape, dtype), group in groups.items()]
    # one operation, which also rounds
    torch._foreach_copy_([copy for stack in stacks for copy in stack.unbind()], ordered)
    largest = max(min(len(weight), math.prod(weight.shape[1:])) for weight in weights)
    types = {dtype for _, dtype in groups}
    identities = {dtype: torch.eye(largest, dtype=dtype, device=weights[0].device) for dtype in types}
    steps = [step for stack in stacks for step in _steps(stack, identities[stack.dtype]).unbind()]
    torch._foreach_add_(ordered, steps, alpha=beta)


def _steps(stack: Tensor, identity: Tensor) -> Tensor:
    """Return (I − WWᵀ)W of each W in a stack (n, out, ...), given an identity matrix that is large enough."""
    matrices = stack.flatten(2)
    wide = matrices.shape[1] <= matrices.shape[2]
    rows = matrices if wide else matrices.mT
    size = rows.shape[1]
    rest = torch.baddbmm(identity[:size, :size].expand(len(rows), size, size), rows, rows.mT, alpha=-1)
    return _with_float32_sums(*((rest, matrices) if wide else (matrices, rest))).view(stack.shape)


def _with_float32_sums(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of two stacks of matrices, in float32 if they are bfloat16."""
    if a.dtype != torch.bfloat16:
        return torch.bmm(a, b)
    # only CUDA's product can return another type
    return torch.bmm(a.float(), b.float()) if a.device.type == "cpu" else torch.bmm(a, b, out_dtype=torch.float32)


def _rounds(device: torch.device) -> bool:
    """Return whether products on `device`, which is not the CPU, are those of bfloat16; on `meta` as on CUDA."""
    return device.type == "meta" or (device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False))
