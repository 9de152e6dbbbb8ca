"""What training minimises: an objective takes the network and a batch and returns its loss in parts.

The factors λ and T² stand here; the losses themselves are unweighted.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgg.models.base import ImageClassifier


@dataclass(frozen=True)
class Step:
    """The outcome of an objective on a batch.

    Attributes:
        loss: the scalar to minimise.
        logits: (B, C), for the training error.
        parts: the unweighted terms that make up the loss, for the history.
    """

    loss: Tensor
    logits: Tensor
    parts: dict[str, Tensor]


class Objective(Protocol):
    """What `fit` minimises."""

    def __call__(self, model: ImageClassifier, images: Tensor, labels: Tensor) -> Step: ...


class CrossEntropy:
    """L = L_task, the cross-entropy of the logits."""

    def __call__(self, model: ImageClassifier, images: Tensor, labels: Tensor) -> Step:
        logits = model(images)
        task = F.cross_entropy(logits.float(), labels)
        return Step(task, logits, {"task": task})


class Distillation:
    """L = L_task + λ L_KD (Section 4.1), with a teacher that is not trained.

    The distillation loss is asked which of `student_logits`, `teacher_logits`, `student_representations`,
    `teacher_representations` and `labels` its ``forward`` takes, and is given just those, by name.

    Args:
        teacher: a trained network; it is set to evaluation mode.
        criterion: the distillation loss, a module that returns an unweighted scalar.
        weight: λ, with Hinton's T² already in it.
        layers: names of the representations to compare; None compares all.
    """

    def __init__(
        self, teacher: ImageClassifier, criterion: nn.Module, weight: float, layers: Sequence[str] | None = None
    ) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.criterion = criterion
        self.weight = weight
        self.layers = layers
        self.wanted = tuple(inspect.signature(criterion.forward).parameters)

    def __call__(self, model: ImageClassifier, images: Tensor, labels: Tensor) -> Step:
        with torch.no_grad():
            teacher_logits, teacher_representations = self.teacher(images, return_representations=True)
        logits, representations = model(images, return_representations=True)
        available = {
            "student_logits": logits,
            "teacher_logits": teacher_logits,
            "student_representations": select_layers(model, representations, self.layers),
            "teacher_representations": select_layers(self.teacher, teacher_representations, self.layers),
            "labels": labels,
        }
        task = F.cross_entropy(logits.float(), labels)
        distillation = self.criterion(**{name: available[name] for name in self.wanted})
        return Step(task + self.weight * distillation, logits, {"task": task, "distillation": distillation})


def select_layers(
    model: ImageClassifier, representations: Sequence[Tensor], layers: Sequence[str] | None
) -> list[Tensor]:
    """Return the representations of the layers named, in that order; all where `layers` is None.

    Raises ValueError for a layer that the model does not have.
    """
    if layers is None:
        return list(representations)
    unknown = [layer for layer in layers if layer not in model.layers]
    if unknown:
        raise ValueError(f"the network has no layer {unknown[0]!r}; it has {', '.join(model.layers)}")
    return [representations[model.layers.index(layer)] for layer in layers]
