"""Label variation as a loss compared with the double loop that defines it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lgg
from lgg.losses import LabelVariation


def embeddings(size, seed=0, dimensions=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(size, dimensions, dtype=torch.float64, generator=generator) / 2).to(dtype)


def labels_of(size):
    return torch.arange(size) % 3


def similarities(rows, similarity, scale):
    weights = {
        "rbf": lambda a, b: math.exp(-scale * math.dist(a, b)),
        "rbf_squared": lambda a, b: math.exp(-scale * math.dist(a, b) ** 2),
        "cosine": lambda a, b: sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b)),
    }
    return [[weights[similarity](a, b) for b in rows] for a in rows]


def loss_by_definition(
    x,
    labels,
    similarity="rbf",
    rbf_scale=2.0,
    k=None,
    normalize=False,
    self_loops=False,
    power=1,
    normalize_embeddings=False,
    reduction="mean",
    attraction=0.0,
):
    rows, labels, size = x.tolist(), labels.tolist(), len(x)
    if normalize_embeddings == "batch":
        columns = []
        for column in zip(*rows, strict=True):
            mean = sum(column) / size
            deviation = math.sqrt(sum((value - mean) ** 2 for value in column) / size + 1e-5)
            columns.append([(value - mean) / deviation for value in column])
        rows = [list(row) for row in zip(*columns, strict=True)]
    elif normalize_embeddings:
        rows = [[value / math.hypot(*row) for value in row] for row in rows]
    weights = similarities(rows, similarity, rbf_scale)
    others = [[j for j in range(size) if j != i] for i in range(size)]
    nearest = [sorted(others[i], key=lambda j: -weights[i][j])[: size if k is None else k] for i in range(size)]
    a = [
        [weights[i][j] if (j in nearest[i] or i in nearest[j]) or (i == j and self_loops) else 0.0 for j in range(size)]
        for i in range(size)
    ]
    if normalize:
        degrees = [sum(row) for row in a]
        a = [
            [
                a[i][j] / math.sqrt(degrees[i] * degrees[j]) if min(degrees[i], degrees[j]) > 0 else 0.0
                for j in range(size)
            ]
            for i in range(size)
        ]
    laplacian = [[(sum(a[i]) if i == j else 0.0) - a[i][j] for j in range(size)] for i in range(size)]
    result = laplacian
    for _ in range(power - 1):
        result = [[sum(result[i][m] * laplacian[m][j] for m in range(size)) for j in range(size)] for i in range(size)]
    variation = sum(result[i][j] for i in range(size) for j in range(size) if labels[i] == labels[j])
    edges = [(i, j) for i in range(size) for j in others[i] if j in nearest[i] or i in nearest[j]]
    between = sum(labels[i] != labels[j] for i, j in edges)
    if not between:
        return -attraction * sum(a[i][j] for i, j in edges) / len(edges)
    if reduction == "sum":
        return variation
    if reduction == "log_mean":
        return math.log(variation / between)
    return variation / between - attraction * sum(a[i][j] for i, j in edges) / len(edges)


OPTIONS = st.fixed_dictionaries(
    {
        "similarity": st.sampled_from(["rbf", "rbf_squared", "cosine"]),
        "rbf_scale": st.sampled_from([0.3, 2.0, 5.0]),
        "k": st.none() | st.integers(1, 4),
        "normalize": st.booleans(),
        "self_loops": st.booleans(),
        "power": st.integers(1, 3),
        "normalize_embeddings": st.sampled_from([False, True, "batch"]),
        "reduction": st.sampled_from(["sum", "mean", "log_mean"]),
        "attraction": st.sampled_from([0.0, 0.5, 1.5]),
    }
)


@given(options=OPTIONS, size=st.integers(3, 8), seed=st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_is_its_definition_for_every_choice_of_options(options, size, seed):
    x, labels = embeddings(size, seed), labels_of(size)
    if options["similarity"] == "cosine":
        x = x.abs() + 0.05
        options |= {"normalize_embeddings": options["normalize_embeddings"] is True}  # whose cosines can be negative
    if (options["reduction"], options["power"]) != ("mean", 1):
        options |= {"attraction": 0.0}
    if options["reduction"] == "log_mean":
        options |= {"k": None}
    value = LabelVariation(**options)(x, labels)
    assert value.shape == ()
    # the Laplacian of 8 vertices has entries up to 8
    lost = 1e-14 * 8.0 ** (2 * options["power"])
    assert value.item() == pytest.approx(loss_by_definition(x, labels, **options), rel=1e-9, abs=lost)


@pytest.mark.parametrize(
    ("option", "on"),
    [
        ({"similarity": "rbf_squared"}, {}),
        ({"similarity": "cosine"}, {}),
        ({"rbf_scale": 1.0}, {}),
        ({"k": 2}, {}),
        ({"normalize": True}, {}),
        ({"self_loops": True}, {"normalize": True}),
        ({"power": 2}, {}),
        ({"normalize_embeddings": True}, {}),
        ({"normalize_embeddings": "batch"}, {}),
        ({"reduction": "sum"}, {}),
        ({"reduction": "log_mean"}, {}),
        ({"attraction": 0.5}, {}),
        ({"attraction": 0.5}, {"k": 2, "normalize": True, "self_loops": True}),
    ],
)
def test_every_option_changes_the_value(option, on):
    x, labels = embeddings(7).abs() if option == {"similarity": "cosine"} else embeddings(7), labels_of(7)
    value = LabelVariation(**on, **option)(x, labels).item()
    assert value == pytest.approx(loss_by_definition(x, labels, **on, **option))
    assert value != pytest.approx(LabelVariation(**on)(x, labels).item())


def test_sum_is_the_label_variation_of_the_graph():
    x, labels = embeddings(9), labels_of(9)
    for power in (1, 2):
        expected = lgg.label_variation(lgg.similarity_graph(x, similarity="rbf", k=4), labels, power=power)
        assert LabelVariation(k=4, power=power, reduction="sum")(x, labels).item() == pytest.approx(expected.item())


def test_mean_does_not_depend_on_the_size_of_the_batch():
    x, labels = embeddings(6), labels_of(6)
    loss = LabelVariation()
    # doubling the batch gives every pair of different classes four times
    doubled = loss(torch.cat([x, x]), torch.cat([labels, labels]))
    assert doubled.item() == pytest.approx(loss(x, labels).item())
    apart = LabelVariation()(torch.zeros(6, 2), labels)
    assert apart.item() == pytest.approx(1.0)


@given(k=st.none() | st.integers(1, 11), size=st.integers(3, 12), normalize=st.booleans())
@settings(max_examples=40, deadline=None)
def test_mean_is_the_mean_weight_of_an_edge_between_classes_whatever_k(k, size, normalize):
    x, labels = embeddings(size), labels_of(size)
    graph = lgg.similarity_graph(x, similarity="rbf", k=k and min(k, size), normalize=normalize)
    between = graph[(labels[:, None] != labels[None, :]) & (graph > 0)]
    expected = between.mean().item() if len(between) else 0.0
    assert LabelVariation(k=k, normalize=normalize)(x, labels).item() == pytest.approx(expected)


def test_k_does_not_scale_the_loss_of_equal_similarities():
    corners = torch.eye(8, dtype=torch.float64)  # all at the same distance
    values = {LabelVariation(k=k)(corners, labels_of(8)).item() for k in (None, 1, 2, 4)}
    assert max(values) == pytest.approx(min(values))


def test_a_graph_without_an_edge_between_classes_has_neither_loss_nor_gradient():
    x = torch.tensor([[0.0, 0.0], [0.1, 0.0], [9.0, 0.0], [9.1, 0.0]]).requires_grad_()
    value = LabelVariation(k=1, power=2)(x, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value == 0
    assert x.grad.count_nonzero() == 0


@pytest.mark.parametrize("k", [6, 7, 50])
def test_k_larger_than_the_batch_keeps_every_edge(k):
    x, labels = embeddings(7), labels_of(7)
    assert LabelVariation(k=k)(x, labels).item() == LabelVariation()(x, labels).item()


@pytest.mark.parametrize("options", [{}, {"k": 2}, {"power": 2}, {"normalize": True, "reduction": "mean"}])
def test_shift_rotation_order_and_numbering_of_classes_do_not_matter(options):
    x, labels = embeddings(8), labels_of(8)
    loss = LabelVariation(**options)
    expected = loss(x, labels).item()
    angle = torch.tensor(0.7, dtype=torch.float64)
    rotation = torch.eye(3, dtype=torch.float64)
    rotation[:2, :2] = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    order = torch.tensor([3, 0, 5, 1, 7, 2, 4, 6])
    assert loss(x @ rotation + 3, labels).item() == pytest.approx(expected)
    assert loss(x[order], labels[order]).item() == pytest.approx(expected)
    assert loss(x, torch.tensor([40, -3, 7])[labels]).item() == pytest.approx(expected)
    # merging two classes removes the edges between them
    assert loss(x, labels.clamp_max(1)).item() != pytest.approx(expected)


def test_a_step_down_the_gradient_drives_the_classes_apart():
    x, labels = embeddings(9).requires_grad_(), labels_of(9)
    loss = LabelVariation()
    before = loss(x, labels)
    (gradient,) = torch.autograd.grad(before, x)
    assert loss(x - 0.05 * gradient, labels) < before
    other = labels[:, None] != labels[None, :]
    assert torch.cdist(x - 0.05 * gradient, x - 0.05 * gradient)[other].mean() > torch.cdist(x, x)[other].mean()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"similarity": "rbf_squared", "reduction": "mean"},
        {"k": 2, "normalize": True, "self_loops": True},
        {"power": 2, "normalize_embeddings": True},
        {"power": 3},
    ],
)
def test_gradient_is_that_of_finite_differences(options):
    loss = LabelVariation(**options)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels_of(5)), (embeddings(5).requires_grad_(),))


@pytest.mark.parametrize("options", [{}, {"reduction": "mean", "power": 2}, {"k": 1, "power": 3}, {"normalize": True}])
@pytest.mark.parametrize("size", [1, 5])
def test_batch_of_one_class_has_neither_loss_nor_gradient(options, size):
    x = embeddings(size, dtype=torch.float32).requires_grad_()
    value = LabelVariation(**options)(x, torch.full((size,), 4))
    value.backward()
    assert value == 0
    assert x.grad.count_nonzero() == 0


@pytest.mark.parametrize("similarity", ["rbf", "rbf_squared", "cosine"])
@pytest.mark.parametrize(
    "options", [{}, {"k": 2}, {"normalize": True}, {"normalize_embeddings": True}, {"power": 2, "reduction": "mean"}]
)
def test_identical_and_zero_embeddings_give_finite_gradients(similarity, options):
    some = embeddings(6, dtype=torch.float32)
    some[1] = some[0]
    some[3:5] = 0
    for x in (some, some[:1].expand_as(some).clone(), torch.zeros_like(some), 1e4 * some):
        if similarity == "cosine":
            x = x.abs()
        x.requires_grad_()
        value = LabelVariation(similarity=similarity, **options)(x, labels_of(6))
        assert value.isfinite()
        value.backward()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "options", [{}, {"power": 2}, {"similarity": "cosine", "k": 3}, {"normalize_embeddings": True}]
)
def test_half_precision_and_autocast_are_computed_in_float32(dtype, options):
    x = embeddings(8, dtype=dtype).abs()
    loss = LabelVariation(**options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(x, labels_of(8))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(x.float(), labels_of(8)), rtol=1e-5, atol=0)


def test_training_under_autocast_reaches_the_weights():
    layer = torch.nn.Linear(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = LabelVariation()(layer(torch.randn(6, 4)), labels_of(6))
    value.backward()
    assert layer.weight.grad.dtype == torch.float32
    assert layer.weight.grad.isfinite().all()
    assert layer.weight.grad.count_nonzero() > 0


@pytest.mark.parametrize(("dimensions", "separates"), [(2, False), (10, True)])
def test_free_points_separate_except_on_a_circle(dimensions, separates):
    """On a circle, points reach their class only past others that repel them, so descent stops with classes mixed."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat_interleave(6)
    points = torch.randn(len(labels), dimensions, generator=generator).requires_grad_()
    loss = LabelVariation(similarity="rbf", rbf_scale=2.0, reduction="mean", normalize_embeddings=True)
    optimizer = torch.optim.SGD([points], lr=10.0, momentum=0.9)
    losses = []
    for _ in range(500):
        value = loss(points, labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        with torch.no_grad():  # lengths affect only the size of the gradient, not the loss
            points.div_(points.norm(dim=1, keepdim=True))
        losses.append(value.item())
    nearest = torch.cdist(points, points).fill_diagonal_(torch.inf).argmin(dim=1)
    assert losses[-1] == pytest.approx(losses[-100], rel=1e-3)  # it has converged
    assert bool((labels[nearest] == labels).all()) == separates


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"similarity": "euclidean"}, "similarity must be one of cosine, rbf, rbf_squared, not 'euclidean'"),
        ({"reduction": "none"}, "reduction must be one of mean, log_mean, sum, not 'none'"),
        ({"normalize_embeddings": "unit"}, "normalize_embeddings must be True, False or 'batch', not 'unit'"),
        ({"reduction": "log_mean", "k": 5}, "use k=None"),
        ({"attraction": -0.5}, "attraction must not be negative"),
        ({"attraction": math.nan}, "attraction must not be negative"),
        ({"attraction": 0.5, "reduction": "log_mean"}, 'needs reduction="mean" and power=1'),
        ({"attraction": 0.5, "power": 2}, 'needs reduction="mean" and power=1'),
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"power": 0}, "power must be at least 1, not 0"),
        ({"rbf_scale": 0.0}, "must be positive, not 0.0"),
        ({"rbf_scale": math.nan}, "must be positive, not nan"),
    ],
)
def test_unknown_options_are_refused(option, message):
    with pytest.raises(ValueError, match=message):
        LabelVariation(**option)


@pytest.mark.parametrize("shape", [(4, 1), (1,), (3,)])
def test_labels_that_do_not_belong_to_the_batch_are_refused(shape):
    with pytest.raises(ValueError, match="one integer for each of the 4 inputs"):
        LabelVariation()(torch.rand(4, 3), torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("options", [{}, {"reduction": "log_mean"}, {"attraction": 0.5}])
def test_standardised_embeddings_can_be_differentiated_twice_and_batched(options):
    loss, labels = LabelVariation(normalize_embeddings="batch", **options), labels_of(6)
    x = embeddings(6).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: loss(rows, labels, 3), x)
    assert torch.autograd.gradgradcheck(lambda rows: loss(rows, labels, 3), x)
    several = torch.stack([embeddings(6, seed) for seed in (1, 2)])
    together = torch.func.vmap(lambda rows: loss(rows, labels, 3))(several)
    torch.testing.assert_close(together, torch.stack([loss(rows, labels, 3) for rows in several]))
    assert LabelVariation(normalize_embeddings="batch", **options)(embeddings(1), labels_of(1)).isfinite()
