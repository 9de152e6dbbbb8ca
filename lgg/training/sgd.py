"""Stochastic gradient descent, a few lines over torch's multi-tensor operations.

`torch.optim` imports the compiler's machinery when an optimiser is made, which costs a short job two seconds. Its
formulas are the same.
"""

from collections.abc import Iterable

import torch
from torch import Tensor


class SGD:
    """SGD with momentum and weight decay on every parameter (the update of `torch.optim.SGD` without dampening).

    With g = gradient + decay · parameter, each step does v ← momentum · v + g and parameter ← parameter − rate · v, in
    Nesterov's form parameter ← parameter − rate · (g + momentum · v).

    Args:
        parameters: what is trained.
        momentum, nesterov, weight_decay: of the update.
    """

    def __init__(
        self, parameters: Iterable[Tensor], *, momentum: float, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        self.parameters = list(parameters)
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.forget()

    def forget(self) -> None:
        """Set the momentum to zero, as in a fresh optimiser."""
        self.velocities = [torch.zeros_like(parameter) for parameter in self.parameters]

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the parameters that have a gradient, with learning rate `rate`."""
        present = [
            (parameter, parameter.grad, velocity)
            for parameter, velocity in zip(self.parameters, self.velocities, strict=True)
            if parameter.grad is not None
        ]
        if not present:
            return
        parameters, gradients, velocities = (list(column) for column in zip(*present, strict=True))
        if self.weight_decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=self.weight_decay))
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_add_(velocities, gradients)
        if self.nesterov:
            velocities = list(torch._foreach_add(gradients, velocities, alpha=self.momentum))
        torch._foreach_add_(parameters, velocities, alpha=-rate)
