"""Graphs, Laplacians and variations, compared with their definitions."""

import contextlib
import importlib
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lgg
from lgg.graph import (
    cosine_label_variations,
    distances_of_layers,
    flatten_rows,
    graphs_of_layers,
    label_variations,
    nearest_neighbours,
    one_hot,
    pairwise_distances,
    symmetric_normalization,
    unit_rows,
)

SIMILARITIES = ("cosine", "rbf", "rbf_squared")
few_examples = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)


def representations(size=8, dimensions=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(size, dimensions, dtype=torch.float64, generator=generator) + 0.01


def random_labels(size, classes=3, seed=0):
    return torch.randint(classes, (size,), generator=torch.Generator().manual_seed(seed))


def random_adjacency(size=8, density=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(size, size, dtype=torch.float64, generator=generator)
    present = torch.rand(size, size, generator=generator) < density
    upper = torch.triu(weights * present, diagonal=1)
    return upper + upper.T


def similarity_by_definition(a, b, similarity, scale=2.0):
    if similarity == "cosine":
        return float(a @ b / (math.sqrt(a @ a) * math.sqrt(b @ b)))
    distance = math.sqrt(sum((a - b) ** 2))
    return math.exp(-scale * (distance if similarity == "rbf" else distance**2))


def graph_by_definition(x, similarity, scale=2.0, diagonal=False):
    rows = x.numpy()
    size = len(rows)
    return torch.tensor(
        [
            [
                similarity_by_definition(rows[i], rows[j], similarity, scale) if i != j or diagonal else 0.0
                for j in range(size)
            ]
            for i in range(size)
        ],
        dtype=torch.float64,
    )


def neighbours_by_definition(weights, k):
    size = len(weights)
    nearest = [sorted((j for j in range(size) if j != i), key=lambda j: -weights[i][j])[:k] for i in range(size)]
    return torch.tensor([[j in nearest[i] or i in nearest[j] for j in range(size)] for i in range(size)])


def matrix_label_variation(adjacency, labels, power):
    v = (labels[:, None] == labels.unique()[None, :]).to(adjacency.dtype)
    matrix = torch.diag(adjacency.sum(1)) - adjacency
    return torch.trace(v.T @ torch.linalg.matrix_power(matrix, power) @ v)


def rounding_of_power(size, power):
    """Rounding error of tr(Vᵀ Lᵖ V) in float64, with ‖L‖ ≤ 2·B and B ones in V."""
    return 1e-14 * size * (2.0 * size) ** power


@contextlib.contextmanager
def form_of_label_variation(form):
    """Let cosine label variations be computed from matrices ("graphs") or linearly in B ("sums"), whatever the batch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "lgg.graph.MOST_INPUTS_OF_A_GRAPH", dict.fromkeys(("cpu", "accelerator"), 10**9 if form == "graphs" else 0)
        )
        yield


FORMS = ("graphs", "sums")
both_forms = pytest.mark.parametrize("form", FORMS)


def assert_close(actual, expected, rtol=1e-10, atol=1e-12):
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=rtol, atol=atol)


# Similarities


@pytest.mark.parametrize("similarity", SIMILARITIES)
@given(size=st.integers(1, 9), dimensions=st.integers(1, 6), seed=seeds)
@few_examples
def test_similarity_is_its_definition_off_a_zero_diagonal(similarity, size, dimensions, seed):
    x = representations(size, dimensions, seed)
    assert_close(lgg.similarity_graph(x, similarity=similarity), graph_by_definition(x, similarity))


@pytest.mark.parametrize("similarity", ["rbf", "rbf_squared"])
@pytest.mark.parametrize("scale", [0.3, 7.0])
def test_rbf_scale_multiplies_the_distance(similarity, scale):
    x = representations()
    graph = lgg.similarity_graph(x, similarity=similarity, rbf_scale=scale)
    assert_close(graph, graph_by_definition(x, similarity, scale))


@pytest.mark.parametrize("similarity", ["rbf", "rbf_squared"])
def test_default_rbf_scale_is_two(similarity):
    x = representations()
    default = lgg.similarity_graph(x, similarity=similarity)
    assert torch.equal(default, lgg.similarity_graph(x, similarity=similarity, rbf_scale=2.0))
    assert_close(default, graph_by_definition(x, similarity, scale=2.0))


def test_default_similarity_is_cosine():
    x = representations()
    assert torch.equal(lgg.similarity_graph(x), lgg.similarity_graph(x, similarity="cosine"))


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("k", [None, 3])
def test_self_loops_put_one_on_the_diagonal_and_change_nothing_else(similarity, k):
    x = representations()
    without = lgg.similarity_graph(x, similarity=similarity, k=k)
    assert_close(
        lgg.similarity_graph(x, similarity=similarity, k=k, self_loops=True),
        without + torch.eye(len(x), dtype=torch.float64),
    )


def test_self_loops_leave_the_laplacian_but_not_the_normalised_graph():
    x = representations()
    with_loops, without = (lgg.similarity_graph(x, self_loops=loops) for loops in (True, False))
    assert_close(lgg.laplacian(with_loops), lgg.laplacian(without))
    normalized = lgg.similarity_graph(x, self_loops=True, normalize=True)
    roots = graph_by_definition(x, "cosine", diagonal=True).sum(1).rsqrt()
    assert_close(normalized, torch.diag(roots) @ with_loops @ torch.diag(roots))


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("normalize", [False, True])
def test_graph_is_symmetric_with_a_zero_diagonal(similarity, k, normalize):
    graph = lgg.similarity_graph(representations(11), similarity=similarity, k=k, normalize=normalize)
    assert_close(graph, graph.T, rtol=0, atol=1e-15)
    assert (graph.diagonal() == 0).all()
    assert (graph >= 0).all()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_rows_of_any_shape_are_flattened(similarity):
    x = representations(6, 24)
    assert torch.equal(
        lgg.similarity_graph(x.view(6, 2, 3, 4), similarity=similarity), lgg.similarity_graph(x, similarity=similarity)
    )


@given(size=st.integers(2, 8), seed=seeds)
@few_examples
def test_cosine_ignores_the_length_of_each_row(size, seed):
    x = representations(size, seed=seed)
    lengths = 10.0 ** torch.linspace(-6, 6, size, dtype=torch.float64)
    assert_close(lgg.similarity_graph(x * lengths[:, None]), lgg.similarity_graph(x))


@pytest.mark.parametrize("similarity", ["rbf", "rbf_squared"])
def test_rbf_ignores_translation_and_rotation(similarity):
    x = representations(7, 4)
    rotation = torch.linalg.qr(representations(4, 4, seed=1)).Q
    moved = x @ rotation + torch.tensor([3.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    assert_close(lgg.similarity_graph(moved, similarity=similarity), lgg.similarity_graph(x, similarity=similarity))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_permuting_the_batch_permutes_the_graph(similarity):
    x = representations(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    options = {"similarity": similarity, "k": 3, "normalize": True}
    assert_close(lgg.similarity_graph(x[order], **options), lgg.similarity_graph(x, **options)[order][:, order])


@pytest.mark.parametrize("squared", [False, True])
def test_pairwise_distances_are_their_definition_far_from_the_origin(squared):
    x = representations(7, 3) + 100.0
    rows = x.numpy()
    expected = [[sum((a - b) ** 2) ** (1.0 if squared else 0.5) for b in rows] for a in rows]
    assert_close(pairwise_distances(x, squared=squared), expected)


def test_unit_rows_have_length_one_and_the_same_direction():
    x = representations(5, 6)
    rows = unit_rows(x.view(5, 2, 3))
    assert rows.shape == (5, 6)
    assert_close(rows.norm(dim=1), torch.ones(5))
    assert_close(rows * x.norm(dim=1, keepdim=True), x)


# Nearest neighbours


@given(data=st.data(), size=st.integers(2, 12), similarity=st.sampled_from(SIMILARITIES), seed=seeds)
@settings(max_examples=50, deadline=None)
def test_edge_is_kept_if_either_end_is_a_nearest_neighbour_of_the_other(data, size, similarity, seed):
    k = data.draw(st.integers(1, size))
    x = representations(size, seed=seed)
    full = lgg.similarity_graph(x, similarity=similarity)
    kept = neighbours_by_definition(full.tolist(), k)
    graph = lgg.similarity_graph(x, similarity=similarity, k=k)
    assert torch.equal(graph, torch.where(kept, full, 0.0))
    assert ((graph > 0).sum(dim=1) >= min(k, size - 1)).all()


def test_an_edge_chosen_by_one_end_is_kept():
    # 0 and 1 choose each other, 2 chooses 1, which does not choose it back
    line = torch.tensor([[0.0], [1.0], [2.5]], dtype=torch.float64)
    graph = lgg.similarity_graph(line, similarity="rbf", k=1)
    assert_close(graph[1, 2], math.exp(-2 * 1.5))
    assert graph[1, 2] == graph[2, 1]
    assert graph[0, 2] == 0


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("k", [5, 6])
def test_k_of_all_the_others_or_more_keeps_every_edge(similarity, k):
    x = representations(6)
    assert torch.equal(
        lgg.similarity_graph(x, similarity=similarity, k=k), lgg.similarity_graph(x, similarity=similarity)
    )


def test_a_vertex_is_not_its_own_neighbour_even_where_it_is_the_most_similar():
    mask = nearest_neighbours(random_adjacency(6) + 10 * torch.eye(6, dtype=torch.float64), 1)
    assert not mask.diagonal().any()
    assert (mask.sum(dim=1) >= 1).all()


def test_negative_similarities_are_neighbours_too():
    weights = random_adjacency(6) - 5.0
    assert torch.equal(nearest_neighbours(weights, 2), neighbours_by_definition(weights.tolist(), 2))


def test_batch_of_one_is_a_graph_without_edges():
    for similarity in SIMILARITIES:
        for options in ({}, {"k": 1}, {"normalize": True}):
            assert torch.equal(
                lgg.similarity_graph(representations(1), similarity=similarity, **options),
                torch.zeros(1, 1, dtype=torch.float64),
            )


# Normalisation and Laplacian


@pytest.mark.parametrize("similarity", SIMILARITIES)
@given(size=st.integers(2, 9), data=st.data(), seed=seeds)
@few_examples
def test_normalised_graph_is_scaled_by_the_degrees_of_the_thresholded_one(similarity, size, data, seed):
    k = data.draw(st.none() | st.integers(1, size))
    x = representations(size, seed=seed)
    adjacency = lgg.similarity_graph(x, similarity=similarity, k=k)
    degrees = [sum(row) for row in adjacency.tolist()]
    expected = [[float(adjacency[i, j]) / math.sqrt(degrees[i] * degrees[j]) for j in range(size)] for i in range(size)]
    assert_close(lgg.similarity_graph(x, similarity=similarity, k=k, normalize=True), expected)


def test_normalised_graph_has_the_root_of_the_degrees_as_a_fixed_point():
    adjacency = random_adjacency(7)
    root = adjacency.sum(1).sqrt()
    assert_close(symmetric_normalization(adjacency) @ root, root)


def test_normalising_leaves_vertices_without_edges_at_zero():
    adjacency = random_adjacency(5)
    adjacency[2] = adjacency[:, 2] = 0
    normalized = symmetric_normalization(adjacency)
    others = [0, 1, 3, 4]
    assert (normalized[2] == 0).all()
    assert (normalized[:, 2] == 0).all()
    assert_close(normalized[others][:, others], symmetric_normalization(adjacency[others][:, others]))


@given(size=st.integers(1, 10), density=st.sampled_from([0.0, 0.3, 1.0]), seed=seeds)
@few_examples
def test_laplacian_has_zero_row_sums_and_no_negative_eigenvalue(size, density, seed):
    adjacency = random_adjacency(size, density, seed)
    matrix = lgg.laplacian(adjacency)
    assert_close(matrix.sum(dim=1), torch.zeros(size))
    assert_close(matrix.diagonal(), [sum(row) for row in adjacency.tolist()])
    assert torch.equal(matrix - torch.diag(matrix.diagonal()), -adjacency)
    assert torch.linalg.eigvalsh(matrix).min() >= -1e-13 * size


def test_laplacian_and_total_variation_are_those_of_pygsp():
    graphs = importlib.import_module("pygsp.graphs")
    adjacency = lgg.similarity_graph(representations(10), k=3)
    signals = representations(10, 4, seed=1)
    oracle = graphs.Graph(adjacency.numpy())
    assert_close(lgg.laplacian(adjacency), oracle.L.toarray())
    assert_close(
        lgg.total_variation(adjacency, signals), sum(oracle.dirichlet_energy(signal) for signal in signals.T.numpy())
    )


# Total variation


@given(size=st.integers(1, 8), signals=st.integers(1, 3), density=st.sampled_from([0.0, 0.4, 1.0]), seed=seeds)
@few_examples
def test_total_variation_sums_over_unordered_pairs(size, signals, density, seed):
    adjacency = random_adjacency(size, density, seed)
    s = representations(size, signals, seed) - 0.5
    expected = sum(
        float(adjacency[i, j]) * float(s[i, c] - s[j, c]) ** 2
        for i in range(size)
        for j in range(i)
        for c in range(signals)
    )
    assert_close(lgg.total_variation(adjacency, s), expected)


def test_total_variation_takes_one_signal_as_a_vector():
    adjacency, signal = random_adjacency(6), representations(6, 1)
    assert_close(lgg.total_variation(adjacency, signal[:, 0]), lgg.total_variation(adjacency, signal))


def test_constant_signals_have_no_total_variation():
    assert_close(lgg.total_variation(random_adjacency(6), torch.full((6, 2), 3.0)), 0.0)


# Label variation


@given(size=st.integers(1, 9), density=st.sampled_from([0.0, 0.4, 1.0]), classes=st.integers(1, 5), seed=seeds)
@few_examples
def test_label_variation_sums_over_ordered_pairs_of_distinct_classes(size, density, classes, seed):
    adjacency = random_adjacency(size, density, seed)
    labels = random_labels(size, classes, seed)
    expected = sum(float(adjacency[i, j]) for i in range(size) for j in range(size) if int(labels[i]) != int(labels[j]))
    assert_close(lgg.label_variation(adjacency, labels), expected)


def test_label_variation_is_the_total_variation_of_the_label_matrix():
    adjacency, labels = random_adjacency(9), random_labels(9)
    assert_close(lgg.label_variation(adjacency, labels), lgg.total_variation(adjacency, one_hot(labels)))


@given(
    size=st.integers(1, 10),
    power=st.integers(1, 5),
    density=st.sampled_from([0.4, 1.0]),
    numbered=st.booleans(),
    seed=seeds,
)
@few_examples
def test_power_of_label_variation_is_that_of_the_laplacian(size, power, density, numbered, seed):
    adjacency, labels = random_adjacency(size, density, seed), random_labels(size, 3, seed)
    value = lgg.label_variation(adjacency, labels, power=power, num_classes=5 if numbered else None)
    assert_close(value, matrix_label_variation(adjacency, labels, power), atol=rounding_of_power(size, power))


@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("numbering", [(2, 0, 1), (7, -4, 1000)])
def test_numbering_of_classes_does_not_matter(power, numbering):
    x, labels = representations(10), random_labels(10)
    renumbered = torch.tensor(numbering)[labels]
    adjacency = lgg.similarity_graph(x)
    assert_close(
        lgg.label_variation(adjacency, renumbered, power=power), lgg.label_variation(adjacency, labels, power=power)
    )
    assert_close(
        lgg.cosine_label_variation(x, renumbered, power=power), lgg.cosine_label_variation(x, labels, power=power)
    )
    assert_close(
        lgg.normalized_label_variation(adjacency, renumbered), lgg.normalized_label_variation(adjacency, labels)
    )


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool])
def test_labels_may_be_of_any_integer_type(dtype):
    x, labels = representations(8), random_labels(8, classes=2)
    adjacency = lgg.similarity_graph(x)
    for power in (1, 2):
        expected = lgg.label_variation(adjacency, labels, power=power)
        assert expected > 0
        assert_close(lgg.label_variation(adjacency, labels.to(dtype), power=power), expected)
        assert_close(lgg.cosine_label_variation(x, labels.to(dtype), power=power), expected)


@pytest.mark.parametrize("weight", [1e-200, 1.0])
def test_label_variation_is_zero_exactly_when_no_edge_joins_two_classes(weight):
    labels = torch.tensor([0, 1, 0, 1, 2])
    adjacency = torch.where(labels[:, None] == labels[None, :], random_adjacency(5), 0.0)
    assert adjacency.sum() > 0
    assert lgg.label_variation(adjacency, labels) == 0
    adjacency[0, 4] = adjacency[4, 0] = weight
    assert lgg.label_variation(adjacency, labels) == 2 * weight


def test_powers_of_label_variation_vanish_where_no_edge_joins_two_classes():
    labels = random_labels(8)
    adjacency = torch.where(labels[:, None] == labels[None, :], random_adjacency(8), 0.0)
    for power in (2, 3, 4):
        assert_close(lgg.label_variation(adjacency, labels, power=power), 0.0, atol=rounding_of_power(8, power))


@pytest.mark.parametrize("power", [1, 2, 3])
def test_order_of_the_batch_does_not_matter(power):
    x, labels = representations(10), random_labels(10)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    assert_close(
        lgg.label_variation(lgg.similarity_graph(x[order], k=3), labels[order], power=power),
        lgg.label_variation(lgg.similarity_graph(x, k=3), labels, power=power),
    )
    assert_close(
        lgg.cosine_label_variation(x[order], labels[order], power=power),
        lgg.cosine_label_variation(x, labels, power=power),
    )


@pytest.mark.parametrize("self_loops", [False, True])
@given(
    size=st.integers(1, 12),
    power=st.integers(1, 4),
    classes=st.integers(1, 4),
    numbered=st.booleans(),
    zeros=st.integers(0, 2),
    form=st.sampled_from(FORMS),
    seed=seeds,
)
@settings(max_examples=60, deadline=None)
def test_cosine_label_variation_is_that_of_the_full_graph(
    self_loops, size, power, classes, numbered, zeros, form, seed
):
    x, labels = representations(size, seed=seed), random_labels(size, classes, seed)
    x[:zeros] = 0
    expected = matrix_label_variation(lgg.similarity_graph(x, self_loops=self_loops), labels, power)
    with form_of_label_variation(form):
        value = lgg.cosine_label_variation(x, labels, power=power, num_classes=classes + 1 if numbered else None)
    assert_close(value, expected, atol=rounding_of_power(size, power))


def test_cosine_label_variation_takes_negative_representations_and_any_shape():
    x, labels = representations(9, 12) - 0.5, random_labels(9)
    for power in (1, 2, 3):
        expected = matrix_label_variation(lgg.similarity_graph(x), labels, power)
        assert_close(lgg.cosine_label_variation(x.view(9, 3, 2, 2), labels, power=power), expected, atol=1e-11)


@pytest.mark.parametrize("power", [1, 2])
def test_cosine_label_variation_of_a_large_batch_forms_no_matrix_of_it(power):
    size = 64
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            largest = max(largest, *(t.numel() for t in [out] if isinstance(t, torch.Tensor)), 0)
            return out

    x, labels = representations(size, 5), random_labels(size)
    with form_of_label_variation("sums"), Watch():
        lgg.cosine_label_variation(x, labels, power=power)
    assert size <= largest < size * size


# Normalised label variation


@given(size=st.integers(2, 9), density=st.sampled_from([0.3, 1.0]), seed=seeds)
@few_examples
def test_normalised_label_variation_is_the_share_of_weight_between_classes(size, density, seed):
    adjacency, labels = random_adjacency(size, density, seed), random_labels(size, 3, seed)
    value = lgg.normalized_label_variation(adjacency, labels)
    between = sum(float(adjacency[i, j]) for i in range(size) for j in range(size) if labels[i] != labels[j])
    assert_close(value, between / (float(adjacency.sum()) or 1.0))
    assert 0 <= value <= 1 + 1e-12


def test_normalised_label_variation_is_one_where_every_edge_joins_two_classes():
    labels = torch.tensor([0, 0, 1, 2])
    adjacency = torch.where(labels[:, None] != labels[None, :], random_adjacency(4), 0.0)
    assert_close(lgg.normalized_label_variation(adjacency, labels), 1.0)


def test_normalised_label_variation_is_zero_where_no_edge_joins_two_classes():
    labels = torch.tensor([0, 0, 1, 1])
    adjacency = torch.where(labels[:, None] == labels[None, :], random_adjacency(4), 0.0)
    assert lgg.normalized_label_variation(adjacency, labels) == 0


def test_normalised_label_variation_of_a_graph_without_edges_is_zero():
    assert lgg.normalized_label_variation(torch.zeros(3, 3), torch.tensor([0, 1, 2])) == 0


def test_normalised_label_variation_ignores_self_loops_and_scale():
    x, labels = representations(7), random_labels(7)
    plain = lgg.normalized_label_variation(lgg.similarity_graph(x), labels)
    assert_close(lgg.normalized_label_variation(5 * lgg.similarity_graph(x, self_loops=True), labels), plain)


# Degenerate batches


@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("normalize", [False, True])
def test_row_of_zeros_is_similar_to_nothing_and_receives_no_gradient(k, normalize):
    x = representations(6)
    x[2] = 0
    x.requires_grad_()
    graph = lgg.similarity_graph(x, k=k, normalize=normalize, self_loops=True)
    assert (graph[2] == 0).all()
    assert (graph[:, 2] == 0).all()
    graph.square().sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad[2] == 0).all()
    assert (x.grad[[0, 1, 3, 4, 5]] != 0).any()


@pytest.mark.parametrize("power", [1, 2, 3])
@both_forms
def test_row_of_zeros_gives_cosine_label_variation_finite_gradients(power, form):
    x = representations(6)
    x[2] = 0
    x.requires_grad_()
    with form_of_label_variation(form):
        lgg.cosine_label_variation(x, torch.tensor([0, 1, 2, 0, 1, 2]), power=power).backward()
    assert x.grad.isfinite().all()
    assert (x.grad[2] == 0).all()
    assert (x.grad != 0).any()


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("normalize", [False, True])
def test_identical_rows_give_finite_values_and_gradients(similarity, dtype, normalize):
    x = representations(6).to(dtype)
    x[1] = x[0]
    x[5] = x[0]
    x.requires_grad_()
    graph = lgg.similarity_graph(x, similarity=similarity, normalize=normalize)
    assert graph.isfinite().all()
    graph.square().sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_batch_of_identical_rows_has_every_weight_one_and_no_gradient(similarity):
    x = torch.full((4, 3), 0.25, dtype=torch.float64, requires_grad=True)
    graph = lgg.similarity_graph(x, similarity=similarity)
    assert_close(graph, 1 - torch.eye(4))
    graph.sum().backward()
    assert_close(x.grad, torch.zeros(4, 3))


def test_distance_of_two_identical_rows_has_no_gradient():
    x = torch.tensor([[0.5, 1.0], [0.5, 1.0]], dtype=torch.float64, requires_grad=True)
    distances = pairwise_distances(x)
    assert (distances == 0).all()
    distances.sum().backward()
    assert (x.grad == 0).all()


# Gradients


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("normalize", [False, True])
def test_gradient_of_the_graph_is_that_of_finite_differences(similarity, k, normalize):
    x = representations(5, 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: lgg.similarity_graph(x, similarity=similarity, k=k, normalize=normalize), (x,)
    )


@pytest.mark.parametrize("power", [1, 2, 3])
def test_gradients_of_label_variation_are_those_of_finite_differences(power):
    labels = torch.tensor([0, 1, 2, 0, 1])
    x = representations(5, 3).requires_grad_()
    adjacency = random_adjacency(5).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: lgg.label_variation(a, labels, power=power), (adjacency,))
    assert torch.autograd.gradcheck(lambda x: lgg.cosine_label_variation(x, labels, power=power), (x,))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_gradient_of_label_variation_through_the_graph_is_that_of_finite_differences(similarity):
    labels = torch.tensor([0, 1, 2, 0, 1])
    x = representations(5, 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: lgg.label_variation(lgg.similarity_graph(x, similarity=similarity, k=2), labels), (x,)
    )


def test_gradients_of_total_and_normalised_label_variation_are_those_of_finite_differences():
    labels = torch.tensor([0, 1, 2, 0, 1])
    adjacency, signals = random_adjacency(5).requires_grad_(), representations(5, 2).requires_grad_()
    assert torch.autograd.gradcheck(lgg.total_variation, (adjacency, signals))
    assert torch.autograd.gradcheck(lambda a: lgg.normalized_label_variation(a, labels), (adjacency,))


@pytest.mark.parametrize("power", [1, 2, 3])
@both_forms
def test_cosine_label_variation_has_the_gradient_of_the_graph_s(power, form):
    labels = random_labels(9)
    one, other = (representations(9).requires_grad_() for _ in range(2))
    with form_of_label_variation(form):
        lgg.cosine_label_variation(one, labels, power=power).backward()
    lgg.label_variation(lgg.similarity_graph(other), labels, power=power).backward()
    assert_close(one.grad, other.grad, rtol=1e-9, atol=rounding_of_power(9, power))


@given(
    power=st.sampled_from([1, 2, 3]),
    layers=st.integers(1, 4),
    dimensions=st.integers(1, 6),
    form=st.sampled_from(FORMS),
    seed=seeds,
)
@few_examples
def test_layers_together_have_the_label_variations_and_gradients_of_each(power, layers, dimensions, form, seed):
    labels = random_labels(9, seed=seed)
    sizes = [dimensions + layer for layer in range(layers)]
    together = [representations(9, size, seed).requires_grad_() for size in sizes]
    alone = [x.detach().clone().requires_grad_() for x in together]
    weights = torch.rand(layers, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with form_of_label_variation(form):
        values = cosine_label_variations(together, labels, power=power)
    assert values.shape == (layers,)
    (values * weights).sum().backward()
    for value, weight, x, own in zip(values, weights, together, alone, strict=True):
        single = lgg.cosine_label_variation(own, labels, power=power)
        (single * weight).backward()
        assert_close(value, single, atol=rounding_of_power(9, power))
        assert_close(x.grad, own.grad, rtol=1e-9, atol=rounding_of_power(9, power))


@both_forms
def test_label_variations_need_no_gradient_of_layers_without_one(form):
    layers = [representations(9, seed=seed).requires_grad_(seed == 1) for seed in range(3)]
    with form_of_label_variation(form):
        cosine_label_variations(layers, random_labels(9), power=2).sum().backward()
    assert [x.grad is not None for x in layers] == [False, True, False]


def test_matrices_are_formed_of_small_batches_only():
    """What a batch costs in either form is measured by benchmarks; here only that the device and the batch decide."""
    for device, most in (("cpu", "cpu"), ("meta", "accelerator")):
        limit = lgg.graph.MOST_INPUTS_OF_A_GRAPH[most]
        for size, formed in ((limit, True), (limit + 1, False)):
            shapes = []

            class Watch(torch.utils._python_dispatch.TorchDispatchMode):
                def __torch_dispatch__(self, function, types, args=(), kwargs=None, shapes=shapes):
                    out = function(*args, **(kwargs or {}))
                    shapes.append(tuple(out.shape) if isinstance(out, torch.Tensor) else ())
                    return out

            own = one_hot(torch.arange(size, device=device) % 3, num_classes=3)
            layers = [torch.ones(size, 2, device=device)]
            form = lgg.graph._form_of_label_variations(layers)
            with Watch():
                form.of(2, own, *layers)
            assert ((1, size, size) in shapes) == formed


# Layers of one batch at once

OF_LAYERS = {
    "graphs": lambda layers: graphs_of_layers(layers, k=2, normalize=True),
    "graphs of distances": lambda layers: graphs_of_layers(layers, similarity="rbf", relative_distances=True),
    "graphs of squares": lambda layers: graphs_of_layers(
        layers, similarity="rbf_squared", self_loops=True, k=2, normalize=True
    ),
    "distances": distances_of_layers,
    "squares": lambda layers: distances_of_layers(layers, squared=True),
    "label variations": lambda layers: label_variations(graphs_of_layers(layers), random_labels(5), power=1),
    "powers": lambda layers: label_variations(graphs_of_layers(layers), random_labels(5), power=3),
}


@pytest.mark.parametrize("name", OF_LAYERS)
@pytest.mark.parametrize("most", [0, 3, 9], ids=["products", "both", "subtracted"])
def test_layers_at_once_are_as_each_alone(name, most, monkeypatch):
    """Layers are wide or narrow, and how their distances are computed depends on it."""
    monkeypatch.setattr("lgg.graph.MOST_DIMENSIONS_SUBTRACTED", most)
    layers = [representations(5, size).requires_grad_(size != 4) for size in (2, 6, 4, 3)]
    function = OF_LAYERS[name]
    together = function(layers)
    assert_close(together, torch.cat([function([x]) for x in layers]))
    wanted = [x for x in layers if x.requires_grad]
    assert torch.autograd.gradcheck(
        lambda *x: function([x[0], x[1], layers[2], x[2]]), wanted, atol=1e-4 if name == "powers" else 1e-5
    )


@pytest.mark.parametrize("function", [cosine_label_variations, distances_of_layers, graphs_of_layers])
def test_gradients_have_the_precision_of_their_layers(function):
    types = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
    layers = [representations(9, width).to(dtype).requires_grad_() for dtype in types for width in (4, 600)]
    options = {"labels": random_labels(9), "power": 2} if function is cosine_label_variations else {}
    value = function(layers, **options)
    assert value.dtype == torch.float64
    value.sum().backward()
    assert [x.grad.dtype for x in layers] == [dtype for dtype in types for _ in range(2)]


def test_normalisation_has_the_gradient_of_a_matrix_that_is_not_symmetric():
    matrices = torch.rand(2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(symmetric_normalization, (matrices,))
    assert torch.autograd.gradgradcheck(symmetric_normalization, (matrices,))


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("dimensions", [3, 600])
def test_gradient_of_distances_is_the_pull_of_each_pair(squared, dimensions):
    """The double loop of the gradient: a pair pulls along its difference, equally on both ends, with their weights' sum."""
    x, weights = representations(5, dimensions).requires_grad_(), random_adjacency(5) + torch.arange(5.0)
    (pairwise_distances(x, squared=squared) * weights).sum().backward()
    rows = x.detach()
    for i in range(5):
        pulls = [
            (weights[i, j] + weights[j, i]) * (rows[i] - rows[j]) * (2.0 if squared else 1 / (rows[i] - rows[j]).norm())
            for j in range(5)
            if j != i
        ]
        assert_close(x.grad[i], sum(pulls))


def test_the_gradient_of_close_rows_is_accurate_far_from_the_others():
    rows = torch.tensor([[10.0, 0.0], [10.0, 1e-3], [-10.0, 0.0]], requires_grad=True)
    pairwise_distances(rows)[0, 1].backward()
    torch.testing.assert_close(rows.grad, torch.tensor([[0.0, -1.0], [0.0, 1.0], [0.0, 0.0]]))


# Precision

# In half precision, the error of each of these would be a thousandth or more.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}


def computations(labels):
    return {
        "cosine": lgg.similarity_graph,
        "rbf": lambda x: lgg.similarity_graph(x, similarity="rbf"),
        "rbf_squared": lambda x: lgg.similarity_graph(x, similarity="rbf_squared"),
        "normalised": lambda x: lgg.similarity_graph(x, k=3, normalize=True),
        "distances": pairwise_distances,
        "label variation": lambda x: lgg.label_variation(lgg.similarity_graph(x), labels),
        "square of label variation": lambda x: lgg.label_variation(lgg.similarity_graph(x), labels, power=2),
        "cosine label variation": lambda x: lgg.cosine_label_variation(x, labels),
        "square of cosine label variation": lambda x: lgg.cosine_label_variation(x, labels, power=2),
        "total variation": lambda x: lgg.total_variation(lgg.similarity_graph(x), x),
        "share between classes": lambda x: lgg.normalized_label_variation(lgg.similarity_graph(x), labels),
    }


LABELS = random_labels(12)
COMPUTATIONS = computations(LABELS)


@pytest.mark.parametrize("name", COMPUTATIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name, dtype):
    x = representations(12, 40).to(dtype)
    value = COMPUTATIONS[name](x)
    assert value.dtype == torch.float32
    assert_close(value, COMPUTATIONS[name](x.float()), **FLOAT32)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("dtype", "digits"), [(torch.bfloat16, 8), (torch.float16, 11)])
@both_forms
def test_gradient_in_half_precision_is_as_accurate_as_its_type(power, dtype, digits, form):
    x = representations(24, 400).to(dtype).requires_grad_()
    exact = x.detach().double().requires_grad_()
    labels = random_labels(24)
    for rows in (x, exact):
        with form_of_label_variation(form):
            lgg.cosine_label_variation(rows, labels, power=power).backward()
    assert x.grad.dtype == dtype
    # the class sums, their weights, the projection and the sum of both are each rounded to a relative 2^-digits
    assert (x.grad.double() - exact.grad).norm() <= 4 * 2**-digits * exact.grad.norm()


@pytest.mark.parametrize("name", COMPUTATIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_autocast_changes_nothing(name, dtype):
    x = representations(12, 40).to(dtype)
    outside = COMPUTATIONS[name](x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = COMPUTATIONS[name](x)
        assert (x.float() @ x.float().T).dtype == torch.bfloat16  # autocast is enabled again
    assert inside.dtype == torch.float32
    assert_close(inside, outside, **FLOAT32)


@pytest.mark.parametrize("name", COMPUTATIONS)
def test_float64_keeps_its_precision(name):
    x = representations(12, 40)
    value = COMPUTATIONS[name](x)
    assert value.dtype == torch.float64
    single = COMPUTATIONS[name](x.float()).double()
    assert_close(value, single, rtol=1e-4, atol=1e-5)
    assert (value - single).abs().max() > 1e-12  # they would be equal if computed through float32


def test_keyword_arguments_work_inside_autocast():
    x = representations(6).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        graph = lgg.similarity_graph(k=2, x=x)
    assert_close(graph, lgg.similarity_graph(x, k=2), **FLOAT32)


# Laplacian eigenmaps


def up_to_sign(columns):
    largest = columns.gather(0, columns.abs().argmax(0, keepdim=True))
    return columns * largest.sign()


def test_eigenmaps_are_those_of_scikit_learn():
    manifold = importlib.import_module("sklearn.manifold")
    adjacency = lgg.similarity_graph(representations(20), k=6)
    expected = manifold.spectral_embedding(
        adjacency.numpy(), n_components=3, norm_laplacian=True, drop_first=True, random_state=0
    )
    assert_close(lgg.laplacian_eigenmaps(adjacency, 3), up_to_sign(torch.tensor(expected.copy())), rtol=1e-6, atol=1e-8)


@given(size=st.integers(2, 10), data=st.data(), seed=seeds)
@few_examples
def test_eigenmaps_solve_the_generalised_eigenproblem_by_smallest_eigenvalue(size, data, seed):
    dimensions = data.draw(st.integers(1, size - 1))
    adjacency = random_adjacency(size, seed=seed) + 0.05 * (1 - torch.eye(size, dtype=torch.float64))
    degrees = adjacency.sum(1)
    matrix = torch.diag(degrees) - adjacency
    y = lgg.laplacian_eigenmaps(adjacency, dimensions)
    # Rayleigh quotients, since D^1/2 y has unit length for every column
    values = (y * (matrix @ y)).sum(0)
    assert_close(matrix @ y, degrees[:, None] * y * values, atol=1e-10)
    assert_close(y.T @ (degrees[:, None] * y), torch.eye(dimensions), atol=1e-10)
    assert_close(degrees @ y, torch.zeros(dimensions), atol=1e-10)
    root = degrees.rsqrt()
    spectrum = torch.linalg.eigvalsh(root[:, None] * matrix * root)
    assert_close(values, spectrum[1 : dimensions + 1], atol=1e-10)


def test_largest_entry_of_each_eigenmap_is_positive():
    y = lgg.laplacian_eigenmaps(random_adjacency(9), 8)
    assert (y.gather(0, y.abs().argmax(0, keepdim=True)) > 0).all()


def test_eigenmaps_place_two_dimensions_by_default():
    adjacency = random_adjacency(6)
    assert torch.equal(lgg.laplacian_eigenmaps(adjacency), lgg.laplacian_eigenmaps(adjacency, 2))
    assert lgg.laplacian_eigenmaps(adjacency).shape == (6, 2)


def test_first_eigenmap_separates_the_parts_of_a_disconnected_graph():
    part = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    adjacency = torch.where(part[:, None] == part[None, :], random_adjacency(7) + 0.1, 0.0).fill_diagonal_(0)
    y = lgg.laplacian_eigenmaps(adjacency, 1)[:, 0]
    assert_close(y[:4], y[:1].expand(4), atol=1e-10)
    assert_close(y[4:], y[4:5].expand(3), atol=1e-10)
    assert y[0] * y[4] < 0
    assert_close(adjacency.sum(1) @ y, 0.0, atol=1e-10)


@pytest.mark.parametrize("isolated", [0, 5])
def test_isolated_vertices_are_at_the_origin_and_do_not_move_others(isolated):
    others = [i for i in range(6) if i != isolated]
    adjacency = torch.zeros(6, 6, dtype=torch.float64)
    smaller = random_adjacency(5)
    adjacency[torch.tensor(others)[:, None], torch.tensor(others)] = smaller
    y = lgg.laplacian_eigenmaps(adjacency, 2)
    assert (y[isolated] == 0).all()
    assert_close(y[others], lgg.laplacian_eigenmaps(smaller, 2), rtol=1e-8, atol=1e-10)


def test_isolated_vertices_take_no_dimension_of_the_eigenmaps():
    # every other eigenvalue of these graphs is above 1, the eigenvalue that a vertex without edges would have
    pair = torch.zeros(4, 4, dtype=torch.float64)
    pair[0, 1] = pair[1, 0] = 1.0
    assert_close(lgg.laplacian_eigenmaps(pair, 1)[:, 0].abs(), [0.5**0.5, 0.5**0.5, 0.0, 0.0])
    complete = (1 - torch.eye(5, dtype=torch.float64)).index_fill(0, torch.tensor(2), 0.0)
    complete[:, 2] = 0
    y = lgg.laplacian_eigenmaps(complete, 3)
    assert_close(y.T @ (complete.sum(1)[:, None] * y), torch.eye(3), atol=1e-10)


def test_self_loops_do_not_move_the_eigenmaps():
    x = representations(8)
    with_loops = lgg.laplacian_eigenmaps(lgg.similarity_graph(x, self_loops=True), 3)
    assert_close(with_loops, lgg.laplacian_eigenmaps(lgg.similarity_graph(x), 3), rtol=1e-8, atol=1e-10)


def test_eigenmaps_keep_the_type_of_the_graph_and_cut_the_gradient():
    adjacency = random_adjacency(6).float().requires_grad_()
    y = lgg.laplacian_eigenmaps(adjacency)
    assert y.dtype == torch.float32
    assert not y.requires_grad
    assert_close(y, lgg.laplacian_eigenmaps(adjacency.detach().double()).float(), rtol=1e-5, atol=1e-6)


def test_eigenmaps_do_not_modify_the_graph():
    adjacency = random_adjacency(6) + torch.eye(6, dtype=torch.float64)
    before = adjacency.clone()
    lgg.laplacian_eigenmaps(adjacency)
    assert torch.equal(adjacency, before)


# Errors

SQUARE, TALL, THREE = torch.zeros(4, 4), torch.zeros(4, 3), torch.tensor([0, 1, 2])
FOUR = torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize("x", [torch.zeros(4), torch.tensor(1.0), torch.zeros(0, 3)])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_batch_without_rows_or_features_is_refused(x, similarity):
    with pytest.raises(ValueError, match=r"shape \(B, \.\.\.\) with B at least 1"):
        lgg.similarity_graph(x, similarity=similarity)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, _: lgg.similarity_graph(x),
        lambda x, _: lgg.similarity_graph(x, similarity="rbf"),
        lambda x, labels: lgg.cosine_label_variation(x, labels),
        lambda x, labels: lgg.losses.GraphDistillation()([x], [x], labels),
        lambda x, _: lgg.losses.RelationalDistillation()([x], [x]),
        lambda x, labels: lgg.losses.LabelVariation()(x, labels),
        lambda x, labels: lgg.losses.LabelVariation(similarity="cosine", normalize_embeddings=True)(x, labels),
        lambda x, labels: lgg.losses.LabelVariationRegularizer()([x, x], labels),
        lambda x, labels: lgg.losses.Triplet()(x, labels),
    ],
)
def test_nested_and_sparse_batches_are_refused(function):
    dense = torch.rand(4, 3)
    for x, message in (
        (torch.nested.nested_tensor([torch.rand(2, 3), torch.rand(5, 3)]), "enable_nested_tensor=False"),
        (dense.to_sparse(), r"call .to_dense\(\)"),
    ):
        with pytest.raises(ValueError, match=message):
            function(x, torch.zeros(len(dense) if x.is_sparse else 2, dtype=torch.int64))


@pytest.mark.parametrize("k", [0, -1, 5])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_k_outside_the_batch_is_refused(k, similarity):
    with pytest.raises(ValueError, match=f"between 1 and 4, not {k}"):
        lgg.similarity_graph(representations(4), similarity=similarity, k=k)


def test_unknown_similarity_is_refused():
    with pytest.raises(ValueError, match="one of cosine, rbf, rbf_squared, not 'euclidean'"):
        lgg.similarity_graph(representations(4), similarity="euclidean")


@pytest.mark.parametrize("similarity", ["rbf", "rbf_squared"])
@pytest.mark.parametrize("scale", [0, -1.0, math.nan])
def test_rbf_scale_that_is_not_positive_is_refused(similarity, scale):
    with pytest.raises(ValueError, match=f"must be positive, not {scale}"):
        lgg.similarity_graph(representations(4), similarity=similarity, rbf_scale=scale)


@pytest.mark.parametrize(
    "function",
    [
        lgg.laplacian,
        lgg.laplacian_eigenmaps,
        lambda a: lgg.total_variation(a, torch.zeros(4)),
        lambda a: lgg.label_variation(a, FOUR),
        lambda a: lgg.normalized_label_variation(a, FOUR),
    ],
)
def test_adjacency_that_is_not_square_is_refused(function):
    with pytest.raises(ValueError, match=r"shape \(B, B\), not \(4, 3\)"):
        function(TALL)


def test_signals_of_another_number_of_vertices_are_refused():
    with pytest.raises(ValueError, match="one row for each of the 4 vertices, not 3"):
        lgg.total_variation(SQUARE, torch.zeros(3, 2))


@pytest.mark.parametrize("dimensions", [0, 4])
def test_eigenmaps_in_too_few_or_too_many_dimensions_are_refused(dimensions):
    with pytest.raises(
        ValueError, match=f"dimensions must be between 1 and 3 for a graph of 4 vertices, not {dimensions}"
    ):
        lgg.laplacian_eigenmaps(SQUARE, dimensions)


@pytest.mark.parametrize("labels", [THREE, FOUR[:, None], FOUR.float(), FOUR.to(torch.complex64)])
@pytest.mark.parametrize("function", [lgg.label_variation, lgg.cosine_label_variation, lgg.normalized_label_variation])
def test_labels_that_are_not_one_integer_for_each_input_are_refused(function, labels):
    with pytest.raises(ValueError, match=r"one integer for each of the 4 inputs, shape \(4,\)"):
        function(SQUARE, labels)


@pytest.mark.parametrize("power", [0, -1, 1.5, True])
@pytest.mark.parametrize("function", [lgg.label_variation, lgg.cosine_label_variation])
def test_power_that_is_not_a_whole_number_from_one_is_refused(function, power):
    with pytest.raises(ValueError, match=f"a positive integer, not {power!r}"):
        function(SQUARE, FOUR, power=power)


# The package


def test_every_public_name_resolves():
    assert set(lgg.__all__) >= {
        "similarity_graph",
        "laplacian",
        "total_variation",
        "label_variation",
        "cosine_label_variation",
        "laplacian_eigenmaps",
    }
    for name in lgg.__all__:
        assert getattr(lgg, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'lgg' has no attribute 'nothing'"):
        _ = lgg.nothing


@pytest.mark.parametrize("package", ["lgg", "lgg.losses", "lgg.models"])
def test_importing_a_package_imports_no_torch(package):
    code = f"import sys, {package}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@both_forms
def test_tiny_rows_have_a_finite_gradient(form):
    x = (torch.rand(4, 3) * 1e-21).requires_grad_()
    with form_of_label_variation(form):
        lgg.cosine_label_variation(x, torch.arange(4)).backward()
    assert torch.isfinite(x.grad).all()


def test_distances_of_close_rows_are_accurate_far_from_the_others():
    generator = torch.Generator().manual_seed(0)
    rows = 10 * torch.eye(10).repeat_interleave(5, dim=0) + 1e-4 * torch.randn(50, 10, generator=generator)
    exact = torch.cdist(rows.double(), rows.double(), compute_mode="donot_use_mm_for_euclid_dist")
    # subtraction of float32 values is exact to their last digit; squares, sum and root add a few roundings
    torch.testing.assert_close(pairwise_distances(rows).double(), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dimensions", [3, 512, 513, 32768])
def test_equal_rows_have_distance_zero(dimensions):
    rows = torch.randn(16, dimensions, generator=torch.Generator().manual_seed(0))
    rows[5] = rows[2]
    assert pairwise_distances(rows)[2, 5] == 0
    assert pairwise_distances(rows).diagonal().count_nonzero() == 0


@pytest.mark.parametrize("squared", [True, False])
def test_both_computations_of_distances_agree(squared, monkeypatch):
    rows = torch.randn(9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    subtracted = pairwise_distances(rows, squared=squared)
    monkeypatch.setattr("lgg.graph.MOST_DIMENSIONS_SUBTRACTED", 0)
    torch.testing.assert_close(pairwise_distances(rows, squared=squared), subtracted)
    assert torch.autograd.gradcheck(lambda x: pairwise_distances(x, squared=squared), (rows.requires_grad_(),))


def test_dimensions_without_a_solution_are_zero():
    adjacency = torch.zeros(5, 5)
    adjacency[:3, :3] = 1
    adjacency.fill_diagonal_(0)
    coordinates = lgg.laplacian_eigenmaps(adjacency, 4)
    assert coordinates[:, 2:].count_nonzero() == 0
    assert (coordinates[:3, :2].abs().sum(dim=0) > 0).all()


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.bfloat16])
def test_weights_of_other_types_are_computed_in_float32(dtype):
    adjacency = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    assert lgg.total_variation(adjacency, torch.tensor([0.0, 0.5])).item() == 0.25
    assert lgg.label_variation(adjacency, torch.tensor([0, 1]), power=2).item() == 4 * 1.0
    assert lgg.normalized_label_variation(adjacency, torch.tensor([0, 1])).item() == 1.0


# --- memory formats -----------------------------------------------------------------------------------------------


def test_channels_last_in_memory_is_read_without_a_copy():
    x = torch.rand(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    assert flatten_rows(x).data_ptr() == x.data_ptr()


@pytest.mark.parametrize("power", [1, 2, 3])
@both_forms
def test_the_memory_format_changes_neither_value_nor_gradient(power, form):
    labels = random_labels(6)
    x = torch.rand(6, 3, 4, 4, dtype=torch.float64)
    outcomes = []
    for layout in (torch.contiguous_format, torch.channels_last):
        leaf = x.clone().contiguous(memory_format=layout).requires_grad_()
        with form_of_label_variation(form):
            value = lgg.cosine_label_variation(leaf, labels, power=power)
        value.backward()
        outcomes.append((value.detach(), leaf.grad))
    torch.testing.assert_close(outcomes[0], outcomes[1])
