"""Cosine graphs need representations without negative values (Section 3.3)."""

import pickle

import pytest
import torch
from torch import nn

import lgg
from lgg.errors import LggError
from lgg.losses import GraphDistillation, LabelVariation, LabelVariationRegularizer

LABELS = torch.arange(6) % 3
POSITIVE = torch.rand(6, 4)
SIGNED = POSITIVE - 0.5

# a loss of two tensors, and its names for them
COSINE = {
    "GKD": (
        GraphDistillation(),
        lambda loss, a, b: loss([a], [b], LABELS),
        ("layer 0 of the student", "of the teacher"),
    ),
    "regularizer": (
        LabelVariationRegularizer(),
        lambda loss, a, b: loss([a, b], LABELS),
        ("layer 0 has", "layer 1 has"),
    ),
    "embedding": (LabelVariation(similarity="cosine"), lambda loss, a, _: loss(a, LABELS), ("the embedding has",)),
}


def fresh(loss):
    return pickle.loads(pickle.dumps(loss))


@pytest.mark.parametrize("name", COSINE)
def test_negative_values_are_refused_with_the_layer_and_what_to_do(name):
    loss, call, places = COSINE[name]
    call(fresh(loss), POSITIVE, POSITIVE)
    for place, words in enumerate(places):
        given = [POSITIVE, POSITIVE]
        given[place] = SIGNED
        with pytest.raises(ValueError, match=rf"{words}.* negative.*similarity='rbf'.*ReLU") as caught:
            call(fresh(loss), *given)
        assert isinstance(caught.value, LggError)  # a stage reports it without a traceback


@pytest.mark.parametrize("name", COSINE)
def test_it_is_refused_again_and_in_a_copy_of_a_loss(name):
    loss, call, _ = COSINE[name]
    loss = fresh(loss)
    for _ in range(2):
        with pytest.raises(ValueError, match="negative"):
            call(loss, SIGNED, POSITIVE)
    call(loss, POSITIVE, POSITIVE)
    with pytest.raises(ValueError, match="negative"):
        call(fresh(loss), SIGNED[:, :3], POSITIVE)  # another layer


@pytest.mark.parametrize(
    "call",
    [
        lambda a: GraphDistillation(similarity="rbf")([a], [a * 2], LABELS),
        lambda a: LabelVariationRegularizer(similarity="rbf")([a, a.square()], LABELS),
        lambda a: LabelVariation()(a, LABELS),
    ],
)
def test_kernels_accept_negative_values(call):
    x = SIGNED.clone().requires_grad_()
    call(x).backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", COSINE)
def test_they_are_refused_inside_torch_func(name):
    loss, call, _ = COSINE[name]
    with pytest.raises(ValueError, match="negative"):
        torch.func.grad(lambda a: call(fresh(loss), a, POSITIVE))(SIGNED)
    with pytest.raises(ValueError, match="negative"):
        torch.func.vmap(lambda a: call(fresh(loss), a, POSITIVE))(torch.stack([POSITIVE, SIGNED]))


@pytest.mark.parametrize("name", ["GKD", "embedding"])
def test_compiled_code_is_not_interrupted(name):
    loss, call, _ = COSINE[name]
    compiled = torch.compile(lambda a, b: call(loss, a, b), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(POSITIVE, POSITIVE**2), call(loss, POSITIVE, POSITIVE**2))
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("name", "options"), [("wide_resnet", {"depth": 10, "width": 0.5}), ("preact_resnet18", {"base_width": 2})]
)
def test_no_comparable_layer_of_our_networks_is_signed(name, options):
    """So all of them can have cosine graphs, as in the paper."""
    model = lgg.models.build(name, num_classes=3, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    _, representations = model(torch.rand(6, 3, 16, 16), return_representations=True)
    assert len(representations) == len(model.layers)
    assert all(x.min() >= 0 for x in representations)
    LabelVariationRegularizer()(representations, LABELS)
    GraphDistillation()(representations, representations, LABELS)
