"""Graph knowledge distillation, GKD (Section 4.1 of the paper; Lassance et al., ICASSP 2020)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lgg.graph import Similarity, check_labels, nearest_neighbours, similarity_graph, symmetric_normalization
from lgg.losses._pairs import paired_layers
from lgg.losses._signs import SignCheck, layer_name

Edges = Literal["all", "inter", "intra"]
Neighbours = Literal["teacher", "own"]
Order = Literal["threshold_first", "normalize_first", "published"]


class GraphDistillation(nn.Module):
    """Squared Frobenius distance between the latent geometry graphs of student and teacher, mean over layers.

    Args:
        k: number of nearest neighbours kept for each vertex (itself not counted); None keeps every edge. In a batch of
            fewer than k inputs every edge is kept.
        edges: "all", only those between classes ("inter"), or only those within one ("intra").
        power: compare Aᵖ, the graph of walks of p steps.
        normalize: take D^-1/2 A D^-1/2 for A.
        neighbours: "teacher" keeps in the student's graph the edges that the teacher's has (the published code),
            "own" lets each graph choose its own.
        order: of the steps from similarities to the matrices that are compared.
            "threshold_first" (the paper's text): nearest neighbours, normalisation, power, edges by class.
            "normalize_first": normalisation, nearest neighbours (by similarity), power, edges by class.
            "published" (the published code): normalisation, edges by class, nearest neighbours by what is left, power.
            The three agree where k keeps every edge and either p = 1 or all edges are compared.
        similarity: "cosine" for representations that cannot be negative, as after a ReLU; "rbf" for
            exp(−α‖xi − xj‖/m), m the mean distance of the batch at that layer; "rbf_squared" for the same with squares.
        rbf_scale: α of the two kernels, without unit.

    Raises ValueError for a k or power below 1, an unknown word, or an α that is not positive.
    """

    def __init__(
        self,
        k: int | None = None,
        edges: Edges = "all",
        power: int = 1,
        normalize: bool = True,
        neighbours: Neighbours = "teacher",
        order: Order = "threshold_first",
        similarity: Similarity = "cosine",
        rbf_scale: float = 2.0,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("edges", edges, Edges),
            ("neighbours", neighbours, Neighbours),
            ("order", order, Order),
            ("similarity", similarity, Similarity),
        ):
            if value not in get_args(choices):
                raise ValueError(f"{name} is one of {', '.join(get_args(choices))}, not {value!r}")
        for name, number in (("k", 1 if k is None else k), ("power", power)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, not {number}")
        if not rbf_scale > 0:
            raise ValueError(f"rbf_scale is the α of exp(−α·distance): a positive number, not {rbf_scale}")
        self.k = k
        self.edges = edges
        self.power = power
        self.normalize = normalize
        self.neighbours = neighbours
        self.order = order
        self.similarity: Similarity = similarity
        self.rbf_scale = rbf_scale
        self._check_signs = SignCheck()

    def forward(
        self,
        student_representations: Sequence[Tensor],
        teacher_representations: Sequence[Tensor],
        labels: Tensor,
    ) -> Tensor:
        """Return the loss, a scalar: the sum of squared differences of the two graphs, mean over the pairs of layers.

        Each representation has shape (B, ...), `labels` are integers (B,). Raises ValueError where they do not pair up, and
        SignedRepresentations (a ValueError) where a cosine graph meets negative values in the first batch of a layer.
        """
        terms = []
        for layer, (student, teacher) in enumerate(paired_layers(student_representations, teacher_representations)):
            if self.similarity == "cosine":
                self._check_signs(student, f"{layer_name(student_representations, layer)} of the student")
                self._check_signs(teacher, f"{layer_name(teacher_representations, layer)} of the teacher")
            terms.append(self._distance(student, teacher, labels))
        return torch.stack(terms).mean()

    def _distance(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        check_labels(labels, len(student))
        wanted = None
        if self.edges != "all":
            wanted = (labels[:, None] == labels[None, :]) == (self.edges == "intra")
        student_weights, teacher_weights = self._weights(student, wanted), self._weights(teacher, wanted)
        kept_teacher = self._neighbours(teacher_weights)
        kept_student = kept_teacher if self.neighbours == "teacher" else self._neighbours(student_weights)
        difference = self._graph(student_weights, kept_student) - self._graph(teacher_weights, kept_teacher)
        if wanted is not None and self.order != "published":
            difference = torch.where(wanted, difference, 0.0)
        return difference.square().sum()

    def _weights(self, x: Tensor, wanted: Tensor | None) -> Tensor:
        """Return the weights (B, B) that neighbours are chosen by; `wanted` (B, B) are the edges of the classes asked for."""
        published = self.order == "published"
        weights = similarity_graph(
            x,
            similarity=self.similarity,
            normalize=self.normalize and published,
            rbf_scale=self.rbf_scale,
            relative_distances=True,
        )
        return torch.where(wanted, weights, 0.0) if published and wanted is not None else weights

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
