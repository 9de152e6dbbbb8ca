"""Label variation of the latent geometry graph of a network's output, as an objective (Section 4.2 of the paper)."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lgg.graph import (
    Similarity,
    batch_size,
    check_labels,
    graph_of,
    label_variation,
    neighbours,
    similarities,
    unit_rows,
)
from lgg.losses._signs import SignCheck

Reduction = Literal["mean", "sum"]


class LabelVariation(nn.Module):
    """Label variation σ = tr(Vᵀ Lᵖ V) of the latent geometry graph of a batch: how similar inputs of other classes are.

    Args:
        similarity: "rbf" for exp(−α‖xi − xj‖), since outputs can be negative; "rbf_squared" for exp(−α‖xi − xj‖²);
            "cosine" for outputs that cannot be negative, as after a ReLU.
        rbf_scale: the α of the two kernels, in inverse units of distance or of its square.
        k: number of nearest neighbours kept for each vertex (itself not counted); None keeps every edge. In a batch of
            fewer than k inputs every edge is kept.
        normalize: take D^-1/2 A D^-1/2 for A.
        self_loops: with `normalize`, count each input's similarity with itself in its degree.
        power: p.
        normalize_embeddings: scale each embedding to length one first.
        reduction: "mean" divides σ by the number of edges between distinct classes, each counted in both directions, so
            that the size of the loss depends neither on that of the batch nor on k. With p = 1 it is then the mean weight
            of such an edge. "sum" is σ itself.

    A batch without an edge between classes, as one of a single class, has a loss of zero and a gradient of zero. The graph
    is computed in at least float32, also inside an autocast region.

    Raises ValueError for an unknown word, a k or power below 1, or an α that is not positive.
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
        for name, value, choices in (("similarity", similarity, Similarity), ("reduction", reduction, Reduction)):
            if value not in get_args(choices):
                raise ValueError(f"{name} is one of {', '.join(get_args(choices))}, not {value!r}")
        for name, number in (("k", 1 if k is None else k), ("power", power)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, not {number}")
        if not rbf_scale > 0:
            raise ValueError(f"rbf_scale is the α of exp(−α·distance): a positive number, not {rbf_scale}")
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

        With `num_classes` given, labels lie in 0..num_classes−1, and no power waits for the device.

        Raises SignedRepresentations (a ValueError) where a cosine graph meets negative values in the first batch.
        """
        check_labels(labels, batch_size(embeddings))
        if self.similarity == "cosine":
            self._check_signs(embeddings, "the embedding")
        rows = unit_rows(embeddings) if self.normalize_embeddings else embeddings
        weights = similarities(rows, similarity=self.similarity, rbf_scale=self.rbf_scale)
        edges = neighbours(weights, None if self.k is None else min(self.k, len(embeddings)))
        adjacency = graph_of(weights, edges, normalize=self.normalize, self_loops=self.self_loops)
        variation = label_variation(adjacency, labels, power=self.power, num_classes=num_classes)
        between = (edges & (labels[:, None] != labels[None, :])).sum()
        divisor = between.clamp_min(1) if self.reduction == "mean" else 1
        # a power of L applied to one constant column leaves rounding errors
        return torch.where(between > 0, variation / divisor, 0.0)
