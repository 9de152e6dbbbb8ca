"""Graph knowledge distillation, GKD (Section 4.1 of the paper; Lassance et al., ICASSP 2020)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lgg.graph import Similarity, check_labels, nearest_neighbours, similarity_graph, symmetric_normalization
from lgg.losses._options import check_options
from lgg.losses._pairs import paired_layers
from lgg.losses._signs import SignCheck, layer_name

Edges = Literal["all", "inter", "intra"]
Neighbours = Literal["teacher", "own"]
Order = Literal["threshold_first", "normalize_first", "published"]


class GraphDistillation(nn.Module):
    """Squared Frobenius distance between the latent geometry graphs of student and teacher, mean over layers.

    Args:
        k: number of nearest neighbours of each vertex, not counting itself; None keeps all edges, as does a k that
            exceeds the batch.
        edges: which edges are compared: "all", those between classes ("inter"), or those within classes ("intra").
        power: compare Aᵖ, the graph of walks of p steps.
        normalize: use D^-1/2 A D^-1/2 in place of A.
        neighbours: "teacher" gives the student's graph the edges of the teacher's (as the published code does), "own"
            chooses the neighbours in each graph separately.
        order: order of the steps from similarities to the compared matrices.
            "threshold_first" (the paper's text): nearest neighbours, normalisation, power, edges by class.
            "normalize_first": normalisation, nearest neighbours (by similarity), power, edges by class.
            "published" (the published code): normalisation, edges by class, nearest neighbours among these, power.
            The three agree if k keeps all edges and either p = 1 or all edges are compared.
        similarity: "cosine" for non-negative representations, as after a ReLU; "rbf" for exp(−α‖xi − xj‖/m) with m the
            mean distance in the batch at that layer; "rbf_squared" for the same with squared distances.
        rbf_scale: α of the two kernels, without unit.

    Raises ValueError for a k or power below 1, an unknown option, or an α that is not positive.
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
        choices = {
            "edges": (edges, Edges),
            "neighbours": (neighbours, Neighbours),
            "order": (order, Order),
            "similarity": (similarity, Similarity),
        }
        check_options(choices, k=k, power=power, rbf_scale=rbf_scale)
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

        Each representation has shape (B, ...), `labels` are integers (B,). Raises ValueError if they do not match, and
        SignedRepresentations (a ValueError) if a layer of a cosine graph has negative values in its first batch.
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
        kept_student = self._neighbours(student_weights) if self.neighbours == "own" else kept_teacher
        difference = self._graph(student_weights, kept_student) - self._graph(teacher_weights, kept_teacher)
        if wanted is not None and self.order != "published":
            difference = torch.where(wanted, difference, 0.0)
        return difference.square().sum()

    def _weights(self, x: Tensor, wanted: Tensor | None) -> Tensor:
        """Return the weights (B, B) by which neighbours are chosen; `wanted` (B, B) masks the edges compared, or is None."""
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
        """Return the matrix (B, B) that is compared: `kept` edges, normalised and raised to the power as configured."""
        if self.normalize and self.order == "normalize_first":
            weights = symmetric_normalization(weights)
        if kept is not None:
            weights = torch.where(kept, weights, 0.0)
        if self.normalize and self.order == "threshold_first":
            weights = symmetric_normalization(weights)
        with torch.autocast(weights.device.type, enabled=False):
            return torch.linalg.matrix_power(weights, self.power) if self.power > 1 else weights
