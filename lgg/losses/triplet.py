"""Triplet loss over the hardest or all triplets of a batch (Hermans, Beyer, Leibe 2017, Eq. 5 and 6); Section 4.2."""

from typing import Literal

import torch
from torch import Tensor, nn

from lgg.graph import at_least_float32, batch_size, check_labels, pairwise_distances
from lgg.losses._options import Normalization, check_normalization, normalize_rows


class Triplet(nn.Module):
    """How far the farthest positive exceeds the nearest negative, mean over the batch.

    For an anchor a the term is max(0, m + max_p ‖x_a − x_p‖ − min_n ‖x_a − x_n‖), with p over the other inputs of its class
    and n over the inputs of other classes. Anchors without any p or n have no term. The mean is over all other anchors,
    including those whose term is zero.

    Hard triplets of a large batch can collapse all embeddings to one point, where the loss stays at m, or at ln 2. With
    `triplets="all"` each triplet (a, p, n) has a term max(0, m + ‖x_a − x_p‖ − ‖x_a − x_n‖), and the mean is over the
    non-zero terms; their number grows with the cube of the batch size.

    Args:
        margin: m, a distance, or "soft" for ln(1 + exp(…)) in place of max(0, m + …), without a margin.
        normalize_embeddings: True scales each embedding to unit length first; "batch" gives each dimension mean 0 and
            variance 1 over the batch (`standardize_columns`).
        triplets: "hard", the hardest triplet of each anchor, or "all".

    Distances are computed in at least float32, even inside an autocast region. For a batch without triplets the loss and
    its gradient are zero.

    Raises ValueError if the margin is neither positive nor "soft", or `triplets` neither "hard" nor "all".
    """

    def __init__(
        self,
        margin: float | Literal["soft"] = 0.2,
        normalize_embeddings: Normalization = False,
        triplets: Literal["hard", "all"] = "hard",
    ) -> None:
        super().__init__()
        if triplets not in ("hard", "all"):
            raise ValueError(f"triplets must be 'hard' or 'all', not {triplets!r}")
        if not (margin == "soft" if isinstance(margin, str) else margin > 0):
            raise ValueError(f"margin must be a positive distance or 'soft', not {margin!r}")
        check_normalization(normalize_embeddings)
        # imported here, since the import is slow
        from pytorch_metric_learning.distances import LpDistance  # type: ignore[import-untyped,unused-ignore]
        from pytorch_metric_learning.losses import TripletMarginLoss  # type: ignore[import-untyped,unused-ignore]
        from pytorch_metric_learning.miners import BatchHardMiner  # type: ignore[import-untyped,unused-ignore]
        from pytorch_metric_learning.reducers import AvgNonZeroReducer, MeanReducer  # type: ignore[import-untyped,unused-ignore]

        distance = LpDistance(normalize_embeddings=False)
        # its own distances, by a matrix product, are inaccurate for small distances in a batch far from the origin
        distance.compute_mat = _distances
        self.margin = margin
        self.normalize_embeddings = normalize_embeddings
        self.miner = BatchHardMiner(distance=distance) if triplets == "hard" else None
        self.loss = TripletMarginLoss(
            margin=0.0 if margin == "soft" else margin,
            smooth_loss=margin == "soft",
            distance=distance,
            reducer=MeanReducer() if triplets == "hard" else AvgNonZeroReducer(),
        )

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar; `embeddings` have shape (B, ...), `labels` are integers (B,), else ValueError."""
        check_labels(labels, batch_size(embeddings))
        with torch.autocast(embeddings.device.type, enabled=False):
            rows = normalize_rows(embeddings, self.normalize_embeddings)
            triplets = self.miner(rows, labels) if self.miner else None  # None: all triplets
            # without triplets the loss is zero times the embeddings, so it has a gradient, of zero
            return at_least_float32(self.loss(rows, labels, triplets))


def _distances(x: Tensor, reference: Tensor) -> Tensor:
    """Return the distances (B, B) between the rows of a batch, which pytorch-metric-learning passes twice."""
    if reference is not x:
        raise ValueError("triplets must be taken from a single batch")
    return pairwise_distances(x)
