"""Relational knowledge distillation by distances, RKD-D (Park, Kim, Lu, Cho 2019, Section 3.2.1)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgg.graph import pairwise_distances
from lgg.losses._pairs import paired_layers


class RelationalDistillation(nn.Module):
    """Smooth L1 loss between the pairwise distances of student and teacher, each divided by their mean.

    Means are over pairs of distinct inputs, then over pairs of layers. For a batch of one, which has no pairs, the loss and
    its gradient are zero.
    """

    def forward(self, student_representations: Sequence[Tensor], teacher_representations: Sequence[Tensor]) -> Tensor:
        """Return the loss, a scalar without unit; each representation has shape (B, ...).

        Raises ValueError if the two do not match (see `paired_layers`).
        """
        terms = [
            _mean_smooth_l1(_relative_distances(student), _relative_distances(teacher))
            for student, teacher in paired_layers(student_representations, teacher_representations)
        ]
        return torch.stack(terms).mean()


def _mean_smooth_l1(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean over the pairs, or zero if there are none."""
    return F.smooth_l1_loss(student, teacher, reduction="mean" if len(student) else "sum")


def _relative_distances(x: Tensor) -> Tensor:
    """Return the distances between distinct rows of `x` (B, ...) divided by their mean, shape (B·(B − 1)/2,)."""
    size = len(x)
    distances = pairwise_distances(x)
    upper = torch.triu_indices(size, size, offset=1, device=x.device)
    distances = distances[upper[0], upper[1]]
    mean = distances.mean()
    return distances / torch.where(mean > 0, mean, 1.0)
