"""Label variation of the latent geometry graph of a network's output, as an objective (Section 4.2 of the paper)."""

from typing import Literal

import torch
from torch import Tensor, nn

from lgg.graph import (
    Similarity,
    batch_size,
    check_labels,
    graphs_on,
    label_variation,
    nearest_neighbours,
    similarities_of_layers,
    unit_rows,
)
from lgg.losses._options import check_options
from lgg.losses._signs import SignCheck

Reduction = Literal["mean", "sum"]


class LabelVariation(nn.Module):
    """Label variation σ = tr(Vᵀ Lᵖ V) of the latent geometry graph of a batch: the similarity of inputs of different classes.

    Args:
        similarity: "rbf" for exp(−α‖xi − xj‖), since outputs can be negative; "rbf_squared" for exp(−α‖xi − xj‖²);
            "cosine" for non-negative outputs, as after a ReLU.
        rbf_scale: α of the two kernels, in inverse units of distance or of squared distance.
        k: number of nearest neighbours of each vertex, not counting itself; None keeps all edges, as does a k that
            exceeds the batch.
        normalize: use D^-1/2 A D^-1/2 in place of A.
        self_loops: with `normalize`, include each input's similarity to itself in its degree.
        power: p.
        normalize_embeddings: scale each embedding to unit length first.
        reduction: "mean" divides σ by the number of edges between different classes, each counted in both directions, so
            that the scale of the loss depends neither on the batch size nor on k. With p = 1 it is the mean weight of
            these edges. "sum" is σ itself.

    In a batch without edges between classes, such as one of a single class, the loss and its gradient are zero. The graph
    is computed in at least float32, even inside an autocast region.

    Raises ValueError for an unknown option, a k or power below 1, or an α that is not positive.
    """

    def __init__(
        self,
        similarity: Similarity = "rbf",
        rbf_scale: float = 2.0,
        k: int | None = None,
        normalize: bool = False,
        self_loops: bool = False,
        power: int = 1,
        normalize_embeddings: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        choices = {"similarity": (similarity, Similarity), "reduction": (reduction, Reduction)}
        check_options(choices, k=k, power=power, rbf_scale=rbf_scale)
        self.similarity: Similarity = similarity
        self.rbf_scale = rbf_scale
        self.k = k
        self.normalize = normalize
        self.self_loops = self_loops
        self.power = power
        self.normalize_embeddings = normalize_embeddings
        self.reduction: Reduction = reduction
        self._check_signs = SignCheck()

    def forward(self, embeddings: Tensor, labels: Tensor, num_classes: int | None = None) -> Tensor:
        """Return the loss, a scalar; `embeddings` have shape (B, ...), `labels` are integers (B,), else ValueError.

        If `num_classes` is given, labels must be in 0..num_classes−1, and the loss is computed without synchronising with
        the device. Raises SignedRepresentations (a ValueError) for a cosine graph if the first batch has negative values.
        """
        check_labels(labels, batch_size(embeddings))
        if self.similarity == "cosine":
            self._check_signs(embeddings, "the embedding")
        rows = unit_rows(embeddings) if self.normalize_embeddings else embeddings
        weights = similarities_of_layers(
            [rows], similarity=self.similarity, rbf_scale=self.rbf_scale, loops=self.self_loops
        ).squeeze(0)
        edges = None if self.k is None else nearest_neighbours(weights, min(self.k, len(embeddings)))
        adjacency = graphs_on(edges, weights, normalize=self.normalize, self_loops=self.self_loops)
        variation = label_variation(adjacency, labels, power=self.power, num_classes=num_classes)
        differ = labels[:, None] != labels[None, :]
        between = (differ if edges is None else edges & differ).sum()
        divisor = between.clamp_min(1) if self.reduction == "mean" else 1
        # without edges between classes, rounding errors of Lᵖ would remain
        return torch.where(between > 0, variation / divisor, 0.0)
