"""Time of every corruption at its five severities, compared with the same formulas applied to one image at a time.

    python benchmarks/corruptions.py [--images FILE.npz | --side 32] [--count 10000] [--loop-images 40]

The plain loop follows the official generator: image by image, with SciPy, scikit-image and Pillow, and a Python loop over
the pixels for glass blur. It runs on a few images, and its time is scaled up in proportion, as its columns state. Writes
benchmarks/results/corruptions.csv and .png, or corruptions_SIDE for images of another side than 32: of 224 pixels, 200
images and 4 in the plain loop take minutes.
ImageMagick and OpenCV are not needed: NumPy and SciPy replace them where the official generator calls them.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from _common import begin, draw_ratios, keep, show
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian
from skimage.util import random_noise

from lgg.data.corruptions import NAMES, SEVERITIES, blur, corrupt, weather
from lgg.data.corruptions.constants import constants_of
from lgg.data.corruptions.frost_textures import frost_textures
from lgg.data.corruptions.pixels import motion_kernel, motion_offsets

Picture = NDArray[np.float64]  # (S, S, 3), 0 to 1


def gaussian_noise(x: Picture, severity: int) -> Picture:
    return x + np.random.normal(size=x.shape, scale=constants_of(len(x)).gaussian_noise[severity - 1])


def shot_noise(x: Picture, severity: int) -> Picture:
    photons = constants_of(len(x)).shot_noise[severity - 1]
    return np.random.poisson(x * photons) / photons


def impulse_noise(x: Picture, severity: int) -> Picture:
    return random_noise(x, mode="s&p", amount=constants_of(len(x)).impulse_noise[severity - 1])


def defocus_blur(x: Picture, severity: int) -> Picture:
    kernel = blur.disk_kernel(*constants_of(len(x)).defocus_blur[severity - 1])
    return np.stack([ndimage.correlate(x[..., channel], kernel, mode="mirror") for channel in range(3)], axis=2)


def glass_blur(x: Picture, severity: int) -> Picture:
    deviation, farthest, rounds = constants_of(len(x)).glass_blur[severity - 1]
    shuffled = (gaussian(x, deviation, channel_axis=2) * 255).astype(np.uint8)
    for _ in range(rounds):
        for row in range(len(x) - farthest, farthest, -1):
            for column in range(len(x) - farthest, farthest, -1):
                across, down = np.random.randint(-farthest, farthest, size=2)
                shuffled[row, column] = shuffled[row + down, column + across]
    return gaussian(shuffled / 255, deviation, channel_axis=2)


def motion_blur(x: Picture, severity: int) -> Picture:
    radius, deviation = constants_of(len(x)).motion_blur[severity - 1]
    return read_back(blurred_along(x, radius, deviation, np.random.uniform(*blur.MOTION_ANGLES)))


def read_back(x: Picture) -> Picture:
    """Return intensities in ImageMagick's 8 bits: rounded to 16 bits, then truncated to 8."""
    return np.floor(x * 65535 + 0.5) // 257 / 255


def blurred_along(x: Picture, radius: int, deviation: float, angle: float) -> Picture:
    total = np.zeros_like(x)
    lines = np.arange(len(x))
    weights, offsets = motion_kernel(radius, deviation), motion_offsets(radius, np.array([angle]))[0]
    for weight, (down, across) in zip(weights, offsets, strict=True):
        rows, columns = (np.clip(lines + offset, 0, len(x) - 1) for offset in (down, across))
        total += weight * x[np.ix_(rows, columns)]
    return total


def zoomed(x: Picture, factor: float) -> Picture:
    side = len(x)
    width = int(np.ceil(side / factor))
    start = (side - width) // 2
    large = ndimage.zoom(x[start : start + width, start : start + width], (factor, factor, 1), order=1)
    trim = (len(large) - side) // 2
    return large[trim : trim + side, trim : trim + side]


