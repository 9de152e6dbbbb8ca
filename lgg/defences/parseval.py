"""Parseval networks (Cisse et al. 2017): near-orthonormal weights, scaled convolutions, averaged residuals."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lgg.defences.base import Defence

if TYPE_CHECKING:
    from torch import nn


class Parseval(Defence):
    """Retracts every weight matrix after each step; the network is built with the matching architecture.

    So its class must take the argument `parseval`, as `lgg.models.preact_resnet.PreActResNet18` does; `lgg.models.build`
    refuses others.

    Args:
        beta: β of `lgg.losses.parseval_retraction_`.
    """

    architecture: Mapping[str, Any] = {"parseval": True}

    def __init__(self, beta: float = 0.01) -> None:
        self.beta = beta

    def after_step(self, model: "nn.Module") -> None:
        from lgg.losses.parseval import parseval_retract_

        parseval_retract_(model, beta=self.beta)

    @property
    def sentence(self) -> str:
        return f"Parseval with β = {self.beta:g}"
