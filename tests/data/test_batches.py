import mmap
import threading
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lgg.data import batches as module
from lgg.data.batches import READ_AHEAD, Batches, Feed, _fits, in_order, to_model_input
from lgg.data.storage import ImageSet, read_images, write_images

COUNT = 23
AUGMENTATIONS = ["none", "crop_and_flip", "random_resized_crop", "trivial_augment"]


def random_images(count=COUNT, height=32, width=32):
    return torch.randint(256, (count, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def batches(batch_size=8, seed=0, **options):
    return Batches(random_images(), torch.arange(COUNT), batch_size=batch_size, seed=seed, **options)


def whole_epoch(source, number=0):
    """Return all images and labels of an epoch, concatenated."""
    images, labels = zip(*source.epoch(number), strict=True)
    return torch.cat(images), torch.cat(labels)


def pixels(images):
    """Return model inputs converted back to (N, H, W, 3) uint8."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def mapped_images(folder):
    """Return the images of `random_images`, mapped from a file."""
    path = folder / "images.safetensors"
    labels = np.arange(COUNT) % 2
    write_images(path, ImageSet(random_images().numpy(), labels, ("a", "b")))
    return read_images(path).images


# --- which images -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_an_epoch_contains_each_image_once(augmentation):
    _, labels = whole_epoch(batches(augmentation=augmentation))
    assert sorted(labels.tolist()) == list(range(COUNT))


def test_without_augmentation_images_are_unchanged_and_keep_their_labels():
    images, labels = whole_epoch(batches())
    assert torch.equal(pixels(images), random_images()[labels])
    before, after = (Counter(image.numpy().tobytes() for image in batch) for batch in (random_images(), pixels(images)))
    assert before == after


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(8, [8, 8, 7]), (23, [23]), (22, [22, 1]), (100, [23]), (1, [1] * 23)]
)
def test_the_last_batch_may_be_smaller(batch_size, sizes):
    source = batches(batch_size)
    assert [len(labels) for _, labels in source.epoch(0)] == sizes
    assert [len(images) for images, _ in source.epoch(0)] == sizes
    assert len(source) == len(sizes)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_batches_have_the_format_of_network_inputs(augmentation):
    for images, labels in batches(augmentation=augmentation).epoch(0):
        assert images.shape == (len(labels), 3, 32, 32)
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert images.min() >= 0.0
        assert images.max() <= 1.0


def test_values_are_divided_by_255_exactly():
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(1, 16, 16, 3)
    assert torch.equal(to_model_input(every)[0, 0].flatten(), torch.arange(256) / 255)


def test_input_images_are_not_modified():
    images = random_images()
    source = Batches(images, torch.arange(COUNT), batch_size=8, seed=0, augmentation="crop_and_flip")
    whole_epoch(source)
    assert torch.equal(images, random_images())


# --- augmentation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", ["none", "crop_and_flip"])
def test_an_epoch_is_drawn_in_this_order_from_the_seed_and_its_number(augmentation):
    """Order, corners, mirroring: written out, since results of earlier versions depend on it."""
    generator = torch.Generator().manual_seed(7 * 1_000_003 + 4)
    order = torch.randperm(COUNT, generator=generator)
    expected = random_images()[order]
    if augmentation == "crop_and_flip":
        top, left = torch.randint(9, (2, COUNT), generator=generator)
        mirrored = torch.randint(2, (COUNT,), generator=generator, dtype=torch.bool)
        padded = F.pad(expected, (0, 0, 4, 4, 4, 4))
        crops = [image[y : y + 32, x : x + 32] for image, y, x in zip(padded, top, left, strict=True)]
        expected = torch.stack([crop.flip(1) if flip else crop for crop, flip in zip(crops, mirrored, strict=True)])
    images, labels = whole_epoch(batches(seed=7, augmentation=augmentation), 4)
    assert torch.equal(labels, order)
    assert torch.equal(images, expected.permute(0, 3, 1, 2) / 255)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS[1:])
def test_an_image_is_augmented_differently_in_each_epoch(augmentation):
    source = batches(augmentation=augmentation)
    views = set()
    for epoch in range(10):
        images, labels = whole_epoch(source, epoch)
        views.add(images[labels == 0].numpy().tobytes())
    assert len(views) >= 9


# --- reproducible -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_an_epoch_can_be_repeated_without_the_previous_ones(augmentation):
    source = batches(augmentation=augmentation, seed=5)
    for number in range(3):
        whole_epoch(source, number)
    for one, other in zip(
        whole_epoch(source, 3), whole_epoch(batches(augmentation=augmentation, seed=5), 3), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_the_global_generator_of_torch_is_not_used(augmentation):
    torch.manual_seed(0)
    first, state = whole_epoch(batches(augmentation=augmentation)), torch.get_rng_state()
    torch.manual_seed(1)
    second = whole_epoch(batches(augmentation=augmentation))
    assert torch.equal(first[0], second[0])
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())


def test_every_seed_and_every_epoch_has_its_own_order():
    orders = {tuple(whole_epoch(batches(seed=seed), epoch)[1].tolist()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_the_largest_seed_of_a_configuration_works():
    assert len(whole_epoch(batches(seed=2**31 - 1), 1000)[1]) == COUNT


# --- wherever the images are ----------------------------------------------------------------------------------------


def sources(folder):
    """Return each way to keep images: on the device, in main memory as a tensor and as an array, and in a file."""
    return {
        "on the device": (random_images(), True),
        "array on the device": (random_images().numpy(), None),
        "file on the device": (mapped_images(folder), True),
        "in memory": (random_images(), False),
        "array in memory": (random_images().numpy(), False),
        "in a file": (mapped_images(folder), False),
    }


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_batches_are_the_same_wherever_the_images_are(augmentation, tmp_path):
    expected = {epoch: list(batches(augmentation=augmentation).epoch(epoch)) for epoch in (0, 3)}
    for name, (images, resident) in sources(tmp_path).items():
        source = Batches(images, np.arange(COUNT), batch_size=8, seed=0, augmentation=augmentation, resident=resident)
        feed = Feed(source)
        # also from within an epoch, and while some of another one have been read ahead
        for epoch, first in ((0, 0), (3, 1), (0, 2), (3, 0)):
            feed.begin(epoch, first)
            for images_of, labels in expected[epoch][first:]:
                found, its_labels = feed.take(feed.load())
                assert torch.equal(found, images_of) and torch.equal(its_labels, labels), name
                assert found.stride() == images_of.stride()


def test_of_a_large_array_only_a_few_batches_are_read_ahead_and_what_was_read_is_released(monkeypatch):
    """The pages of a mapped file are returned by its map; here a map that notes it, in place of one of a large file."""
    images, released, read = random_images().numpy(), [], []
    monkeypatch.setattr(module, "release", lambda found: released.append(found is images))
    monkeypatch.setattr(module, "LARGEST_IN_MEMORY", images.nbytes - 1)
    monkeypatch.setattr(module, "_read", lambda *a, really=module._read: read.append(len(a[1])) or really(*a))
    feed = Feed(Batches(images, np.arange(COUNT), batch_size=2, seed=0))
    feed.begin(0)
    for taken in range(1, 13):
        feed.take(feed.load())
        assert len(read) <= min(taken + READ_AHEAD, 12)
    assert sorted(read) == [1] + [2] * 11 and released == [True] * 12
    monkeypatch.setattr(module, "LARGEST_IN_MEMORY", images.nbytes)
    assert Batches(images, np.arange(COUNT), batch_size=2, seed=0).resident
    assert len(released) == 12


def test_an_array_is_neither_copied_nor_released_if_it_is_not_large(monkeypatch):
    monkeypatch.setattr(module, "release", lambda _: pytest.fail("released"))
    images = random_images().numpy()
    source = Batches(images, np.arange(COUNT), batch_size=8, seed=0)
    assert source.images.data_ptr() == images.ctypes.data
    whole_epoch(source)


def test_an_error_of_reading_is_raised_where_the_batch_is_needed(monkeypatch):
    def fail(*_):
        raise OSError("the disk is gone")

    monkeypatch.setattr(module, "_read", fail)
    feed = Feed(Batches(random_images().numpy(), np.arange(COUNT), batch_size=8, seed=0, resident=False))
    feed.begin(0)
    with pytest.raises(OSError, match="the disk is gone"):
        feed.load()


def test_the_threads_that_read_end_with_their_feed():
    feed = Feed(Batches(random_images().numpy(), np.arange(COUNT), batch_size=8, seed=0, resident=False))
    feed.begin(0)
    feed.load()
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
    assert threads
    del feed
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_feeds_of_the_same_images_do_not_disturb_each_other():
    source = batches(augmentation="crop_and_flip")
    feeds = [Feed(source), Feed(source.with_seed(5))]
    for feed in feeds:
        feed.begin(2)
    for steps in zip(source.epoch(2), source.with_seed(5).epoch(2), strict=True):
        for feed, (images, labels) in zip(feeds, steps, strict=True):
            found, its_labels = feed.take(feed.load())
            assert torch.equal(found, images) and torch.equal(its_labels, labels)


# --- evaluation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 8, 23, 50])
def test_in_order_keeps_the_order(batch_size):
    parts = list(in_order(random_images(), batch_size))
    assert torch.equal(pixels(torch.cat(parts)), random_images())
    assert all(len(part) == batch_size for part in parts[:-1])
    assert all(part.is_contiguous(memory_format=torch.channels_last) for part in parts)


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="this system cannot return pages")
def test_in_order_reads_a_mapped_array_and_releases_it(tmp_path, monkeypatch):
    images, released = mapped_images(tmp_path), []
    monkeypatch.setattr(module, "release", lambda found: released.append(found is images))
    assert torch.equal(pixels(torch.cat(list(in_order(images, 8)))), random_images())
    assert released == [True] * 3


# --- where images are stored ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_batches_of_images_that_stay_in_main_memory_arrive_on_another_device(augmentation):
    """The meta device represents a GPU: a batch arrives there with the same shape and type."""
    here = batches(augmentation=augmentation)
    away = batches(augmentation=augmentation, device="meta", resident=False)
    assert (away.images.device.type, away.labels.device.type) == ("cpu", "meta")
    for (images, labels), (far_images, far_labels) in zip(here.epoch(1), away.epoch(1), strict=True):
        assert (far_images.device.type, far_labels.device.type) == ("meta", "meta")
        assert (far_images.shape, far_images.dtype, far_labels.shape) == (images.shape, images.dtype, labels.shape)
        assert far_images.stride() == images.stride()


@pytest.mark.parametrize(
    ("free", "kept"), [(10**9, True), (2 * COUNT * 32 * 32 * 3, True), (COUNT * 32 * 32 * 3, False)]
)
def test_images_stay_on_a_gpu_if_they_fill_at_most_half_of_its_free_memory(free, kept, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10**12))
    assert _fits(random_images(), torch.device("cuda")) == kept
    assert _fits(random_images().numpy(), torch.device("cuda")) == kept
    assert _fits(random_images(), torch.device("cpu"))


def test_another_seed_shares_the_images_but_not_the_order():
    first = batches(seed=0, augmentation="crop_and_flip")
    second = first.with_seed(5)
    assert second.images.data_ptr() == first.images.data_ptr()
    expected = batches(seed=5, augmentation="crop_and_flip")
    assert all(torch.equal(a, b) for a, b in zip(whole_epoch(second), whole_epoch(expected), strict=True))
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole_epoch(first), whole_epoch(batches(augmentation="crop_and_flip")), strict=True)
    )
