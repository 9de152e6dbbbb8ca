"""Augmentations against torchvision's functions, one image at a time with the same parameters, and against what is drawn."""

import math

import pytest
import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from lgg.data import augmentation
from lgg.data.augmentation import OPERATIONS, CropAndFlip, RandomResizedCrop, TrivialAugment

CPU = torch.device("cpu")
ALL = ["none", "crop_and_flip", "random_resized_crop", "trivial_augment"]
SIGNED, GEOMETRIC = OPERATIONS[1:10], OPERATIONS[1:6]


def random_images(count, height, width, seed=1):
    """Return images with smooth parts and noise, with a different range of values in each channel."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(256, (count, height, width, 3), generator=generator)
    ramp = torch.arange(height)[:, None, None] * 5 + torch.arange(width)[:, None] * 3
    mixed = (ramp + noise // 4) * torch.tensor([0.7, 0.4, 0.9]) + torch.tensor([5.0, 60.0, 0.0])
    return torch.where(torch.arange(count)[:, None, None, None] % 2 == 0, mixed, noise.float()).clamp(0, 255).byte()


def drawn(name, count, side, seed=0):
    return augmentation.build(name, side, CPU).draw(count, torch.Generator().manual_seed(seed))


def as_torchvision(image):
    return image.permute(2, 0, 1)


# --- all of them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("side", [(8, 8), (10, 13), (32, 32)])
def test_an_image_is_augmented_by_its_own_numbers_whatever_is_in_its_batch(name, side):
    images, augment = random_images(6, *side), augmentation.build(name, side, CPU)
    before = images.clone()
    chosen, numbers = torch.tensor([4, 0, 3, 4, 1]), drawn(name, 5, side)
    assert numbers.shape == (5, augment.numbers) and numbers.dtype == torch.int64
    together = augment(images, chosen, numbers)
    assert (together.shape, together.dtype) == ((5, *side, 3), torch.uint8) and together.is_contiguous()
    for place in range(5):
        alone = augment(images[chosen[place]][None], torch.tensor([0]), numbers[place : place + 1])
        assert torch.equal(alone[0], together[place])
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", ALL)
def test_an_augmentation_reads_no_value_on_the_host(name):
    """On the meta device there are no values that could be read."""
    side, device = (8, 8), torch.device("meta")
    augment = augmentation.build(name, side, device)
    images = torch.empty(6, *side, 3, dtype=torch.uint8, device=device)
    chosen = torch.empty(5, dtype=torch.int64, device=device)
    assert augment(images, chosen, drawn(name, 5, side).to(device)).shape == (5, *side, 3)


def test_another_augmentation_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"'cutmix'; there are none, crop_and_flip, random_resized_crop, triv"):
        augmentation.build("cutmix", (8, 8), CPU)


# --- crops and mirroring ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "padding"),
    [((32, 32), (4, 4)), ((8, 8), (1, 1)), ((28, 28), (4, 4)), ((64, 96), (8, 12)), ((9, 16), (2, 2))],
)
def test_a_crop_is_a_window_of_the_image_padded_by_an_eighth_of_its_side(side, padding):
    images, (rows, columns) = random_images(3, *side), padding
    numbers = torch.tensor(
        [[0, 0, 0], [2 * rows, 2 * columns, 1], [rows, 1, 1], [1, 2 * columns, 0], [rows, columns, 0]]
    )
    chosen = torch.tensor([2, 0, 1, 1, 2])
    crops = CropAndFlip(side, CPU)(images, chosen, numbers)
    for crop, image, (top, left, mirrored) in zip(crops, images[chosen], numbers.tolist(), strict=True):
        window = tv.crop(tv.pad(as_torchvision(image), [columns, rows]), top, left, *side)
        assert torch.equal(as_torchvision(crop), tv.horizontal_flip(window) if mirrored else window)
    found = drawn("crop_and_flip", 4000, side)
    assert found.amin(0).tolist() == [0, 0, 0]
    assert found.amax(0).tolist() == [2 * rows, 2 * columns, 1]


def test_positions_and_mirroring_are_uniform_and_independent():
    numbers = drawn("crop_and_flip", 81 * 2 * 100, (32, 32))
    counts = torch.zeros(9, 9, 2).index_put_(tuple(numbers.T), torch.tensor(1.0), accumulate=True)
    # each count is about Poisson of mean 100: six standard deviations
    assert ((counts - 100).abs() < 60).all()


# --- random resized crops -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [(32, 32), (10, 13), (20, 8)])
def test_a_resized_crop_is_torchvision_s(side):
    images, numbers = random_images(40, *side), drawn("random_resized_crop", 40, side, seed=3)
    numbers[:3] = torch.tensor([[0, 0, *side, 0], [side[0] - 1, side[1] - 1, 1, 1, 1], [1, 2, 3, 5, 1]])
    found = RandomResizedCrop(side, CPU)(images, torch.arange(40), numbers)
    assert torch.equal(found[0], images[0])
    for crop, image, (*part, mirrored) in zip(found, images, numbers.tolist(), strict=True):
        image = as_torchvision(image).float()
        expected = tv.resized_crop(image, *part, side, InterpolationMode.BILINEAR, antialias=True)
        expected = tv.horizontal_flip(expected) if mirrored else expected
        # rounded from values that float32 has to 1e-4
        assert (as_torchvision(crop) - expected).abs().max() <= 0.5 + 1e-3


@pytest.mark.parametrize("side", [(32, 32), (224, 224), (24, 40)])
def test_parts_have_the_areas_ratios_and_places_of_torchvision_s(side):
    count = 3000
    top, left, heights, widths, mirrored = drawn("random_resized_crop", count, side).T
    assert ((top >= 0) & (top + heights <= side[0]) & (left >= 0) & (left + widths <= side[1])).all()
    torch.manual_seed(1)
    theirs = v2.RandomResizedCrop(side)
    parts = [theirs.make_params([torch.empty(3, *side)]) for _ in range(count)]
    for name, ours in (("top", top), ("left", left), ("height", heights), ("width", widths)):
        expected = torch.tensor([part[name] for part in parts])
        # the largest difference of two empirical distributions of one, which it exceeds once in 10,000 times (Smirnov)
        at = torch.arange(max(side) + 1)[:, None]
        difference = ((ours <= at).double().mean(1) - (expected <= at).double().mean(1)).abs().max()
        assert difference < math.sqrt(-math.log(1e-4 / 2) / count)
    assert abs(mirrored.double().mean() - 0.5) < 4 * 0.5 / math.sqrt(count)


@pytest.mark.parametrize(("side", "middle"), [((8, 400), [0, 194, 8, 11]), ((400, 8), [194, 0, 11, 8])])
def test_where_no_part_fits_the_largest_one_in_the_middle_is_taken(side, middle):
    """Parts of 8 % of such an image are far too wide or high for it."""
    numbers = drawn("random_resized_crop", 20, side)
    assert numbers[:, :4].tolist() == [middle] * 20
    torch.manual_seed(0)
    theirs = v2.RandomResizedCrop(side).make_params([torch.empty(3, *side)])
    assert [theirs[name] for name in ("top", "left", "height", "width")] == middle


# --- TrivialAugmentWide -------------------------------------------------------------------------------------------


def applied(images, names, levels, signs):
    """Return images (N, H, W, 3) to each of which one operation is applied, without crop or mirroring."""
    side = images.shape[1:3]
    augment = TrivialAugment(tuple(side), CPU)
    numbers = [
        (OPERATIONS.index(name) * 31 + level) * 2 + (sign < 0)
        for name, level, sign in zip(names, levels, signs, strict=True)
    ]
    unmoved = torch.tensor([[*augment.shifts, 0]]).expand(len(images), 3)
    return augment(images, torch.arange(len(images)), torch.cat([unmoved, torch.tensor(numbers)[:, None]], dim=1))


def by_torchvision(image, name, magnitude):
    """Return an image (H, W, 3) changed as TrivialAugmentWide of torchvision does."""
    theirs = v2.TrivialAugmentWide()
    changed = theirs._apply_image_or_video_transform(
        as_torchvision(image), name, magnitude, interpolation=theirs.interpolation, fill=theirs._fill
    )
    return changed.permute(1, 2, 0)


def magnitudes(name, side):
    """Return torchvision's magnitude of each of the 31 levels, and whether it has a sign."""
    of, signed = v2.TrivialAugmentWide._AUGMENTATION_SPACE[name]
    found = of(31, *side)
    return [0.0] * 31 if found is None else found.double().tolist(), signed


