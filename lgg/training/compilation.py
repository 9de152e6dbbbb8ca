"""Optional compilation of networks by PyTorch, and replay as CUDA graphs."""

from typing import Any, Literal

import torch
from torch import nn

Compilation = Literal["none", "default", "reduce-overhead", "max-autotune"]


def compiled(model: nn.Module, mode: Compilation) -> Any:
    """Return `model` compiled by `torch.compile` in mode `compilation`, sharing its weights; `model` itself for "none".

    "reduce-overhead" and "max-autotune" replay CUDA graphs on a GPU. Shapes are fixed: a smaller last batch is compiled
    separately. Compiled kernels sum in a different order, so results agree with those of "none" up to rounding.
    """
    if mode == "none":
        return model
    return torch.compile(model, mode=mode, dynamic=False)


def begin_step(mode: Compilation) -> None:
    """Mark the beginning of a step, so that CUDA graphs can reuse the memory of the previous step's outputs."""
    if mode != "none":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
