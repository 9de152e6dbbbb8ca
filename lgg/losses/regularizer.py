"""The label variation regularizer: class boundaries that change little from layer to layer (Section 4.3, Eq. 9)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lgg.graph import (
    Similarity,
    batch_size,
    check_labels,
    cosine_label_variations,
    graphs_of_layers,
    label_variations,
)
from lgg.losses._options import check_options
from lgg.losses._signs import SignCheck, layer_name

Reduction = Literal["mean", "sum"]


class LabelVariationRegularizer(nn.Module):
    """Change |σ(l+1) − σ(l)| of the label variation of latent geometry graphs, mean over consecutive layers.

    Args:
        power: the p of σ = tr(Vᵀ Lᵖ V).
        reduction: over pairs of consecutive layers, "mean" (the published code) or "sum" (the paper's text, Eq. 9).
        k: number of nearest neighbours kept for each vertex (itself not counted); None keeps every edge. In a batch of
            fewer than k inputs every edge is kept.
        normalize: take D^-1/2 A D^-1/2 for A.
        similarity: "cosine" for representations that cannot be negative, as after a ReLU; "rbf" for
            exp(−α‖xi − xj‖/m), m the mean distance of the batch at that layer; "rbf_squared" for the same with squares.
        rbf_scale: α of the two kernels, without unit.

    σ is computed in at least float32, also inside an autocast region. Where two
    consecutive layers have the same label variation their gap has a gradient of zero.

    Raises ValueError for an unknown word, a k or power below 1, or an α that is not positive.
    """

    def __init__(
        self,
        power: int = 2,
        reduction: Reduction = "mean",
        k: int | None = None,
        normalize: bool = False,
        similarity: Similarity = "cosine",
        rbf_scale: float = 2.0,
    ) -> None:
        super().__init__()
        choices = {"reduction": (reduction, Reduction), "similarity": (similarity, Similarity)}
        check_options(choices, k=k, power=power, rbf_scale=rbf_scale)
        self.power = power
        self.reduction: Reduction = reduction
        self.k = k
        self.normalize = normalize
        self.similarity: Similarity = similarity
        self.rbf_scale = rbf_scale
        self._check_signs = SignCheck()

    def forward(self, representations: Sequence[Tensor], labels: Tensor, num_classes: int | None = None) -> Tensor:
        """Return the loss, a scalar; at least two representations (B, ...) in the order of depth, `labels` (B,).

        With `num_classes` given, labels lie in 0..num_classes−1, and nothing waits for the device.

        Raises ValueError where there are fewer, or where a batch and the labels are of different sizes, and
        SignedRepresentations (a ValueError) where a cosine graph meets negative values in the first batch of a layer.
        """
        if any(isinstance(given, Tensor) for given in (representations,)):
            raise ValueError("representations are a list of tensors, one for each layer; put a single tensor in a list")
        if len(representations) < 2:
            raise ValueError(
                f"label variation is compared from layer to layer: at least two are needed, not {len(representations)}"
            )
        for layer, x in enumerate(representations):
            if batch_size(x) != len(labels):
                raise ValueError(f"layer {layer}: the batch has {len(x)} inputs, there are {len(labels)} labels")
            if self.similarity == "cosine":
                self._check_signs(x, layer_name(representations, layer))
        check_labels(labels, len(labels))
        if num_classes is None:
            # once for all layers
            classes, labels = torch.unique(labels, return_inverse=True)
            num_classes = len(classes)
        variations = self._variations(representations, labels, num_classes)
        gaps = variations.diff().abs()
        return gaps.mean() if self.reduction == "mean" else gaps.sum()

    def _variations(self, representations: Sequence[Tensor], labels: Tensor, num_classes: int) -> Tensor:
        if self.k is None and not self.normalize and self.similarity == "cosine":
            return cosine_label_variations(representations, labels, power=self.power, num_classes=num_classes)
        graphs = graphs_of_layers(
            representations,
            k=None if self.k is None else min(self.k, len(labels)),
            normalize=self.normalize,
            similarity=self.similarity,
            rbf_scale=self.rbf_scale,
            relative_distances=True,
        )
        return label_variations(graphs, labels, power=self.power, num_classes=num_classes)


LabelVariationSmoothness = LabelVariationRegularizer  # its earlier name, which programs may use
