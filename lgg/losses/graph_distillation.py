"""Graph knowledge distillation, GKD (Section 4.1 of the paper; Lassance et al., ICASSP 2020)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lgg.graph import check_labels, nearest_neighbours, similarity_graph, symmetric_normalization
from lgg.losses._pairs import paired_layers

Edges = Literal["all", "inter", "intra"]
Neighbours = Literal["teacher", "own"]
Order = Literal["threshold_first", "normalize_first"]


class GraphDistillation(nn.Module):
    """Squared Frobenius distance between the cosine latent geometry graphs of student and teacher, mean over layers.

    Args:
        k: number of nearest neighbours kept for each vertex (itself not counted); None keeps every edge. In a batch of
            fewer than k inputs every edge is kept.
        edges: "all", only those between classes ("inter"), or only those within one ("intra").
        power: compare Aᵖ, the graph of walks of p steps.
        normalize: take D^-1/2 A D^-1/2 for A.
        neighbours: "teacher" keeps in the student's graph the edges that the teacher's has (the published code),
            "own" lets each graph choose its own.
        order: with both k and `normalize`, "threshold_first" drops edges and then normalises (the paper's text),
            "normalize_first" normalises the full graph (the published code). They agree where k keeps every edge.

    The choice of edges by class comes last, after normalisation and power, as in the published code.

    Raises ValueError for a k or power below 1 or an unknown word.
    """

    def __init__(
        self,
        k: int | None = None,
        edges: Edges = "all",
        power: int = 1,
        normalize: bool = True,
        neighbours: Neighbours = "teacher",
        order: Order = "threshold_first",
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("edges", edges, Edges),
            ("neighbours", neighbours, Neighbours),
            ("order", order, Order),
        ):
            if value not in get_args(choices):
                raise ValueError(f"{name} is one of {', '.join(get_args(choices))}, not {value!r}")
        for name, number in (("k", 1 if k is None else k), ("power", power)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, not {number}")
        self.k = k
        self.edges = edges
        self.power = power
        self.normalize = normalize
        self.neighbours = neighbours
        self.order = order

    def forward(
        self,
        student_representations: Sequence[Tensor],
        teacher_representations: Sequence[Tensor],
        labels: Tensor,
    ) -> Tensor:
        """Return the loss, a scalar: the sum of squared differences of the two graphs, mean over the pairs of layers.

        Each representation has shape (B, ...), `labels` are integers (B,). Raises ValueError where they do not pair up.
        """
        terms = [
            self._distance(student, teacher, labels)
            for student, teacher in paired_layers(student_representations, teacher_representations)
        ]
        return torch.stack(terms).mean()

    def _distance(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        check_labels(labels, len(student))
        student_weights, teacher_weights = similarity_graph(student), similarity_graph(teacher)
        kept_teacher = self._neighbours(teacher_weights)
        kept_student = kept_teacher if self.neighbours == "teacher" else self._neighbours(student_weights)
        difference = self._graph(student_weights, kept_student) - self._graph(teacher_weights, kept_teacher)
        if self.edges != "all":
            same = labels[:, None] == labels[None, :]
            difference = torch.where(same == (self.edges == "intra"), difference, 0.0)
        return difference.square().sum()

    def _neighbours(self, weights: Tensor) -> Tensor | None:
        return None if self.k is None else nearest_neighbours(weights, min(self.k, len(weights)))

    def _graph(self, weights: Tensor, kept: Tensor | None) -> Tensor:
        """Return the compared matrix (B, B): neighbours kept, normalised and raised to the power as configured."""
        if self.normalize and self.order == "normalize_first":
            weights = symmetric_normalization(weights)
        if kept is not None:
            weights = torch.where(kept, weights, 0.0)
        if self.normalize and self.order == "threshold_first":
            weights = symmetric_normalization(weights)
        with torch.autocast(weights.device.type, enabled=False):
            return torch.linalg.matrix_power(weights, self.power) if self.power > 1 else weights
