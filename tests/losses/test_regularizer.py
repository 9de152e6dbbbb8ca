"""The label variation regularizer against the loops that define it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lgg
from lgg.losses import LabelVariationRegularizer

SHAPES = [(3, 2, 2), (5,), (2, 3), (4,)]


def layers(size, seed=0, dtype=torch.float64, count=4):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.rand(size, *shape, dtype=torch.float64, generator=generator) ** 2 + 0.01).to(dtype)
        for shape in SHAPES[:count]
    ]


def labels_of(size):
    return torch.arange(size) % 3


def variation(x, labels, power, k, normalize, similarity="cosine"):
    """tr(VᵀLᵖV) with L and V written out."""
    size = len(x)
    rows = x.flatten(1)
    rows = rows / rows.norm(dim=1, keepdim=True)
    a = [[float(rows[i] @ rows[j]) if i != j else 0.0 for j in range(size)] for i in range(size)]
    if similarity != "cosine":
        a = kernel(x, similarity == "rbf_squared")
    if k is not None:
        nearest = [sorted((j for j in range(size) if j != i), key=lambda j: -a[i][j])[:k] for i in range(size)]
        a = [[a[i][j] if j in nearest[i] or i in nearest[j] else 0.0 for j in range(size)] for i in range(size)]
    a = torch.tensor(a, dtype=torch.float64)
    if normalize:
        degrees = a.sum(dim=1)
        a = torch.tensor([[a[i, j] / (degrees[i] * degrees[j]).sqrt() for j in range(size)] for i in range(size)])
    matrix = torch.linalg.matrix_power(torch.diag(a.sum(dim=1)) - a, power)
    return sum(float(matrix[i, j]) for i in range(size) for j in range(size) if labels[i] == labels[j])


def kernel(x, squared):
    """Return exp(−2 · distance / mean distance), or the same with squares, zero on the diagonal."""
    rows = x.flatten(1)
    size = len(rows)
    distances = [[float((a - b).norm()) ** (2 if squared else 1) for b in rows] for a in rows]
    mean = sum(map(sum, distances)) / max(1, size * (size - 1)) or 1.0
    return [[math.exp(-2 * distances[i][j] / mean) if i != j else 0.0 for j in range(size)] for i in range(size)]


def loss_by_definition(
    representations, labels, power=2, reduction="mean", k=None, normalize=False, similarity="cosine"
):
    values = [variation(x, labels, power, k, normalize, similarity) for x in representations]
    gaps = [abs(values[layer + 1] - values[layer]) for layer in range(len(values) - 1)]
    return sum(gaps) / (len(gaps) if reduction == "mean" else 1)


OPTIONS = st.fixed_dictionaries(
    {
        "power": st.integers(1, 3),
        "reduction": st.sampled_from(["mean", "sum"]),
        "k": st.none() | st.integers(1, 4),
        "normalize": st.booleans(),
        "similarity": st.sampled_from(["cosine", "rbf", "rbf_squared"]),
    }
)


@given(options=OPTIONS, size=st.integers(2, 7), count=st.integers(2, 4), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_is_its_definition(options, size, count, seed):
    representations, labels = layers(size, seed, count=count), labels_of(size)
    value = LabelVariationRegularizer(**options)(representations, labels)
    assert value.shape == ()
    # the normalised matrix of the definition passes through float32
    tolerance = {"rel": 1e-5, "abs": 1e-5} if options["normalize"] else {"rel": 1e-9, "abs": 1e-10}
    assert value.item() == pytest.approx(loss_by_definition(representations, labels, **options), **tolerance)


@pytest.mark.parametrize(
    "option", [{"power": 1}, {"reduction": "sum"}, {"k": 2}, {"normalize": True}, {"similarity": "rbf"}]
)
def test_every_option_changes_the_value(option):
    representations, labels = layers(6), labels_of(6)
    value = LabelVariationRegularizer(**option)(representations, labels).item()
    assert value == pytest.approx(loss_by_definition(representations, labels, **option), rel=1e-5)
    assert value != pytest.approx(LabelVariationRegularizer()(representations, labels).item())


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("k", [6, 7, 50])
def test_k_larger_than_the_batch_keeps_every_edge(power, k):
    representations, labels = layers(7), labels_of(7)
    value = LabelVariationRegularizer(power=power, k=k)(representations, labels).item()
    assert value == pytest.approx(LabelVariationRegularizer(power=power)(representations, labels).item())


@pytest.mark.parametrize("options", [{}, {"k": 2}, {"normalize": True, "power": 1}])
def test_lengths_order_and_numbering_of_classes_do_not_matter(options):
    representations, labels = layers(6), labels_of(6)
    loss, order = LabelVariationRegularizer(**options), torch.tensor([3, 0, 5, 1, 2, 4])
    expected = loss(representations, labels).item()
    lengths = torch.linspace(0.1, 5, 6, dtype=torch.float64)[:, None]
    assert loss([lengths * x.flatten(1) for x in representations], labels).item() == pytest.approx(expected)
    assert loss([x[order] for x in representations], labels[order]).item() == pytest.approx(expected)
    assert loss(representations, torch.tensor([40, -3, 7])[labels]).item() == pytest.approx(expected)
    assert loss([x[order] for x in representations], labels).item() != pytest.approx(expected)
    assert loss(representations[::-1], labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("options", [{}, {"k": 2}, {"normalize": True, "reduction": "sum"}])
def test_layers_of_equal_label_variation_have_neither_loss_nor_gradient(options):
    x = layers(6, dtype=torch.float32)[0]
    representations = [x.clone().requires_grad_() for _ in range(3)]
    value = LabelVariationRegularizer(**options)(representations, labels_of(6))
    value.backward()
    assert value == 0
    assert all(x.grad.count_nonzero() == 0 for x in representations)


@pytest.mark.parametrize("options", [{}, {"power": 1}, {"power": 3, "reduction": "sum"}, {"k": 2, "normalize": True}])
def test_gradient_is_that_of_finite_differences(options):
    representations = [x.requires_grad_() for x in layers(5, count=3)]
    loss = LabelVariationRegularizer(**options)
    assert torch.autograd.gradcheck(lambda *x: loss(x, labels_of(5)), representations)


def test_a_step_down_the_gradient_makes_label_variation_smoother():
    representations, labels = [x.requires_grad_() for x in layers(9)], labels_of(9)
    loss = LabelVariationRegularizer()
    before = loss(representations, labels)
    gradients = torch.autograd.grad(before, representations)
    moved = [x - 1e-4 * gradient for x, gradient in zip(representations, gradients, strict=True)]
    assert loss(moved, labels) < before


@pytest.mark.parametrize("options", [{}, {"power": 1}, {"k": 2}, {"normalize": True}])
def test_identical_and_zero_inputs_give_finite_gradients(options):
    some = layers(6, dtype=torch.float32)
    for x in some:
        x[1] = x[0]
        x[3:5] = 0
    some[2] = torch.zeros_like(some[2])
    for x in some:
        x.requires_grad_()
    value = LabelVariationRegularizer(**options)(some, labels_of(6))
    assert value.isfinite()
    value.backward()
    assert all(x.grad.isfinite().all() for x in some)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("options", [{}, {"power": 1}, {"k": 3}, {"normalize": True}])
def test_half_precision_and_autocast_are_computed_in_float32(dtype, options):
    representations, labels = layers(8, dtype=dtype), labels_of(8)
    loss = LabelVariationRegularizer(**options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(representations, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss([x.float() for x in representations], labels), rtol=1e-5, atol=0)


def test_full_graphs_are_not_formed():
    size = 1_000_000
    representations = [torch.ones(size, 2), torch.rand(size, 3)]
    # a graph of a million vertices would take 4 TB
    assert LabelVariationRegularizer(power=1)(representations, labels_of(size)).isfinite()


def test_is_built_from_label_variations_of_the_library():
    representations, labels = layers(6), labels_of(6)
    first, second = (lgg.label_variation(lgg.similarity_graph(x), labels, power=2) for x in representations[:2])
    value = LabelVariationRegularizer()(representations[:2], labels)
    assert value.item() == pytest.approx(abs(second - first).item())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"reduction": "max"}, "reduction must be one of mean, sum, not 'max'"),
        ({"similarity": "max"}, "similarity must be one of cosine, rbf, rbf_squared, not 'max'"),
        ({"rbf_scale": -1}, "must be positive, not -1"),
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"power": 0}, "power must be at least 1, not 0"),
    ],
)
def test_unknown_options_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        LabelVariationRegularizer(**option)


@pytest.mark.parametrize(
    ("representations", "message"),
    [
        (torch.ones(4, 2), "put a single tensor in a list"),
        ([], "at least two are needed, not 0"),
        ([torch.ones(4, 2)], "at least two are needed, not 1"),
        ([torch.ones(4, 2), torch.ones(3, 2)], "layer 1: the batch has 3 inputs, there are 4 labels"),
    ],
)
def test_representations_that_cannot_be_compared_are_refused(representations, message):
    with pytest.raises(ValueError, match=message):
        LabelVariationRegularizer()(representations, labels_of(4))


def test_labels_that_are_no_integers_are_refused():
    with pytest.raises(ValueError, match="one integer for each of the 4 inputs"):
        LabelVariationRegularizer()([torch.ones(4, 2)] * 2, torch.zeros(4))
