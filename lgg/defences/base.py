"""The hooks by which a defence changes a network and its training.

Stages that write tables also construct defences, so these modules import PyTorch only in the hooks that need it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lgg.errors import ConfigError

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


@dataclass(frozen=True)
class Outputs:
    """A forward pass of a network on a batch.

    Attributes:
        model: the network.
        images: the images trained on, (B, 3, H, W).
        labels: their classes, (B,).
        logits: (B, C).
        representations: of all the layers that the network lists in `layers`, each (B, ...); in training a list with these
            names as its own `layers`.
    """

    model: "nn.Module"
    images: "Tensor"
    labels: "Tensor"
    logits: "Tensor"
    representations: Sequence["Tensor"]


@dataclass(frozen=True)
class Term:
    """A term that a defence adds to the loss: `weight` times `value`.

    Attributes:
        name: name of its column in the history.
        value: the unweighted term, a scalar.
        weight: its factor.
    """

    name: str
    value: "Tensor"
    weight: float


class Defence:
    """A defence. Subclasses override the hooks that they need; the others cost nothing.

    Every random number of a hook must come from `generator`, as in ``torch.rand(..., generator=self.generator,
    device=images.device)``: its state is in checkpoints, so that resumed training gives the same bits, and a CUDA graph of a
    step draws new numbers in every replay. For the same reason hooks must not read values of tensors on the host, nor keep
    tensors from one step to the next except by changing them in place.
    """

    #: the training run's, on the device of its images; set by the training loop, None outside of it
    generator: "Generator | None" = None

    #: arguments that the network is built with, in addition to its own; set on the class or the instance
    architecture: Mapping[str, Any] = {}

    def inputs(self, model: "nn.Module", images: "Tensor", labels: "Tensor") -> "Tensor | None":
        """Return images (B, 3, H, W) to train on instead of `images`, or None; the next defence receives them.

        Must not change the mode, gradients or buffers of `model`.
        """

    def term(self, outputs: Outputs) -> Term | None:
        """Return a term to add to the loss, or None."""

    def after_step(self, model: "nn.Module") -> None:
        """Change the weights after an optimiser step."""

    @property
    def sentence(self) -> str:
        """Return its description in Table 3's legend: a phrase with its constants, without a full stop."""
        return type(self).__name__


def overrides(defence: Defence, hook: str) -> bool:
    """Return whether the class of `defence` overrides `hook`."""
    return getattr(type(defence), hook) is not getattr(Defence, hook)


def architecture_of(defences: Iterable[Defence]) -> dict[str, Any]:
    """Return the network arguments that `defences` set; ConfigError if two set one differently."""
    merged: dict[str, Any] = {}
    for defence in defences:
        for key, value in defence.architecture.items():
            if merged.setdefault(key, value) != value:
                raise ConfigError(
                    f"two defences build the network differently: {key} = {merged[key]!r}, but {value!r} for "
                    f"{type(defence).__name__}. Use one of them."
                )
    return merged
