from collections import Counter

import pytest
import torch

from lgg.data.batches import PADDING, Batches, Feed, _fits, in_order, to_model_input

COUNT = 23


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


def padded_crop(image, top, left, mirrored):
    """Return one crop, pixel by pixel: zero padding, then the window, then mirroring."""
    height, width, _ = image.shape
    crop = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            y, x = row + top - PADDING, column + left - PADDING
            if 0 <= y < height and 0 <= x < width:
                crop[row, width - 1 - column if mirrored else column] = image[y, x]
    return crop


# --- which images -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", ["none", "crop_and_flip"])
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


@pytest.mark.parametrize("augmentation", ["none", "crop_and_flip"])
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


def crops(source, chosen, top, left, mirrored):
    """Return the crops that a plan with these corners and mirrorings makes."""
    first = torch.where(mirrored, left + source.side[1] - 1, left)
    return source.assembled(torch.stack([chosen, top, first, torch.where(mirrored, -1, 1)], dim=1))[0]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("top", "left"), [(4, 4), (0, 0), (8, 8), (0, 8), (8, 0), (3, 6)])
def test_crops_equal_a_loop_over_pixels(top, left, mirrored):
    images = random_images(3, height=10, width=12)
    source = Batches(images, torch.arange(3), batch_size=3, seed=0, augmentation="crop_and_flip")
    chosen = torch.tensor([2, 0])
    found = crops(source, chosen, torch.full((2,), top), torch.full((2,), left), torch.full((2,), mirrored))
    for crop, index in zip(found, chosen, strict=True):
        assert torch.equal(crop, padded_crop(images[index], top, left, mirrored))


def test_every_crop_in_a_batch_has_its_own_corner_and_mirror():
    images = random_images(4, height=6, width=6)
    source = Batches(images, torch.arange(4), batch_size=4, seed=0, augmentation="crop_and_flip")
    top, left, mirrored = (
        torch.tensor([0, 8, 4, 5]),
        torch.tensor([8, 1, 4, 0]),
        torch.tensor([True, False, True, False]),
    )
    for index, crop in enumerate(crops(source, torch.arange(4), top, left, mirrored)):
        assert torch.equal(crop, padded_crop(images[index], int(top[index]), int(left[index]), bool(mirrored[index])))


def corners_and_mirrors(source, epochs):
    """Return top, left and mirroring of every crop of many epochs, found by comparison with all possible ones."""
    images = random_images(height=5, width=5)
    possible = {
        (index, padded_crop(images[index], top, left, mirrored).numpy().tobytes()): (top, left, mirrored)
        for index in range(COUNT)
        for top in range(2 * PADDING + 1)
        for left in range(2 * PADDING + 1)
        for mirrored in (False, True)
    }
    found = []
    for epoch in range(epochs):
        crops, labels = whole_epoch(source, epoch)
        found += [
            possible[label, crop.numpy().tobytes()] for crop, label in zip(pixels(crops), labels.tolist(), strict=True)
        ]
    return found


def test_epochs_hold_crops_from_all_corners_half_of_them_mirrored():
    source = Batches(
        random_images(height=5, width=5), torch.arange(COUNT), batch_size=8, seed=0, augmentation="crop_and_flip"
    )
    tops, lefts, mirrored = zip(*corners_and_mirrors(source, 30), strict=True)
    assert len(set(zip(tops, lefts, strict=True))) == (2 * PADDING + 1) ** 2
    assert 0.4 < sum(mirrored) / len(mirrored) < 0.6


def test_an_image_is_cropped_differently_in_each_epoch():
    source = batches(augmentation="crop_and_flip")
    views = set()
    for epoch in range(10):
        images, labels = whole_epoch(source, epoch)
        views.add(images[labels == 0].numpy().tobytes())
    assert len(views) >= 9


# --- reproducible -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", ["none", "crop_and_flip"])
def test_an_epoch_can_be_repeated_without_the_previous_ones(augmentation):
    source = batches(augmentation=augmentation, seed=5)
    for number in range(3):
        whole_epoch(source, number)
    for one, other in zip(
        whole_epoch(source, 3), whole_epoch(batches(augmentation=augmentation, seed=5), 3), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("augmentation", ["none", "crop_and_flip"])
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


# --- the same in tensors that stay where they are ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "home", ["cpu", "cpu:0"]
)  # the latter as if it were another device, from which batches are copied
@pytest.mark.parametrize("augmentation", ["none", "crop_and_flip"])
def test_a_feed_gives_the_batches_of_an_epoch(augmentation, home):
    source = batches(augmentation=augmentation)
    source.home = torch.device(home)
    feed = Feed(source)
    assert feed.resident == (home == "cpu")
    for epoch, first in ((0, 0), (3, 1), (1, 2)):
        feed.begin(epoch, first)
        for images, labels in source.epoch(epoch, first):
            size = feed.load()
            found, its_labels = feed.take(size)
            assert size == len(labels)
            assert torch.equal(found, images) and torch.equal(its_labels, labels)
            assert found.stride() == images.stride()


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


# --- where images are stored ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", ["none", "crop_and_flip"])
def test_images_that_stay_in_main_memory_give_the_same_batches(augmentation):
    """The meta device represents a GPU: a batch arrives there with the same shape and type."""
    here = batches(augmentation=augmentation)
    away = batches(augmentation=augmentation, device="meta", resident=False)
    assert away.images.device == away.labels.device == torch.device("cpu")
    for (images, labels), (far_images, far_labels) in zip(here.epoch(1), away.epoch(1), strict=True):
        assert (far_images.device.type, far_labels.device.type) == ("meta", "meta")
        assert (far_images.shape, far_images.dtype, far_labels.shape) == (images.shape, images.dtype, labels.shape)
    assert torch.equal(away.images, here.images)
    away.device = torch.device("cpu")
    assert all(torch.equal(one, other) for one, other in zip(whole_epoch(away, 1), whole_epoch(here, 1), strict=True))


@pytest.mark.parametrize(
    ("free", "kept"), [(10**9, True), (2 * COUNT * 32 * 32 * 3, True), (COUNT * 32 * 32 * 3, False)]
)
def test_images_stay_on_a_gpu_if_they_fill_at_most_half_of_its_free_memory(free, kept, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10**12))
    assert _fits(random_images(), torch.device("cuda")) == kept
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
