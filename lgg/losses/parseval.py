"""The retraction of Parseval networks, which keeps weight matrices near orthonormal (Cisse et al. 2017)."""

import torch
from torch import Tensor, nn

from lgg.graph import at_least_float32
from lgg.products import product


@torch.no_grad()
def parseval_retraction_(weight: Tensor, beta: float) -> Tensor:
    """Change W into (1 + β)W − βWWᵀW in place and return it: a step down the gradient of β/4 ‖WWᵀ − I‖².

    Every singular value s becomes (1 + β)s − βs³. Values in (0, 1] grow towards 1 and never exceed it; values above
    √((2 + β)/β), 14.2 for β = 0.01, diverge, so weights must not start that large.

    Args:
        weight: (out, ...), taken as a matrix with one row per output, in any memory format; its products are computed in at
            least float32.
        beta: β, above 0 and at most 1/2; a larger one would push singular values above 1.

    Raises ValueError for a weight of fewer than two axes or another β.
    """
    if weight.dim() < 2:
        raise ValueError(f"a weight matrix has at least two axes; this one has shape {tuple(weight.shape)}")
    if not 0 < beta <= 0.5:
        raise ValueError(f"beta is the β of the Parseval retraction: above 0 and at most 0.5, not {beta}")
    # the order of W's columns makes no difference; in that of memory nothing is copied, with channels last either
    stored = weight.movedim(1, -1) if weight.is_contiguous(memory_format=torch.channels_last) else weight
    matrix = at_least_float32(stored.flatten(1))
    wide = matrix.shape[0] <= matrix.shape[1]
    with torch.autocast(weight.device.type, enabled=False):
        # (WWᵀ)W or W(WᵀW), whichever has the smaller square matrix
        cubic = product(product(matrix, matrix.T), matrix) if wide else product(matrix, product(matrix.T, matrix))
    stored.copy_(matrix.lerp(cubic, -beta).view(stored.shape))
    return weight


def parseval_retract_(model: nn.Module, beta: float) -> None:
    """Apply `parseval_retraction_` to every parameter of `model` with more than one axis, the classifier's included."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parseval_retraction_(parameter, beta)
