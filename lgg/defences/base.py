"""What a defence can do to a network and its training.

Defences are made where tables are written too, so these modules import PyTorch only in the hooks that need it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lgg.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Outputs:
    """What a network made of a batch.

    Attributes:
        model: the network.
        images: those trained on, (B, 3, H, W).
        labels: their classes, (B,).
        logits: (B, C).
        representations: all that the network names in `layers`, each (B, ...).
    """

    model: "nn.Module"
    images: "Tensor"
    labels: "Tensor"
    logits: "Tensor"
    representations: Sequence["Tensor"]


@dataclass(frozen=True)
class Term:
    """What a defence adds to the loss: `weight` times `value`.

    Attributes:
        name: of its column in the history.
        value: the unweighted term, a scalar.
        weight: its factor.
    """

    name: str
    value: "Tensor"
    weight: float


class Defence:
    """A defence. Subclasses override the hooks that they need; those that they leave out cost nothing.

    Whatever is drawn at random comes from torch's own generator on the CPU, whose state checkpoints hold, so that
    training resumes to the same bits.
    """

    #: the arguments that the network is built with, on top of its own; of the class or of the instance
    architecture: Mapping[str, Any] = {}

    def inputs(self, model: "nn.Module", images: "Tensor", labels: "Tensor") -> "Tensor | None":
        """Return the images (B, 3, H, W) to train on in place of `images`, None for these; the next defence gets them.

        The mode of `model`, its gradients and its buffers must be left as they are.
        """

    def term(self, outputs: Outputs) -> Term | None:
        """Return a term to add to the loss, None for nothing."""

    def after_step(self, model: "nn.Module") -> None:
        """Change the weights after a step of the optimiser."""

    @property
    def sentence(self) -> str:
        """How Table 3's legend describes it: a phrase with its constants, without a full stop."""
        return type(self).__name__


def overrides(defence: Defence, hook: str) -> bool:
    """Return whether the class of `defence` has a `hook` of its own."""
    return getattr(type(defence), hook) is not getattr(Defence, hook)


def architecture_of(defences: Iterable[Defence]) -> dict[str, Any]:
    """Return the arguments that `defences` set of a network; ConfigError where two set one differently."""
    merged: dict[str, Any] = {}
    for defence in defences:
        for key, value in defence.architecture.items():
            if merged.setdefault(key, value) != value:
                raise ConfigError(
                    f"two defences build the network differently: {key} = {merged[key]!r}, but {value!r} for "
                    f"{type(defence).__name__}. Use one of them."
                )
    return merged
