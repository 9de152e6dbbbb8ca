"""How large a network is: parameters, and operations for one image."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from lgg.models.base import ImageClassifier


def count_parameters(model: ImageClassifier) -> int:
    """Return the number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_operations(model: ImageClassifier, side: int = 32) -> int:
    """Return the multiply-accumulate operations of convolutions and linear layers for one image of `side` pixels."""
    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, side, side, device=device))
    return int(counter.get_total_flops()) // 2