def test_operations_are_those_of_torchvision_in_number_and_order():
    assert tuple(v2.TrivialAugmentWide._AUGMENTATION_SPACE) == OPERATIONS
    assert tuple(name for name in OPERATIONS if magnitudes(name, (32, 32))[1]) == SIGNED
    assert len(drawn("trivial_augment", 14 * 31 * 2 * 12, (8, 8))[:, 3].unique()) == 14 * 31 * 2


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("side", [(16, 16), (12, 20)])
def test_an_operation_is_torchvision_s(name, side):
    strengths, signed = magnitudes(name, side)
    cases = [(level, sign) for level in (0, 1, 7, 15, 20, 30) for sign in ((1, -1) if signed else (1,))]
    images = random_images(len(cases), *side)
    found = applied(images, [name] * len(cases), *zip(*cases, strict=True))
    # where a pixel lies between two others, or a value at a threshold, rounding decides: parameters may be just next to these
    nudges = (0.0, 1e-4, -1e-4) if name in (*GEOMETRIC, "Solarize") else (0.0,)
    # values are cut, not rounded, so that an error of rounding can make a difference of 1
    largest = 1 if name in ("Brightness", "Color", "Contrast", "Sharpness", "AutoContrast") else 0
    for image, ours, (level, sign) in zip(images, found, cases, strict=True):
        near = [sign * strengths[level] + nudge for nudge in nudges]
        theirs = [by_torchvision(image, name, min(one, 1.0) if name == "Solarize" else one) for one in near]
        differences = (torch.stack(theirs).int() - ours.int()).abs().amin(0)
        if name == "Rotate":  # a pixel near the middle is not moved by the nudges
            assert (differences > 0).double().mean() < 0.01, (level, sign)
        else:
            assert differences.max() <= largest, (level, sign)
            assert (differences > 0).double().mean() < 0.25, (level, sign)


