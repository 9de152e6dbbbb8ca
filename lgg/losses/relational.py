"""Relational knowledge distillation by distances, RKD-D (Park, Kim, Lu, Cho 2019, Section 3.2.1)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lgg.graph import distances_of_layers, relative, share_of_pairs
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
        layers, teachers = paired_layers(student_representations, teacher_representations)
        # of the student, then of the teacher, so that each step is one for all of them
        distances = relative(distances_of_layers([*layers, *teachers]))
        # Both the distances and the mean of the loss are relative to all B² pairs, including those of an input with itself.
        # With this `beta`, where the loss becomes linear, the two factors cancel.
        beta = 1.0 / share_of_pairs(len(layers[0]))
        return F.smooth_l1_loss(distances[: len(layers)], distances[len(layers) :].detach(), beta=beta)
