"""Losses inside `torch.func.grad` and `torch.func.vmap`, and second derivatives, compared with plain autograd and loops."""

from functools import partial

import pytest
import torch
from torch.func import grad, vmap

import lgg
from lgg.losses import (
    GraphDistillation,
    HintonDistillation,
    LabelVariation,
    LabelVariationRegularizer,
    RelationalDistillation,
    Triplet,
)

SIZE = 6
LABELS = torch.arange(SIZE) % 3


def positive(*shape, seed=0):
    return torch.rand(SIZE, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.05


LAYERS = [positive(2, 3, 3).to(memory_format=torch.channels_last), positive(5, seed=1)]
TEACHER = [positive(3, 2, 2, seed=2), positive(7, seed=3)]


def gkd(layers, labels, **options):
    return GraphDistillation(**options)(layers, TEACHER, labels)


def regularizer(layers, labels, **options):
    return LabelVariationRegularizer(**options)(layers, labels, num_classes=3)


def on_all(loss, layers, labels):
    """Apply a loss of one representation to each layer."""
    return sum(loss(x, labels) for x in layers)


def hinton(layers, _):
    return sum(
        HintonDistillation(2.0)(x.flatten(1)[:, :4], t.flatten(1)[:, :4]) for x, t in zip(layers, TEACHER, strict=True)
    )


LOSSES = {
    "gkd": gkd,
    "gkd, published": partial(gkd, k=2, edges="inter", power=2, order="published"),
    "gkd, rbf": partial(gkd, similarity="rbf"),
    "regularizer": regularizer,
    "regularizer, p = 1": partial(regularizer, power=1),
    "regularizer, p = 3": partial(regularizer, power=3),
    "regularizer, graphs": partial(regularizer, k=2, normalize=True),
    "rkd_d": lambda layers, _: RelationalDistillation()(layers, TEACHER),
    "hinton": hinton,
    "label variation": partial(on_all, LabelVariation()),
    "label variation, p = 2": partial(on_all, partial(LabelVariation(power=2, k=2), num_classes=3)),
    "cosine label variation": partial(on_all, partial(lgg.cosine_label_variation, power=2, num_classes=3)),
    "triplet": partial(on_all, Triplet()),
}
# the choice of triplets depends on values, which vmap does not support
VECTORIZED = sorted(LOSSES.keys() - {"triplet"})


def by_autograd(loss, layers, labels=LABELS):
    leaves = [x.clone().requires_grad_() for x in layers]
    return torch.autograd.grad(loss(leaves, labels), leaves)


def assert_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_grad_is_that_of_autograd(name):
    assert_equal(grad(LOSSES[name])(LAYERS, LABELS), by_autograd(LOSSES[name], LAYERS))


@pytest.mark.parametrize("name", VECTORIZED)
def test_values_and_gradients_of_several_batches_are_those_of_each(name):
    """Representations and labels differ between batches."""
    loss = LOSSES[name]
    batches, labels = [LAYERS, [x.square() for x in LAYERS]], [LABELS, LABELS.flip(0)]
    stacked = [torch.stack(layer) for layer in zip(*batches, strict=True)]
    values = vmap(loss)(stacked, torch.stack(labels))
    assert_equal(values, [loss(*one) for one in zip(batches, labels, strict=True)])
    gradients = vmap(grad(loss))(stacked, torch.stack(labels))
    for place, one in enumerate(zip(batches, labels, strict=True)):
        assert_equal([layer[place] for layer in gradients], by_autograd(loss, *one))


def differentiates_distances_twice():
    """Return whether this PyTorch has the second derivative of `torch.cdist`; older versions raise an error."""
    x = positive(2).requires_grad_()
    (first,) = torch.autograd.grad(torch.cdist(x, x.detach() + 1).sum(), x, create_graph=True)
    try:
        torch.autograd.grad(first.sum(), x)
    except NotImplementedError:
        return False
    return True


OF_DISTANCES = {"gkd, rbf", "rkd_d", "label variation", "label variation, p = 2", "triplet"}


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_can_be_differentiated(name):
    """Compared with finite differences of the gradient, which must have its graph."""
    leaves = [x.clone().requires_grad_() for x in LAYERS]
    if name in OF_DISTANCES and not differentiates_distances_twice():
        with pytest.raises(NotImplementedError):
            torch.autograd.gradgradcheck(lambda *x: LOSSES[name](x, LABELS), leaves, fast_mode=True)
        return
    assert torch.autograd.gradgradcheck(lambda *x: LOSSES[name](x, LABELS), leaves, fast_mode=True)
    (first,) = torch.autograd.grad(LOSSES[name](leaves, LABELS), leaves[:1], create_graph=True)
    assert first.requires_grad


@pytest.mark.parametrize("power", [1, 2])
def test_second_derivatives_are_finite_at_a_row_of_zeros(power):
    x = positive(5)
    x[2] = 0
    x.requires_grad_()
    (first,) = torch.autograd.grad(lgg.cosine_label_variation(x, LABELS, power=power), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.isfinite().all()
    assert second[2].count_nonzero() == 0
