"""The label variation regularizer as a defence (Section 4.3 of the paper, Eq. 9)."""

from functools import cached_property
from typing import TYPE_CHECKING, Literal

from lgg.defences.base import Defence, Outputs, Term

if TYPE_CHECKING:
    from lgg.losses.regularizer import LabelVariationRegularizer


class Regularizer(Defence):
    """L = L_task + γ L_reg.

    Args:
        weight: γ; the published code's is 1e-4 for batches of 100.

    The other arguments are those of `lgg.losses.LabelVariationRegularizer`, which checks them at the first step.
    """

    def __init__(
        self,
        weight: float = 1e-4,
        power: int = 2,
        reduction: Literal["mean", "sum"] = "mean",
        k: int | None = None,
        normalize: bool = False,
        similarity: Literal["cosine", "rbf", "rbf_squared"] = "cosine",
        rbf_scale: float = 2.0,
    ) -> None:
        self.weight = weight
        self.power = power
        self.reduction: Literal["mean", "sum"] = reduction
        self.k = k
        self.normalize = normalize
        self.similarity: Literal["cosine", "rbf", "rbf_squared"] = similarity
        self.rbf_scale = rbf_scale

    @cached_property
    def loss(self) -> "LabelVariationRegularizer":
        """Return the unweighted term."""
        from lgg.losses.regularizer import LabelVariationRegularizer

        return LabelVariationRegularizer(
            self.power, self.reduction, self.k, self.normalize, self.similarity, self.rbf_scale
        )

    def term(self, outputs: Outputs) -> Term:
        value = self.loss(outputs.representations, outputs.labels, num_classes=outputs.logits.shape[1])
        return Term("regularizer", value, self.weight)

    @property
    def sentence(self) -> str:
        parts = [f"regularizer with γ = {self.weight:g}", f"p = {self.power}", f"{self.reduction} over layers"]
        if self.k is not None:
            parts.append(f"{self.k} neighbours")
        if self.normalize:
            parts.append("normalised graphs")
        if self.similarity != "cosine":
            parts.append(f"{self.similarity} kernel with α = {self.rbf_scale:g}")
        return ", ".join(parts)
