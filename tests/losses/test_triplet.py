"""The loss of hardest and of all triplets compared with the loops that define it."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lgg.losses import Triplet


def embeddings(size, seed=0, dimensions=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, dimensions, dtype=torch.float64, generator=generator).to(dtype)


def loss_by_definition(x, labels, margin=0.2, normalize_embeddings=False, triplets="hard"):
    rows, labels = x.tolist(), labels.tolist()
    if normalize_embeddings:
        rows = [[value / math.hypot(*row) for value in row] for row in rows]
    terms = []
    for a, anchor in enumerate(rows):
        same = [math.dist(anchor, p) for i, p in enumerate(rows) if labels[i] == labels[a] and i != a]
        other = [math.dist(anchor, n) for i, n in enumerate(rows) if labels[i] != labels[a]]
        if triplets == "all":
            violations = [p - n for p in same for n in other]
        else:
            violations = [max(same) - min(other)] if same and other else []
        terms += [math.log1p(math.exp(one)) if margin == "soft" else max(0.0, margin + one) for one in violations]
    if triplets == "all":
        terms = [term for term in terms if term > 0]
    return sum(terms) / len(terms) if terms else 0.0


@given(
    labels=st.lists(st.integers(0, 3), min_size=2, max_size=9),
    margin=st.sampled_from([0.05, 0.2, 3.0, "soft"]),
    normalize_embeddings=st.booleans(),
    triplets=st.sampled_from(["hard", "all"]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=100, deadline=None)
def test_is_its_definition(labels, margin, normalize_embeddings, triplets, seed):
    x, labels = embeddings(len(labels), seed), torch.tensor(labels)
    options = {"margin": margin, "normalize_embeddings": normalize_embeddings, "triplets": triplets}
    value = Triplet(**options)(x, labels)
    assert value.shape == ()
    assert value.item() == pytest.approx(loss_by_definition(x, labels, **options), rel=1e-9, abs=1e-13)


def test_anchors_with_a_term_of_zero_count_in_the_mean():
    # on a line: class 0 at 0 and 1, class 1 at 2 and 20; hardest positives 1, 1, 18, 18 and negatives 2, 1, 1, 19
    x, labels = torch.tensor([[0.0], [1.0], [2.0], [20.0]]), torch.tensor([0, 0, 1, 1])
    # terms 0, 0.5, 17.5 and 0
    assert Triplet(margin=0.5)(x, labels).item() == pytest.approx(18.0 / 4)


@pytest.mark.parametrize("margin", [0.2, "soft"])
@pytest.mark.parametrize("triplets", ["hard", "all"])
@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [0, 1, 2, 3]])
def test_batch_without_triplets_has_neither_loss_nor_gradient(margin, triplets, labels):
    x = embeddings(4, dtype=torch.float32).requires_grad_()
    value = Triplet(margin=margin, triplets=triplets)(x, torch.tensor(labels))
    value.backward()
    assert value == 0
    assert x.grad.count_nonzero() == 0


@pytest.mark.parametrize("margin", [1.0, "soft"])
@pytest.mark.parametrize("normalize_embeddings", [False, True])
@pytest.mark.parametrize("triplets", ["hard", "all"])
def test_gradient_is_that_of_finite_differences(margin, normalize_embeddings, triplets):
    loss, labels = Triplet(margin, normalize_embeddings, triplets), torch.arange(6) % 2
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (embeddings(6).requires_grad_(),))


@pytest.mark.parametrize("normalize_embeddings", [False, True])
@pytest.mark.parametrize("triplets", ["hard", "all"])
def test_identical_and_zero_embeddings_give_finite_gradients(normalize_embeddings, triplets):
    some = embeddings(6, dtype=torch.float32)
    some[1] = some[0]
    some[3:5] = 0
    for x in (some, some[:1].expand_as(some).clone(), torch.zeros_like(some)):
        x.requires_grad_()
        value = Triplet(0.2, normalize_embeddings, triplets)(x, torch.arange(6) % 2)
        assert value.isfinite()
        value.backward()
        assert x.grad.isfinite().all()


def test_distances_of_a_batch_far_from_the_origin_keep_their_digits():
    x, labels = 1e-3 * embeddings(40, dtype=torch.float32) + 100, torch.arange(40) % 4
    value = Triplet(margin=1e-3)(x, labels).item()
    # the differences of these float32 values are exact
    assert value == pytest.approx(loss_by_definition(x, labels, margin=1e-3), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("normalize_embeddings", [False, True])
def test_half_precision_and_autocast_are_computed_in_float32(dtype, normalize_embeddings):
    x, labels = embeddings(8, dtype=dtype), torch.arange(8) % 3
    loss = Triplet(normalize_embeddings=normalize_embeddings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(x, labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(x.float(), labels), rtol=1e-5, atol=0)


def test_order_and_numbering_of_classes_do_not_matter():
    x, labels = embeddings(8), torch.arange(8) % 3
    loss, order = Triplet(margin=2.0), torch.tensor([3, 0, 5, 1, 7, 2, 4, 6])
    expected = loss(x, labels).item()
    assert loss(x[order], labels[order]).item() == pytest.approx(expected)
    assert loss(x, torch.tensor([40, -3, 7])[labels]).item() == pytest.approx(expected)
    assert loss(x[order], labels).item() != pytest.approx(expected)


@pytest.mark.parametrize("margin", [0, -0.1, math.nan, "hard"])
def test_margin_that_is_not_positive_is_refused(margin):
    with pytest.raises(ValueError, match=f"margin must be a positive distance or 'soft', not {margin!r}"):
        Triplet(margin=margin)


def test_triplets_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="triplets must be 'hard' or 'all', not 'semihard'"):
        Triplet(triplets="semihard")


def test_labels_that_do_not_belong_to_the_batch_are_refused():
    with pytest.raises(ValueError, match="one integer for each of the 4 inputs"):
        Triplet()(torch.rand(4, 3), torch.zeros(3, dtype=torch.int64))


def test_other_losses_do_not_import_its_dependencies():
    code = (
        "import sys, lgg.losses; lgg.losses.build('label_variation'); import lgg.losses.triplet; "
        "print('pytorch_metric_learning' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
