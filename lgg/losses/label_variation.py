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
)
from lgg.losses._options import Normalization, check_normalization, check_options, normalize_rows
from lgg.losses._signs import SignCheck

Reduction = Literal["mean", "log_mean", "sum"]


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
        normalize_embeddings: True scales each embedding to unit length first. "batch" gives each dimension mean 0 and
            variance 1 over the batch instead, as batch normalisation without scale and shift (`standardize_columns`): in few
            dimensions unit length leaves too little room, in the plane a circle.
        reduction: "mean" divides σ by the number of edges between different classes, each counted in both directions, so
            that the scale of the loss depends neither on the batch size nor on k. With p = 1 it is the mean weight of
            these edges. "log_mean" is the logarithm of that: the same minima, and a gradient that stays as large when all
            weights are small. It needs all edges, since a graph may keep none between classes. "sum" is σ itself.
        attraction: a factor of the mean weight of all edges, within classes included, which is taken off the "mean". It is
            not in the paper. Edges within classes then lower the loss, so that a class attracts its own; the paper's
            objective, 0, only repels others.

    In a batch without edges between classes, such as one of a single class, label variation, or its logarithm, and the
    gradient of it are zero. The graph is computed in at least float32, even inside an autocast region.

    Raises ValueError for an unknown option, a k or power below 1, an α that is not positive, a k with "log_mean", or an
    attraction that is negative or given with another reduction or power than "mean" and 1.
    """

    def __init__(
        self,
        similarity: Similarity = "rbf",
        rbf_scale: float = 2.0,
        k: int | None = None,
        normalize: bool = False,
        self_loops: bool = False,
        power: int = 1,
        normalize_embeddings: Normalization = False,
        reduction: Reduction = "mean",
        attraction: float = 0.0,
    ) -> None:
        super().__init__()
        choices = {"similarity": (similarity, Similarity), "reduction": (reduction, Reduction)}
        check_options(choices, k=k, power=power, rbf_scale=rbf_scale)
        check_normalization(normalize_embeddings)
        if reduction == "log_mean" and k is not None:
            raise ValueError(
                "the logarithm needs edges between classes, of which k neighbours may leave none: use k=None"
            )
        if not attraction >= 0:
            raise ValueError(f"attraction must not be negative, as {attraction} is")
        if attraction and (reduction != "mean" or power != 1):
            raise ValueError('attraction is taken off the mean weight: it needs reduction="mean" and power=1')
        self.similarity: Similarity = similarity
        self.rbf_scale = rbf_scale
        self.k = k
        self.normalize = normalize
        self.self_loops = self_loops
        self.power = power
        self.normalize_embeddings = normalize_embeddings
        self.reduction: Reduction = reduction
        self.attraction = attraction
        self._check_signs = SignCheck()

    def forward(self, embeddings: Tensor, labels: Tensor, num_classes: int | None = None) -> Tensor:
        """Return the loss, a scalar; `embeddings` have shape (B, ...), `labels` are integers (B,), else ValueError.

        If `num_classes` is given, labels must be in 0..num_classes−1, and the loss is computed without synchronising with
        the device. Raises SignedRepresentations (a ValueError) for a cosine graph if the first batch has negative values.
        """
        check_labels(labels, batch_size(embeddings))
        if self.similarity == "cosine":
            self._check_signs(embeddings, "the embedding")
        rows = normalize_rows(embeddings, self.normalize_embeddings)
        weights = similarities_of_layers(
            [rows], similarity=self.similarity, rbf_scale=self.rbf_scale, loops=self.self_loops
        ).squeeze(0)
        edges = None if self.k is None else nearest_neighbours(weights, min(self.k, len(embeddings)))
        adjacency = graphs_on(edges, weights, normalize=self.normalize, self_loops=self.self_loops)
        variation = label_variation(adjacency, labels, power=self.power, num_classes=num_classes)
        differ = labels[:, None] != labels[None, :]
        between = (differ if edges is None else edges & differ).sum()
        # without edges between classes, rounding errors of Lᵖ would remain
        loss = torch.where(between > 0, self._reduced(variation, between), 0.0)
        return loss - self.attraction * _mean_weight(adjacency, edges) if self.attraction else loss

    def _reduced(self, variation: Tensor, between: Tensor) -> Tensor:
        """Return the label variation, reduced; `between` is the number of edges between classes in both directions."""
        if self.reduction == "sum":
            return variation
        mean = variation / between.clamp_min(1)
        # weights so small that their mean is zero have no gradient either
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log() if self.reduction == "log_mean" else mean


def _mean_weight(adjacency: Tensor, edges: Tensor | None) -> Tensor:
    """Return the mean weight of all edges, which are `edges`, or all pairs if that is None; loops do not count."""
    size = len(adjacency)
    pairs = max(size * (size - 1), 1) if edges is None else edges.sum().clamp_min(1)
    return (adjacency.sum() - adjacency.trace()) / pairs
