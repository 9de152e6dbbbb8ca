"""Two values of label variation as an objective that a training run is judged by (Section 4.2)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgg.graph import unit_rows
from lgg.losses.label_variation import LabelVariation

BATCHES = 100  # over which the value of evenly spread outputs is a mean
STARTS = 3  # from which classes are put apart; the best end counts


@dataclass(frozen=True)
class Levels:
    """Values of the loss, without its weight.

    Attributes:
        even: of outputs spread evenly, whatever their class.
        apart: of classes that are perfectly apart: each is one point, as far from the others as the normalisation allows.
    """

    even: float
    apart: float


def reference_levels(loss: LabelVariation, *, classes: int, dimensions: int, batch_size: int) -> Levels:
    """Return the reference levels of a loss that normalises its embeddings.

    A training run near `even` has learnt to spread its outputs and little about classes; what it learns about them takes it
    towards `apart`. `even` is a mean over random batches, not a bound: where α is large, outputs spread in another way can be
    a little lower. `apart` is the least value that minimisation finds over one point for each class.

    Args:
        loss: with `normalize_embeddings`; without, outputs could go apart for ever and there would be no levels.
        classes: their number, at least 2; each is equally frequent.
        dimensions: of the embeddings.
        batch_size: B, at least 2, on which the value depends if the loss keeps k neighbours or normalises the graph.

    Raises ValueError if the loss does not normalise its embeddings.
    """
    if not loss.normalize_embeddings:
        raise ValueError("embeddings of any length have no reference levels; use a loss with normalize_embeddings")
    generator = torch.Generator().manual_seed(0)
    even = [
        loss(
            spread_evenly(batch_size, dimensions, loss.normalize_embeddings == "batch", generator),
            torch.randint(classes, (batch_size,), generator=generator),
        ).item()
        for _ in range(BATCHES)
    ]
    labels = torch.arange(batch_size) % classes
    starts = [torch.randn(classes, dimensions, generator=generator, dtype=torch.float64) for _ in range(STARTS)]
    return Levels(float(np.mean(even)), min(_least(loss, start, labels) for start in starts))


def spread_evenly(count: int, dimensions: int, unit_variance: bool, generator: torch.Generator) -> Tensor:
    """Return `count` random points (count, dimensions), on the unit sphere or with variance 1 in each dimension.

    With the variance given, points on a sphere of three or more dimensions are farthest from each other on average; in a
    plane or on a line, it is the shadow of such a sphere that is.
    """
    whole = max(dimensions, 3) if unit_variance else dimensions
    points = unit_rows(torch.randn(count, whole, generator=generator, dtype=torch.float64))
    return points[:, :dimensions] * (whole**0.5 if unit_variance else 1.0)


def _least(loss: LabelVariation, start: Tensor, labels: Tensor) -> float:
    """Return the least value of the loss that is found from `start`, the points (C, d) that each class is put at."""
    from scipy.optimize import minimize

    def value(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        points = torch.from_numpy(flat).reshape(start.shape).requires_grad_()
        found = loss(points[labels], labels)
        found.backward()
        return found.item(), np.zeros_like(flat) if points.grad is None else points.grad.numpy().ravel()

    return float(minimize(value, start.numpy().ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300}).fun)
