import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lgg.data.draws import draw_evenly
from lgg.errors import DataError


@st.composite
def draws(draw):
    """Labels of every class, a count that can cover them all, and a seed."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    labels = draw(st.permutations([label for label, size in enumerate(sizes) for _ in range(size)]))
    count = draw(st.integers(len(sizes), len(labels)))
    return np.array(labels, dtype=np.int64), count, draw(st.integers(0, 2**31 - 1))


@given(draws())
@settings(max_examples=200, deadline=None)
def test_a_draw_has_the_requested_size_without_repetition_and_is_sorted(given_draw):
    labels, count, seed = given_draw
    positions = draw_evenly(labels, count, seed, "key")
    assert positions.shape == (count,)
    assert (np.diff(positions) > 0).all()
    assert positions.min() >= 0 and positions.max() < len(labels)


@given(draws())
@settings(max_examples=200, deadline=None)
def test_classes_differ_by_at_most_one_image_unless_exhausted(given_draw):
    labels, count, seed = given_draw
    drawn = np.bincount(labels[draw_evenly(labels, count, seed, "key")], minlength=labels.max() + 1)
    used_up = drawn == np.bincount(labels)
    assert (drawn >= 1).all()
    # a class with images left has as many as the largest class, or one fewer
    assert (drawn[~used_up] >= drawn.max() - 1).all()


@given(draws())
@settings(max_examples=50, deadline=None)
def test_draws_are_reproducible_and_larger_ones_contain_smaller_ones(given_draw):
    labels, count, seed = given_draw
    positions = draw_evenly(labels, count, seed, "key")
    assert np.array_equal(positions, draw_evenly(labels.copy(), count, seed, "another key"))
    if count < len(labels):
        # adding images keeps those drawn before, so results computed on them remain valid
        assert set(positions) <= set(draw_evenly(labels, count + 1, seed, "key"))


def test_seeds_draw_different_images():
    labels = np.arange(200, dtype=np.int64) % 10
    assert not np.array_equal(*(draw_evenly(labels, 50, seed, "key") for seed in (0, 1)))


def test_all_images_of_a_class_are_equally_likely():
    labels = np.arange(12, dtype=np.int64) % 2
    times = np.zeros(12)
    for seed in range(2000):
        times[draw_evenly(labels, 4, seed, "key")] += 1
    # two of six in each of 2,000 draws: a binomial with deviation √(2000 · 1/3 · 2/3) = 21; five deviations are allowed
    assert np.abs(times - 2000 / 3).max() < 5 * 21.1


@pytest.mark.parametrize("count", [None, 7])
def test_without_a_count_all_images_are_taken_in_order(count):
    assert np.array_equal(draw_evenly(np.array([1, 1, 0, 2, 0, 2, 2]), count, 3, "key"), np.arange(7))


def test_the_labels_are_not_modified():
    labels = np.arange(20, dtype=np.int64) % 3
    before = labels.copy()
    draw_evenly(labels, 10, 0, "key")
    assert np.array_equal(labels, before)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (13, r"corruptions\.images: 13 images are requested, but there are only 12"),
        (3, r"corruptions\.images: 3 images cannot cover all 4 classes"),
    ],
)
def test_too_many_and_too_few_are_refused_with_the_name_of_the_key(count, message):
    with pytest.raises(DataError, match=message):
        draw_evenly(np.arange(12, dtype=np.int64) % 4, count, 0, "corruptions.images")
