"""Reference levels of label variation compared with integrals and regular figures."""

import math

import pytest
import torch
from scipy.integrate import quad

from lgg.evaluation.reference_levels import reference_levels, spread_evenly
from lgg.losses import LabelVariation


def mean_on_a_sphere(weight, dimensions, radius):
    """Return the mean of a function of the distance between two random points of a sphere, by an integral over the angle."""
    density = [lambda angle: math.sin(angle) ** (dimensions - 2)]
    whole, _ = quad(density[0], 0, math.pi)
    found, _ = quad(lambda angle: weight(2 * radius * math.sin(angle / 2)) * density[0](angle), 0, math.pi)
    return found / whole


@pytest.mark.parametrize(
    ("normalize_embeddings", "dimensions", "radius"), [(True, 2, 1.0), (True, 10, 1.0), ("batch", 10, math.sqrt(10))]
)
def test_outputs_spread_evenly_have_the_mean_weight_of_a_sphere(normalize_embeddings, dimensions, radius):
    loss = LabelVariation(rbf_scale=0.7, normalize_embeddings=normalize_embeddings)
    even = reference_levels(loss, classes=10, dimensions=dimensions, batch_size=512).even
    # the variances over a batch are not quite those of the sphere
    assert even == pytest.approx(mean_on_a_sphere(lambda d: math.exp(-0.7 * d), dimensions, radius), rel=0.01)


@pytest.mark.parametrize(
    ("normalize_embeddings", "distance"),
    # a simplex: of unit vectors; and of points whose every coordinate has variance 1, four units of 10·9/10 apart
    [(True, math.sqrt(2 * 10 / 9)), ("batch", math.sqrt(2 * 10 / 9) * math.sqrt(10))],
)
def test_classes_apart_are_a_simplex_where_there_is_room_for_one(normalize_embeddings, distance):
    loss = LabelVariation(rbf_scale=0.5, normalize_embeddings=normalize_embeddings)
    apart = reference_levels(loss, classes=10, dimensions=10, batch_size=100).apart
    assert apart == pytest.approx(math.exp(-0.5 * distance), rel=1e-3)


def test_classes_apart_on_a_circle_are_a_regular_polygon():
    apart = reference_levels(LabelVariation(normalize_embeddings=True), classes=5, dimensions=2, batch_size=50).apart
    chords = [2 * math.sin(math.pi * step / 5) for step in range(1, 5)]
    assert apart == pytest.approx(sum(math.exp(-2 * chord) for chord in chords) / 4, rel=1e-3)


def test_the_levels_of_a_transformed_loss_are_transformed():
    plain = LabelVariation(normalize_embeddings="batch")
    log = LabelVariation(normalize_embeddings="batch", reduction="log_mean")
    levels, logs = (reference_levels(loss, classes=3, dimensions=4, batch_size=60) for loss in (plain, log))
    assert logs.apart == pytest.approx(math.log(levels.apart), abs=1e-3)
    assert logs.even == pytest.approx(math.log(levels.even), abs=1e-2)  # means of logarithms, over large batches
    assert levels.apart < levels.even


def test_without_attraction_only_classes_matter_and_with_it_their_own_points_do():
    classes = {"classes": 3, "dimensions": 4, "batch_size": 60}
    plain = reference_levels(LabelVariation(normalize_embeddings="batch"), **classes)
    attracted = reference_levels(LabelVariation(normalize_embeddings="batch", attraction=0.5), **classes)
    # half the mean over all 60·59 edges, of which 60·19 are within classes, with weight 1 where classes are points
    within = 19 / 59
    assert attracted.apart == pytest.approx(plain.apart * (1 - 0.5 * (1 - within)) - 0.5 * within, rel=1e-2)
    assert attracted.even == pytest.approx(plain.even / 2, rel=0.02)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 8])
def test_points_spread_evenly_have_variance_1_and_are_farther_apart_than_normal_ones(dimensions):
    points = spread_evenly(4000, dimensions, True, torch.Generator().manual_seed(0))
    torch.testing.assert_close(points.var(dim=0), torch.ones(dimensions, dtype=torch.float64), rtol=0.06, atol=0)
    normal = torch.randn(4000, dimensions, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.pdist(points).mean() > torch.pdist(normal).mean()


def test_embeddings_of_any_length_have_no_levels():
    with pytest.raises(ValueError, match="use a loss with normalize_embeddings"):
        reference_levels(LabelVariation(), classes=3, dimensions=2, batch_size=6)
