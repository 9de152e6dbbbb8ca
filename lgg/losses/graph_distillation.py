"""Graph knowledge distillation, GKD (Section 4.1 of the paper; Lassance et al., ICASSP 2020)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgg.graph import Similarity, check_labels, nearest_neighbours, similarities_of_layers, symmetric_normalization
from lgg.losses._options import check_options
from lgg.losses._pairs import paired_layers
from lgg.losses._signs import SignCheck, layer_name

Edges = Literal["all", "inter", "intra"]
COMPARED = {"inter": torch.ne, "intra": torch.eq}
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
        layers, teachers = paired_layers(student_representations, teacher_representations)
        check_labels(labels, len(layers[0]))
        if self.similarity == "cosine":
            for network, given, checked in (
                ("student", student_representations, layers),
                ("teacher", teacher_representations, teachers),
            ):
                for place, x in enumerate(checked):
                    self._check_signs(x, f"{layer_name(given, place)} of the {network}")
        # of the student, then of the teacher, so that each step is one for all of them
        weights = similarities_of_layers(
            [*layers, *teachers],
            similarity=self.similarity,
            rbf_scale=self.rbf_scale,
            relative_distances=True,
            loops=False,
        )
        wanted = None if self.edges == "all" else COMPARED[self.edges](labels[:, None], labels[None, :])
        graphs = self._graphs(weights.view(2, len(layers), *weights.shape[1:]), wanted)
        return F.mse_loss(graphs[0], graphs[1].detach(), reduction="sum") / len(layers)

    def _graphs(self, weights: Tensor, wanted: Tensor | None) -> Tensor:
        """Return the matrices (2, L, B, B) that are compared, from the similarities without self-loops.

        `wanted` (B, B) masks the edges compared, or is None.
        """
        graphs = weights
        if self.normalize and self.order != "threshold_first":
            graphs = symmetric_normalization(graphs)
        if self.order == "published":
            graphs = _masked(graphs, wanted)
            weights = graphs
        graphs = _masked(graphs, self._neighbours(weights))
        if self.normalize and self.order == "threshold_first":
            graphs = symmetric_normalization(graphs)
        if self.power > 1:
            with torch.autocast(graphs.device.type, enabled=False):
                graphs = torch.linalg.matrix_power(graphs, self.power)
        return graphs if self.order == "published" else _masked(graphs, wanted)

    def _neighbours(self, weights: Tensor) -> Tensor | None:
        """Return the mask of the edges kept, chosen by `weights` (2, L, B, B); None keeps all."""
        if self.k is None:
            return None
        choosing = weights if self.neighbours == "own" else weights[1]
        return nearest_neighbours(choosing, min(self.k, weights.shape[-1]))


def _masked(graphs: Tensor, edges: Tensor | None) -> Tensor:
    return graphs if edges is None else torch.where(edges, graphs, 0.0)
