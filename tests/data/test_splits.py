import threading

import numpy as np
import pytest

from lgg.data import splits
from lgg.data.splits import Split, computed, stacked
from lgg.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)


def split(labels, small=(), classes=("a", "b", "c")):
    """Return a split of images of which those at the positions `small` were enlarged, in blocks of two."""

    def read(positions):
        for start in range(0, len(positions), 2):
            part = positions[start : start + 2]
            yield PIXELS[part], len(set(part.tolist()) & set(small))

    return Split(16, np.asarray(labels), classes, ("from a test",), read)


def test_a_split_is_read_in_blocks():
    data = split(np.arange(12) % 3)
    assert data.shape == PIXELS.shape
    assert [len(block) for block in data.blocks()] == [2] * 6
    np.testing.assert_array_equal(data.in_memory().images, PIXELS)


def test_chosen_images_alone_are_read():
    data = split(np.arange(12) % 3).chosen(np.array([1, 5, 6, 9, 11]), "five")
    again = data.chosen(np.array([0, 2, 4]), "three")
    whole = again.in_memory()
    np.testing.assert_array_equal(whole.images, PIXELS[[1, 6, 11]])
    assert whole.labels.tolist() == [1, 0, 2]
    assert whole.notes == ("from a test", "five", "three")


def test_enlarged_images_are_counted_when_they_are_read():
    data = split(np.arange(12) % 3, small=(1, 2, 7))
    assert data.notes == ("from a test",)
    for _ in range(2):
        data.in_memory()
        assert data.notes[1:] == ("3 of 12 images are smaller than 16 × 16 pixels and were enlarged",)
    part = data.chosen(np.arange(6), "six")
    assert part.in_memory().notes[2:] == ("2 of 6 images are smaller than 16 × 16 pixels and were enlarged",)


def test_labels_are_checked_before_anything_is_read():
    with pytest.raises(DataError, match="classes without images in this split: c"):
        split([0, 1, 0])
    with pytest.raises(DataError, match="without images in this split: b"):
        split(np.arange(12) % 3).chosen(np.array([0, 2]), "two")


def test_blocks_have_a_bounded_number_of_bytes(monkeypatch):
    monkeypatch.setattr(splits, "BLOCK", 5 * 16 * 16 * 3)
    parts = list(stacked(((image, place % 4 == 0) for place, image in enumerate(PIXELS)), 16))
    assert [len(images) for images, _ in parts] == [5, 5, 2]
    assert [enlarged for _, enlarged in parts] == [2, 1, 0]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in parts]), PIXELS)


@pytest.mark.parametrize("threads", [1, 3])
def test_jobs_are_computed_in_order_by_several_threads(threads):
    together = threading.Barrier(threads)

    def job(number):
        together.wait(30)  # until as many run at once as there are threads
        return number

    assert list(computed((lambda number=number: job(number) for number in range(12)), threads)) == list(range(12))


def test_only_a_few_jobs_are_started_ahead():
    started = []
    results = computed(
        (lambda number=number: number for number in iter(lambda: started.append(0) or len(started), -1)), 2
    )
    for _ in range(10):
        next(results)
    assert len(started) <= 10 + 2 * splits.AHEAD + 1
    results.close()


def test_the_first_error_is_raised_after_the_results_before_it():
    jobs = [lambda: 1, lambda: 1 / 0, lambda: [][0]]
    results = computed(jobs, 3)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
