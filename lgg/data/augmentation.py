"""Augmentations of training images: what is drawn for each image, and how a whole batch is changed accordingly.

What is drawn are integers, drawn on the CPU, so that they are the same on all devices. Changing the batch reads no value on the
host, so that a CUDA graph can repeat it.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

#: a random crop may be moved by an eighth of the side, 4 pixels at 32
LARGEST_SHIFT = 8
#: of RandomResizedCrop, as in torchvision: the share of the area, and width by height
AREAS = (0.08, 1.0)
RATIOS = (3 / 4, 4 / 3)
TRIES = 10  # until a drawn rectangle lies within the image


class Augmentation:
    """Leaves images as they are; the base class of the others.

    Args:
        side: height and width of the images, and of what is made of them.
        device: where the images are.
    """

    #: how many integers are drawn for each image
    numbers = 0

    def __init__(self, side: tuple[int, int], device: torch.device) -> None:
        self.side = side
        self.device = device

    def draw(self, count: int, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Return what decides the augmentation of `count` images, (count, numbers) int64, on the CPU."""
        return torch.empty(count, 0, dtype=torch.int64)

    def __call__(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:  # noqa: ARG002
        """Return the augmented images (B, H, W, 3) uint8.

        Args:
            images: (N, H, W, 3) uint8, contiguous.
            chosen: (B,) the numbers of the images to augment.
            drawn: (B, numbers) their rows of `draw`.
        """
        return images.index_select(0, chosen)


class CropAndFlip(Augmentation):
    """Random crops after zero-padding by an eighth of the side (rounded up), and mirroring with probability 1/2."""

    numbers = 3

    def __init__(self, side: tuple[int, int], device: torch.device) -> None:
        super().__init__(side, device)
        height, width = side
        #: of padding, in rows and columns
        self.shifts = -(-height // LARGEST_SHIFT), -(-width // LARGEST_SHIFT)
        rows, columns = (_windows(*pair) for pair in zip(side, self.shifts, strict=True))
        columns = torch.cat([columns, columns.flip(1)])
        # for each position of the window the rows and columns of the image that it shows, and 1 where there are any
        self._rows, self._in_rows = rows.clamp(0, height - 1).to(device), _within(rows, height).to(device)
        self._columns = columns.clamp(0, width - 1).to(device)
        # for each channel, since products of longer lines are faster
        self._in_columns = _within(columns, width).repeat_interleave(3, dim=1).to(device)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the first row and column of the window, from 0 to twice the padding, and 1 where it is mirrored."""
        if self.shifts[0] == self.shifts[1]:
            top, left = torch.randint(2 * self.shifts[0] + 1, (2, count), generator=generator)
        else:
            top, left = (torch.randint(2 * shift + 1, (count,), generator=generator) for shift in self.shifts)
        mirrored = torch.randint(2, (count,), generator=generator, dtype=torch.bool)
        return torch.stack([top, left, mirrored.long()], dim=1)

    def __call__(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        top, left, mirrored = drawn.unbind(1)
        place = torch.add(left, mirrored, alpha=2 * self.shifts[1] + 1)
        rows, columns = self._rows.index_select(0, top), self._columns.index_select(0, place)
        crops = _picked(images, chosen, rows, columns)
        lines = crops.view(len(crops), len(self._rows[0]), -1)
        lines.mul_(self._in_rows.index_select(0, top)[:, :, None])
        lines.mul_(self._in_columns.index_select(0, place)[:, None, :])
        return crops


class RandomResizedCrop(Augmentation):
    """A random part of the image, resized bilinearly to the whole side, mirrored with probability 1/2.

    The part has 8 to 100 % of the area, with a ratio of width to height of 3/4 to 4/3 (its logarithm is uniform), as
    RandomResizedCrop of torchvision draws it.
    """

    numbers = 5

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return top row, left column, height and width of the part, and 1 where it is mirrored."""
        heights, widths = (torch.full((count,), size) for size in _largest_part(*self.side))
        missing = torch.ones(count, dtype=torch.bool)
        for _ in range(TRIES):
            high, wide = self._parts(count, generator)
            found = missing & (high >= 1) & (high <= self.side[0]) & (wide >= 1) & (wide <= self.side[1])
            heights, widths = torch.where(found, high, heights), torch.where(found, wide, widths)
            missing &= ~found
            if not missing.any():
                break
        corners = [
            # the middle for those that no try could place
            torch.where(
                missing, room // 2, (torch.rand(count, generator=generator) * (room + 1)).long().clamp(max=room)
            )
            for room in (self.side[0] - heights, self.side[1] - widths)
        ]
        mirrored = torch.randint(2, (count,), generator=generator)
        return torch.stack([*corners, heights, widths, mirrored], dim=1)

    def _parts(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return heights and widths, some of which may be too large."""
        areas = torch.empty(count, dtype=torch.float64).uniform_(*AREAS, generator=generator).mul_(math.prod(self.side))
        ratios = torch.empty(count, dtype=torch.float64).uniform_(*map(math.log, RATIOS), generator=generator).exp_()
        return (areas / ratios).sqrt_().round_().long(), (areas * ratios).sqrt_().round_().long()

    def __call__(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        top, left, heights, widths, mirrored = (value[:, None] for value in drawn.unbind(1))
        places = [torch.arange(size, device=drawn.device) for size in self.side]
        columns = torch.where(mirrored == 1, self.side[1] - 1 - places[1], places[1])
        above, below, down = _taps(places[0][None], heights, self.side[0])
        before, after, right = _taps(columns, widths, self.side[1])
        down, right = down[:, :, None, None], right[:, None, :, None]
        upper, lower = (
            torch.lerp(
                _picked(images, chosen, top + row, left + before).float(),
                _picked(images, chosen, top + row, left + after).float(),
                right,
            )
            for row in (above, below)
        )
        return torch.lerp(upper, lower, down).round_().to(torch.uint8)


def _largest_part(height: int, width: int) -> tuple[int, int]:
    """Return height and width of the largest part whose ratio is allowed."""
    return min(height, round(width / RATIOS[0])), min(width, round(height * RATIOS[1]))


def _taps(places: Tensor, sizes: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return between which two pixels of a part of `sizes` (B, 1) lie `places` of its enlargement to `side`, and how far."""
    at = ((places + 0.5) * (sizes / side) - 0.5).clamp_(min=0)
    first = at.long()
    return first, torch.minimum(first + 1, sizes - 1), at - first


def _windows(side: int, shift: int) -> Tensor:
    """Return the places (2·shift + 1, side) that windows show, from −shift on."""
    return torch.arange(2 * shift + 1)[:, None] + torch.arange(side) - shift


def _within(places: Tensor, side: int) -> Tensor:
    return ((places >= 0) & (places < side)).to(torch.uint8)


def _picked(images: Tensor, chosen: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the pixels (B, h, w, 3) in `rows` (B, h) and `columns` (B, w) of the images that are `chosen` (B,)."""
    _, height, width, channels = images.shape
    lines = torch.add(rows, chosen[:, None], alpha=height)
    places = torch.add(columns[:, None, :], lines[:, :, None], alpha=width)
    # whole pixels by their number: faster than by image, row and column
    return images.view(-1, channels).index_select(0, places.flatten()).view(*places.shape, channels)


# --- TrivialAugmentWide -----------------------------------------------------------------------------------------------

LEVELS = 31  # of the strength of an operation, from 0
#: weights of red, green and blue in grey
GREY = (0.2989, 0.587, 0.114)
#: added before values are cut to integers and places rounded: most are thousandths, and must not depend on how a device rounds
NUDGE = 1 / 2048


class Operation(NamedTuple):
    """What an operation of TrivialAugmentWide does to an image, as numbers; by default nothing.

    Attributes:
        x, y: where a pixel comes from: x' = a x + b y + c as (a, b, c), and y' likewise, in pixels from the middle.
        towards: what the image is blended with: 0 black, 1 its grey values, 2 their mean, 3 the image blurred.
        share: how much of that; negative to go away from it.
        keep: the bits of a value that are kept, as a mask.
        invert: the least value that is inverted.
        stretch: 1 to stretch each channel to the whole range.
        equalize: 1 to spread the values of each channel evenly.
    """

    x: tuple[float, float, float] = (1, 0, 0)
    y: tuple[float, float, float] = (0, 1, 0)
    towards: int = 0
    share: float = 0
    keep: int = 255
    invert: float = 256
    stretch: int = 0
    equalize: int = 0


#: by their numbers, in the order of torchvision
OPERATIONS = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast"),
    *("Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)
BLENDS = ("Brightness", "Color", "Contrast", "Sharpness")


def operation(name: str, level: int, sign: int, side: tuple[int, int]) -> Operation:
    """Return what the operation `name` does at a level from 0 to 30, with sign 1 or −1, to images whose height and width are
    `side`. Shears leave the first row or column in place, rotations are counter-clockwise.
    """
    height, width = side
    strength = 0.033 * level * sign  # 0.99 at the highest level
    pixels = -sign * (32 * level // 30)
    cos, sin = (function(math.radians(4.5 * level * sign)) for function in (math.cos, math.sin))
    found = {
        "Identity": Operation(),
        "ShearX": Operation(x=(1, strength, strength * height / 2)),
        "ShearY": Operation(y=(strength, 1, strength * width / 2)),
        "TranslateX": Operation(x=(1, 0, pixels)),
        "TranslateY": Operation(y=(0, 1, pixels)),
        "Rotate": Operation(x=(cos, -sin, 0), y=(sin, cos, 0)),
        "Posterize": Operation(keep=256 - 2 ** round(level / 5)),
        "Solarize": Operation(invert=8.5 * (30 - level)),
        "AutoContrast": Operation(stretch=1),
        "Equalize": Operation(equalize=1),
        **{blend: Operation(towards=number, share=-strength) for number, blend in enumerate(BLENDS)},
    }
    return found[name]


class TrivialAugment(CropAndFlip):
    """Random crops and mirroring as in CropAndFlip, then one operation of TrivialAugmentWide (Müller and Hutter 2021).

    Operation, strength (31 levels) and sign are uniform, and operations are those of torchvision: geometric ones take the
    nearest pixel and fill with black.
    """

    numbers = CropAndFlip.numbers + 1

    def __init__(self, side: tuple[int, int], device: torch.device) -> None:
        super().__init__(side, device)
        rows = [
            [*one.x, *one.y, *one[2:]]
            for name in OPERATIONS
            for level in range(LEVELS)
            for one in (operation(name, level, sign, side) for sign in (1, -1))
        ]
        self._operations = torch.tensor(rows, dtype=torch.float32).to(device)
        self._y, self._x = (torch.arange(size, device=device) - (size - 1) / 2 for size in side)
        self._values = torch.arange(256, dtype=torch.int32, device=device)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return what CropAndFlip draws, and the number of an operation with its level and sign."""
        crops = super().draw(count, generator)
        operations = torch.randint(len(self._operations), (count, 1), generator=generator)
        return torch.cat([crops, operations], dim=1)

    def __call__(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        crops = super().__call__(images, chosen, drawn[:, :-1])
        numbers = self._operations.index_select(0, drawn[:, -1])
        towards, share, keep, invert, stretch, equalize = numbers[:, 6:, None, None].unbind(1)
        moved = self._moved(crops, numbers[:, :3], numbers[:, 3:6])
        blended = _blended(moved, towards[..., None], share[..., None])
        return self._mapped(blended, keep, invert, stretch, equalize)

    def _moved(self, images: Tensor, across: Tensor, down: Tensor) -> Tensor:
        """Return images whose pixels come from other places, black if from outside; `across` and `down` (B, 3)."""
        height, width = self.side
        rows, columns = self._sources(down, height), self._sources(across, width)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        first_rows = torch.arange(len(images), device=self.device)[:, None, None] * height
        places = (first_rows + rows.clamp_(0, height - 1)) * width + columns.clamp_(0, width - 1)
        pixels = images.view(-1, 3).index_select(0, places.flatten())
        return pixels.mul_(inside.view(-1, 1)).view(images.shape)

    def _sources(self, factors: Tensor, size: int) -> Tensor:
        """Return the row or column (B, H, W) that each pixel comes from, for `factors` (B, 3) as in Operation."""
        by_x, by_y, shift = factors[:, :, None, None].unbind(1)
        return (by_x * self._x + by_y * self._y[:, None] + (shift + (size / 2 + NUDGE))).floor_().long()

    def _mapped(self, images: Tensor, keep: Tensor, invert: Tensor, stretch: Tensor, equalize: Tensor) -> Tensor:
        """Return images whose values are replaced, by a table (256,) for each channel; the others (B, 1, 1)."""
        channels = torch.arange(len(images) * 3, device=self.device).view(-1, 1, 3) * 256
        flat = images.view(len(images), -1, 3)
        places = (flat + channels).flatten()
        shape = len(images), 3, 256
        counts = torch.zeros(shape, dtype=torch.int32, device=self.device)
        counts.view(-1).scatter_add_(0, places, counts.new_ones(1).expand_as(places))
        low, high = flat.amin(1)[..., None].int(), flat.amax(1)[..., None].int()
        values = self._values
        table = torch.where(values >= invert, 255 - values, values & keep.int())
        stretched = (values - low).mul_(255).floor_divide_((high - low).clamp_(min=1)).clamp_(0, 255)
        table = torch.where((stretch == 1) & (high > low), stretched, table)
        # as Pillow does it: as many steps as there are values, but for the highest
        step = (flat.shape[1] - counts.gather(2, high.long())).floor_divide_(255)
        below = counts.cumsum(2, dtype=torch.int32) - counts
        evenly = (below + step // 2).floor_divide_(step.clamp(min=1)).clamp_(0, 255)
        table = torch.where((equalize == 1) & (step > 0), evenly, table)
        return table.to(torch.uint8).flatten().index_select(0, places).view(images.shape)


def _blended(images: Tensor, towards: Tensor, share: Tensor) -> Tensor:
    """Return images moved by `share` towards what `towards` names, see Operation; both (B, 1, 1, 1)."""
    values = images.permute(0, 3, 1, 2).float()
    red, green, blue = (values[:, channel] * weight for channel, weight in enumerate(GREY))
    grey = (red + green + blue).floor_()[:, None]
    other = torch.where(towards == 1, grey, 0.0)
    other = torch.where(towards == 2, grey.mean((1, 2, 3), keepdim=True), other)
    other = torch.where(towards == 3, _blurred(values), other)
    found = torch.add(values, (other - values) * share).add_(NUDGE).clamp_(0, 255)
    return found.permute(0, 2, 3, 1).to(torch.uint8)


def _blurred(values: Tensor) -> Tensor:
    """Return images (B, 3, H, W) of which each pixel is a mean of its neighbours and five times itself; the border stays."""
    blurred = values.clone()
    around = F.avg_pool2d(values, 3, stride=1, divisor_override=1)
    blurred[:, :, 1:-1, 1:-1] = torch.add(around, values[:, :, 1:-1, 1:-1], alpha=4).div_(13).round_()
    return blurred


_CLASSES: dict[str, type[Augmentation]] = {
    "none": Augmentation,
    "crop_and_flip": CropAndFlip,
    "random_resized_crop": RandomResizedCrop,
    "trivial_augment": TrivialAugment,
}


def build(name: str, side: tuple[int, int], device: torch.device) -> Augmentation:
    """Return the augmentation `name` of images whose height and width are `side`, on `device`.

    Raises ValueError for another name.
    """
    if name not in _CLASSES:
        raise ValueError(f"there is no augmentation {name!r}; there are {', '.join(_CLASSES)}")
    return _CLASSES[name](side, device)
