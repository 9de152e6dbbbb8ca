"""Triplet loss of the hardest or of all triplets of a batch (Hermans, Beyer, Leibe 2017, Eq. 5 and 6); Section 4.2."""

from typing import Literal

import torch
from torch import Tensor, nn

from lgg.graph import at_least_float32, batch_size, check_labels, flatten_rows, pairwise_distances, unit_rows


class Triplet(nn.Module):
    """How much nearer the nearest input of another class is than the farthest of the own class, mean over the batch.

    For an anchor a the term is max(0, m + max_p ‖x_a − x_p‖ − min_n ‖x_a − x_n‖), p over the other inputs of its class and
    n over those of other classes. An anchor without a p or an n has no term. The mean is over all anchors that have
    one, those with a term of zero included.

    The hardest triplets of a large batch can draw all embeddings together into one point, where the loss stays at m, or
    at ln 2. With `triplets="all"` each triplet (a, p, n) has a term max(0, m + ‖x_a − x_p‖ − ‖x_a − x_n‖), and the mean is
    over those that are not zero; their number grows with the cube of the batch.

    Args:
        margin: m, a distance, or "soft" for ln(1 + exp(…)) in place of max(0, m + …), which has no margin.
        normalize_embeddings: scale each embedding to length one first.
        triplets: "hard", the hardest one of each anchor; or "all".

    Distances are computed in at least float32, also inside an autocast region. A batch without a triplet has a loss
    of zero and a gradient of zero.

    Raises ValueError where the margin is neither positive nor "soft", or `triplets` neither "hard" nor "all".
    """

    def __init__(
        self,
        margin: float | Literal["soft"] = 0.2,
        normalize_embeddings: bool = False,
        triplets: Literal["hard", "all"] = "hard",
    ) -> None:
        super().__init__()
        if triplets not in ("hard", "all"):
            raise ValueError(f"triplets is hard or all, not {triplets!r}")
        if not (margin == "soft" if isinstance(margin, str) else margin > 0):
            raise ValueError(f"margin is a positive distance, or the word soft, not {margin!r}")
        # here, so that nothing else pays for its imports
        from pytorch_metric_learning.distances import LpDistance  # type: ignore[import-untyped,unused-ignore]
        from pytorch_metric_learning.losses import TripletMarginLoss  # type: ignore[import-untyped,unused-ignore]
        from pytorch_metric_learning.miners import BatchHardMiner  # type: ignore[import-untyped,unused-ignore]
        from pytorch_metric_learning.reducers import AvgNonZeroReducer, MeanReducer  # type: ignore[import-untyped,unused-ignore]

        distance = LpDistance(normalize_embeddings=False)
        # its own are those of a matrix product, which loses the digits of small distances in a batch far from the origin
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
            rows = unit_rows(embeddings) if self.normalize_embeddings else flatten_rows(embeddings)
            triplets = self.miner(rows, labels) if self.miner else None  # None: all of them
            # without triplets it adds up zeros times the embeddings, so there is a gradient, and it is zero
            return at_least_float32(self.loss(rows, labels, triplets))


def _distances(x: Tensor, reference: Tensor) -> Tensor:
    """Return the distances (B, B) between the rows of a batch; pytorch-metric-learning passes it twice."""
    if reference is not x:
        raise ValueError("triplets are taken from one batch")
    return pairwise_distances(x)