def zoom_blur(x: Picture, severity: int) -> Picture:
    factors = blur.zoom_factors(*constants_of(len(x)).zoom_blur[severity - 1])
    return (x + sum(zoomed(x, factor) for factor in factors)) / (len(factors) + 1)


def snow(x: Picture, severity: int) -> Picture:
    mean, deviation, zoom, least, radius, spread, share = constants_of(len(x)).snow[severity - 1]
    flakes = zoomed(np.random.normal(mean, deviation, (*x.shape[:2], 1)), zoom)
    flakes[flakes < least] = 0
    flakes = np.floor(np.clip(flakes, 0, 1) * 255) / 255
    flakes = read_back(blurred_along(flakes, radius, spread, np.random.uniform(*weather.SNOW_ANGLES)))
    luma = (x @ [0.299, 0.587, 0.114])[..., None]
    return share * x + (1 - share) * np.maximum(x, luma * 1.5 + 0.5) + flakes + np.rot90(flakes, 2)


def frost(x: Picture, severity: int) -> Picture:
    of_image, of_frost = constants_of(len(x)).frost[severity - 1]
    texture = frost_textures(len(x))[np.random.randint(5)]
    top, left = np.random.randint(0, len(texture) - len(x), 2)
    return of_image * x + of_frost * texture[top : top + len(x), left : left + len(x)] / 255


def fog(x: Picture, severity: int) -> Picture:
    thickness, decay = constants_of(len(x)).fog[severity - 1]
    foggy = x + thickness * fractal(len(x), decay)[..., None]
    return foggy * x.max() / (x.max() + thickness)


def fractal(side: int, decay: float) -> NDArray[np.float64]:
    size = 1 << (side - 1).bit_length()
    heights, step, wibble = np.zeros((size, size)), size, 100.0
    while step >= 2:
        half = step // 2
        for kind in ("square", "row", "column"):
            down, across = {"square": (half, half), "row": (0, half), "column": (half, 0)}[kind]
            reach = [(-half, -half), (-half, half), (half, -half), (half, half)]
            if kind != "square":
                reach = [(-half, 0), (half, 0), (0, -half), (0, half)]
            rows, columns = np.arange(down, size, step), np.arange(across, size, step)
            mean = sum(heights[np.ix_((rows + i) % size, (columns + j) % size)] for i, j in reach) / 4
            heights[np.ix_(rows, columns)] = mean + wibble * np.random.uniform(-wibble, wibble, mean.shape)
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return (heights / heights.max())[:side, :side]


def brightness(x: Picture, severity: int) -> Picture:
    hsv = rgb2hsv(x)
    hsv[..., 2] = np.clip(hsv[..., 2] + constants_of(len(x)).brightness[severity - 1], 0, 1)
    return hsv2rgb(hsv)


def contrast(x: Picture, severity: int) -> Picture:
    means = x.mean(axis=(0, 1), keepdims=True)
    return (x - means) * constants_of(len(x)).contrast[severity - 1] + means


def elastic_transform(x: Picture, severity: int) -> Picture:
    side = len(x)
    strength, smoothness, shift = (side * length for length in constants_of(len(x)).elastic_transform[severity - 1])
    points = side // 2 + side // 3 * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = points + np.random.uniform(-shift, shift, points.shape)
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), points).T  # x and y of the source
    down, across = np.indices((side, side))
    source = np.einsum("ij,jhw->ihw", back[:, :2], np.stack([across, down])) + back[:, 2, None, None]
    x = np.stack([ndimage.map_coordinates(x[..., c], source[::-1], order=1, mode="mirror") for c in range(3)], axis=2)
    if not strength:
        return x
    fields = [gaussian(np.random.uniform(-1, 1, (side, side)), smoothness, mode="reflect", truncate=3) for _ in "xy"]
    source = np.stack([down + strength * fields[1], across + strength * fields[0]])
    return np.stack([ndimage.map_coordinates(x[..., c], source, order=1, mode="reflect") for c in range(3)], axis=2)


