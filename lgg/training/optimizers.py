"""Optimisers, each a few lines on top of PyTorch's fused kernels, which update all parameters in one launch.

The formulas are those of `torch.optim`, whose import loads the compiler and would cost a short job two seconds. States are
changed in place and rates may be tensors, so that a step can be replayed as a CUDA graph.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Optimizer(Protocol):
    """The optimiser interface of `lgg.training.fit.fit`; the schedule gives the learning rate of each step."""

    def zero_grad(self) -> None:
        """Drop all gradients."""

    def step(self, rate: float | Tensor) -> None:
        """Update the parameters that have a gradient, with learning rate `rate`, in `fit` a tensor () on their device.

        Must change its state in place and read no value on the host.
        """

    def forget(self) -> None:
        """Reset, in place, the state that earlier steps have left."""

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
    """Base class: a list of parameters, some of which may have no gradient in a step.

    Args:
        parameters: the parameters to train.
        weight_decay: of all, or of some.
        decay_norms: whether also of parameters of one dimension, which are biases and the scales of normalisations.

    Raises ValueError for what the kernels would update wrongly: parameters of several types or devices, or one with gaps or
    overlaps in memory.
    """

    def __init__(self, parameters: Iterable[Tensor], weight_decay: float, decay_norms: bool) -> None:
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.decay_norms = decay_norms
        kinds = {f"{parameter.dtype} on {parameter.device}" for parameter in self.parameters}
        if len(kinds) > 1:
            raise ValueError(
                f"the parameters are {' and '.join(sorted(kinds))}; an optimiser takes those of one type and device: move the "
                "network with `to`, or keep weights in float32 and compute in bfloat16 by `precision`"
            )
        for place, parameter in enumerate(self.parameters):
            if not _alike(parameter, torch.empty_like(parameter)):
                raise ValueError(
                    f"parameter {place} of shape {tuple(parameter.shape)} has strides {parameter.stride()}, with gaps or "
                    "overlaps in memory; give the optimiser a copy made by `clone().contiguous()`"
                )

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def _with_gradients(self) -> Iterator[tuple[float, list[int], list[Tensor], list[Tensor]]]:
        """Yield a weight decay, the indices of the parameters with it that have a gradient, these, and their gradients."""
        with_gradient = [place for place, parameter in enumerate(self.parameters) if parameter.grad is not None]
        for decay, places in self._by_decay(with_gradient):
            parameters = [self.parameters[place] for place in places]
            if parameters:
                gradients = [_aligned(one.grad, one) for one in parameters if one.grad is not None]
                yield decay, places, parameters, gradients

    def _by_decay(self, places: list[int]) -> list[tuple[float, list[int]]]:
        if self.decay_norms:
            return [(self.weight_decay, places)]
        single = [self.parameters[place].ndim <= 1 for place in places]
        return [
            (self.weight_decay, [place for place, alone in zip(places, single, strict=True) if not alone]),
            (0.0, [place for place, alone in zip(places, single, strict=True) if alone]),
        ]

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
        decay_norms: whether it is also of biases and of the scales of normalisations, the parameters of one dimension.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 5e-4,
        decay_norms: bool = True,
    ) -> None:
        super().__init__(parameters, weight_decay, decay_norms)
        self.momentum = momentum
        self.nesterov = nesterov
        self.velocities = self._zeros()

    def forget(self) -> None:
        torch._foreach_zero_(self.velocities)

    def state(self) -> dict[str, Tensor]:
        return _numbered("velocity", self.velocities)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        _copy(self.velocities, "velocity", state)

    @torch.no_grad()
    def step(self, rate: float | Tensor) -> None:
        for decay, places, parameters, gradients in self._with_gradients():
            if parameters[0].is_meta:
                _stand_in(parameters)
                continue
            torch._fused_sgd_(
                parameters,
                gradients,
                [self.velocities[place] for place in places] if self.momentum else [],
                weight_decay=decay,
                momentum=self.momentum,
                lr=rate,
                dampening=0.0,
                nesterov=self.nesterov,
                maximize=False,
                # velocities start at zero, which gives those of a first step
                is_first_step=False,
            )


class AdamW(_OverParameters):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, Algorithm 2; the update of `torch.optim.AdamW`).

    With a gradient g, step t of a parameter does m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g² and
    parameter ← (1 − rate · decay) · parameter − rate · m̂ / (√v̂ + ε), where m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ).

    Args:
        parameters: the parameters to train.
        betas: β₁ and β₂.
        epsilon: ε.
        weight_decay: on every parameter.
        decay_norms: False for none on biases and on the scales of normalisations, the parameters of one dimension.

    Raises ValueError for other betas than two numbers from 0 to below 1.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        betas: Sequence[float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        decay_norms: bool = True,
    ) -> None:
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers from 0 to below 1, not {betas}")
        super().__init__(parameters, weight_decay, decay_norms)
        self.betas = tuple(betas)
        self.epsilon = epsilon
        self.means, self.squares = self._zeros(), self._zeros()
        # one per parameter, since some may have no gradient in a step; float32, which counts to 16 million
        self.steps = [torch.zeros((), device=parameter.device) for parameter in self.parameters]

    def forget(self) -> None:
        torch._foreach_zero_([*self.means, *self.squares, *self.steps])

    def state(self) -> dict[str, Tensor]:
        return {
            **_numbered("mean", self.means),
            **_numbered("square", self.squares),
            **_numbered("steps", self.steps),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        _copy(self.means, "mean", state)
        _copy(self.squares, "square", state)
        _copy(self.steps, "steps", state)

    @torch.no_grad()
    def step(self, rate: float | Tensor) -> None:
        for decay, places, parameters, gradients in self._with_gradients():
            steps = [self.steps[place] for place in places]
            torch._foreach_add_(steps, 1.0)
            if parameters[0].is_meta:
                _stand_in(parameters)
                continue
            torch._fused_adamw_(
                parameters,
                gradients,
                [self.means[place] for place in places],
                [self.squares[place] for place in places],
                [],
                steps,
                lr=rate,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=decay,
                eps=self.epsilon,
                amsgrad=False,
                maximize=False,
            )


_CLASSES: dict[str, type[SGD] | type[AdamW]] = {"sgd": SGD, "adamw": AdamW}


def _numbered(kind: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"{kind}.{number}": value for number, value in enumerate(tensors)}


def _copy(tensors: Sequence[Tensor], kind: str, state: Mapping[str, Tensor]) -> None:
    for number, value in enumerate(tensors):
        value.copy_(state[f"{kind}.{number}"])


def _alike(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors of one shape have their values in the same order in memory."""
    strides = zip(one.shape, one.stride(), other.stride(), strict=True)
    return all(size <= 1 or mine == others for size, mine, others in strides)


def _aligned(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Return a gradient with the strides of its parameter, which the kernels rely on; autograd's nearly always has them."""
    if gradient.stride() == parameter.stride():
        return gradient
    if _alike(gradient, parameter):
        return gradient.as_strided(parameter.shape, parameter.stride())
    return torch.empty_like(parameter).copy_(gradient)


def _stand_in(parameters: list[Tensor]) -> None:
    """Launch one kernel in place of the fused one, which PyTorch does not have on `meta`, where only kernels are counted."""
    torch._foreach_add_(parameters, 0.0)
