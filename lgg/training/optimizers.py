"""Optimisers, each a few lines on top of PyTorch's multi-tensor operations.

The formulas are those of `torch.optim`, whose import loads the compiler and would cost a short job two seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Optimizer(Protocol):
    """The optimiser interface of `lgg.training.fit.fit`; the schedule gives the learning rate of each step."""

    def zero_grad(self) -> None:
        """Drop all gradients."""

    def step(self, rate: float) -> None:
        """Update the parameters that have a gradient, with learning rate `rate`."""

    def forget(self) -> None:
        """Reset the state that earlier steps have left."""

    def state(self) -> dict[str, Tensor]:
        """Return the state, apart from the parameters, that later steps depend on, for a checkpoint."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""


def build(parameters: Iterable[Tensor], name: str, **options: Any) -> Optimizer:
    """Return the optimiser `name`, "sgd" or "adamw", for `parameters`, made with `options`.

    Raises ValueError for another name.
    """
    if name not in _CLASSES:
        raise ValueError(f"there is no optimiser {name!r}; there are {', '.join(_CLASSES)}")
    return _CLASSES[name](parameters, **options)


class _OverParameters:
    """Base class: a list of parameters, some of which may have no gradient in a step."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters = list(parameters)

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def _with_gradients(self) -> tuple[list[int], list[Tensor], list[Tensor]]:
        """Return the indices of the parameters that have a gradient, these parameters, and their gradients."""
        places = [place for place, parameter in enumerate(self.parameters) if parameter.grad is not None]
        parameters = [self.parameters[place] for place in places]
        return places, parameters, [one.grad for one in parameters if one.grad is not None]

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros_like(parameter) for parameter in self.parameters]


class SGD(_OverParameters):
    """SGD with momentum and weight decay on every parameter (the update of `torch.optim.SGD` without dampening).

    With g = gradient + decay · parameter, each step does v ← momentum · v + g and parameter ← parameter − rate · v, in
    Nesterov's form parameter ← parameter − rate · (g + momentum · v).

    Args:
        parameters: the parameters to train.
        momentum: the factor of v in each step.
        nesterov: whether to use Nesterov's form.
        weight_decay: the decay, an L2 penalty.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 5e-4,
    ) -> None:
        super().__init__(parameters)
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.forget()

    def forget(self) -> None:
        self.velocities = self._zeros()

    def state(self) -> dict[str, Tensor]:
        return _numbered("velocity", self.velocities)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        _copy(self.velocities, "velocity", state)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        places, parameters, gradients = self._with_gradients()
        if not places:
            return
        velocities = [self.velocities[place] for place in places]
        if self.weight_decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=self.weight_decay))
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_add_(velocities, gradients)
        if self.nesterov:
            velocities = list(torch._foreach_add(gradients, velocities, alpha=self.momentum))
        torch._foreach_add_(parameters, velocities, alpha=-rate)


class AdamW(_OverParameters):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, Algorithm 2; the update of `torch.optim.AdamW`).

    With a gradient g, step t of a parameter does m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g² and
    parameter ← (1 − rate · decay) · parameter − rate · m̂ / (√v̂ + ε), where m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ).

    Args:
        parameters: the parameters to train.
        betas: β₁ and β₂.
        epsilon: ε.
        weight_decay: on every parameter.

    Raises ValueError for other betas than two numbers from 0 to below 1.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        betas: Sequence[float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers from 0 to below 1, not {betas}")
        super().__init__(parameters)
        self.betas = tuple(betas)
        self.epsilon = epsilon
        self.weight_decay = weight_decay
        self.forget()

    def forget(self) -> None:
        self.means, self.squares = self._zeros(), self._zeros()
        # on the host, so that no step waits for the device; one per parameter, since some may have no gradient in a step
        self.steps = [0] * len(self.parameters)

    def state(self) -> dict[str, Tensor]:
        return {
            **_numbered("mean", self.means),
            **_numbered("square", self.squares),
            "steps": torch.tensor(self.steps, dtype=torch.int64),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        _copy(self.means, "mean", state)
        _copy(self.squares, "square", state)
        self.steps = [int(number) for number in state["steps"].tolist()]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        places, parameters, gradients = self._with_gradients()
        if not places:
            return
        first, second = self.betas
        for place in places:
            self.steps[place] += 1
        means, squares = ([moments[place] for place in places] for moments in (self.means, self.squares))
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        denominators = torch._foreach_sqrt(squares)
        torch._foreach_div_(denominators, [(1 - second ** self.steps[place]) ** 0.5 for place in places])
        torch._foreach_add_(denominators, self.epsilon)
        torch._foreach_mul_(parameters, 1 - rate * self.weight_decay)
        sizes = [-rate / (1 - first ** self.steps[place]) for place in places]
        torch._foreach_addcdiv_(parameters, means, denominators, sizes)


_CLASSES: dict[str, type[SGD] | type[AdamW]] = {"sgd": SGD, "adamw": AdamW}


def _numbered(kind: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"{kind}.{number}": value for number, value in enumerate(tensors)}


def _copy(tensors: Sequence[Tensor], kind: str, state: Mapping[str, Tensor]) -> None:
    for number, value in enumerate(tensors):
        value.copy_(state[f"{kind}.{number}"])