def pixelate(x: Picture, severity: int) -> Picture:
    image = Image.fromarray((x * 255).astype(np.uint8))
    small = (int(len(x) * constants_of(len(x)).pixelate[severity - 1]),) * 2
    return np.asarray(image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)) / 255


def jpeg_compression(x: Picture, severity: int) -> Picture:
    file = io.BytesIO()
    Image.fromarray((x * 255).astype(np.uint8)).save(
        file, "JPEG", quality=constants_of(len(x)).jpeg_compression[severity - 1]
    )
    return np.asarray(Image.open(file)) / 255


def loop_seconds(function: Callable[[Picture, int], Picture], images: NDArray[np.uint8]) -> float:
    """Return the time in seconds of `function` for all `images` at all severities, one by one."""
    start = time.perf_counter()
    for severity in SEVERITIES:
        for image in images:
            (np.clip(function(image / 255.0, severity), 0, 1) * 255).astype(np.uint8)
    return time.perf_counter() - start


def our_seconds(name: str, images: NDArray[np.uint8], workers: int) -> float:
    corrupt(images[:workers], name, 1)  # computes the tables and textures, which are cached, before timing
    start = time.perf_counter()
    for severity in SEVERITIES:
        corrupt(images, name, severity, workers=workers)
    return time.perf_counter() - start


def synthetic_images(count: int, side: int) -> NDArray[np.uint8]:
    """Return smooth coloured images (count, side, side, 3)."""
    rough = np.random.default_rng(0).standard_normal((count, side, side, 3), dtype=np.float32)
    smooth = ndimage.gaussian_filter(rough, (0, 3, 3, 0), mode="wrap")
    low, high = smooth.min(axis=(1, 2, 3), keepdims=True), smooth.max(axis=(1, 2, 3), keepdims=True)
    return (255 * (smooth - low) / (high - low)).astype(np.uint8)


def main() -> None:
    """Print the time of each corruption, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help=".npz file with `images` (N, S, S, 3) uint8; default: smooth noise")
    parser.add_argument("--side", type=int, default=32, help="side in pixels of the images of smooth noise")
    parser.add_argument("--count", type=int, default=10_000, help="number of images")
    parser.add_argument("--loop-images", type=int, default=40, help="number of images in the plain loop")
    arguments = parser.parse_args()
    workers = begin()
    if arguments.images:
        with np.load(arguments.images, allow_pickle=False) as file:
            images = file["images"][: arguments.count]
    else:
        images = synthetic_images(arguments.count, arguments.side)
    few = images[: arguments.loop_images]
    np.random.seed(0)
    rows = []
    for name in NAMES:
        loop_seconds(globals()[name], few[:1])  # warm
        ours = our_seconds(name, images, workers)
        loop = loop_seconds(globals()[name], few) * len(images) / len(few)
        rows.append({"corruption": name, "ours": ours, "loop, scaled": loop, "sets": len(SEVERITIES)})
    table = pd.DataFrame(rows)
    table.loc[len(table)] = ["all", *table[["ours", "loop, scaled", "sets"]].sum()]
    table["ratio"] = table["ours"] / table["loop, scaled"]
    table["images/s"] = (table.pop("sets") * len(images) / table["ours"]).round()
    show(
        table,
        f"seconds for {len(images):,} images of {images.shape[1]} × {images.shape[2]} at {len(SEVERITIES)} severities, "
        f"{workers} workers; the plain loop, with one, ran on {len(few)} images",
    )
    bars = table.assign(low=table["ratio"], high=table["ratio"])
    name = "corruptions" if images.shape[1] == 32 else f"corruptions_{images.shape[1]}"
    keep(table, draw_ratios(bars, list(table["corruption"]), "time ÷ time of the plain loop"), name)


if __name__ == "__main__":
    main()