@pytest.mark.parametrize("name", OPERATIONS)
def test_images_of_one_value_are_allowed(name):
    """They have no contrast to stretch and no steps to spread."""
    for value in (0, 77):
        image = torch.full((1, 8, 8, 3), value, dtype=torch.uint8)
        ours, theirs = (
            applied(image, [name], [30], [1])[0],
            by_torchvision(image[0], name, magnitudes(name, (8, 8))[0][30]),
        )
        assert (ours.int() - theirs.int()).abs().max() <= 1


def test_the_blurred_image_is_the_mean_that_pillow_takes():
    """At the lowest factor, 0.01, almost only the blurred image is left: (sum of nine + 4 times the middle) / 13."""
    image = torch.zeros(1, 8, 8, 3, dtype=torch.uint8)
    image[0, 3, 4] = 130
    ours = applied(image, ["Sharpness"], [30], [-1])[0, :, :, 0]
    assert ours[3, 4] == int(50 * 0.99 + 130 * 0.01) and ours[2, 3] == int(10 * 0.99) and ours[1, 4] == 0


def test_trivial_augment_starts_from_the_crops_of_crop_and_flip():
    numbers = drawn("trivial_augment", 50, (32, 32))
    assert torch.equal(numbers[:, :3], drawn("crop_and_flip", 50, (32, 32)))
    images, chosen = random_images(50, 32, 32), torch.arange(50)
    crops = CropAndFlip((32, 32), CPU)(images, chosen, numbers[:, :3])
    name_of = [
        (OPERATIONS[number // 62], number // 2 % 31, -1 if number % 2 else 1) for number in numbers[:, 3].tolist()
    ]
    expected = applied(crops, *zip(*name_of, strict=True))
    assert torch.equal(TrivialAugment((32, 32), CPU)(images, chosen, numbers), expected)


def test_at_the_lowest_level_only_those_without_levels_and_solarize_change_an_image():
    images = random_images(14, 20, 20)
    found = applied(images, OPERATIONS, [0] * 14, [1] * 14)
    changed = {name for name, before, after in zip(OPERATIONS, images, found, strict=True) if not before.equal(after)}
    assert changed == {"Solarize", "AutoContrast", "Equalize"}
