"""Corruptions of 224 pixels against the package imagecorruptions, the official generator for images of any size.

The package is not needed otherwise, and these tests are skipped without it (it needs OpenCV). Where it draws random numbers
it gets ours, so that the results are compared pixel by pixel. Left out are those in which it deviates from the generator of
ImageNet-C: elastic transform, and frost, of which it has photographs.
"""

import sys
from types import ModuleType

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
import skimage.filters
from PIL import Image

from lgg.data.corruptions import SEVERITIES, corrupt
from lgg.data.corruptions.randomness import Streams

SIDE = 224


class Random:
    """The random numbers of `corrupt` for one image, in the form in which the package asks for them."""

    def __init__(self, name, severity):
        self.streams = Streams(0, name, severity, np.arange(1))
        self.steps, self.of_fog = [], None

    def normal(self, size, scale, loc=0):
        return loc + scale * self.streams.normal(*size)[0].astype(np.float64)

    def poisson(self, means):
        return self.streams.poisson(means[None])[0]

    def uniform(self, low, high, shape=None):
        if shape is None:
            return low + (high - low) * float(self.streams.uniform()[0])
        if self.of_fog is None:
            self.of_fog = iter(self.streams.uniform(256 * 256)[0].astype(np.float64).tolist())
        return low + (high - low) * np.array([next(self.of_fog) for _ in range(np.prod(shape))]).reshape(shape)

    def randint(self, _, farthest, size):  # noqa: ARG002
        if not self.steps:
            count = SIDE - 2 * farthest
            self.steps = self.streams.integers(4 * farthest**2, count, count)[0].ravel().tolist()
        down, across = divmod(self.steps.pop(), 2 * farthest)
        return farthest - 1 - across, farthest - 1 - down


class Numpy(ModuleType):
    """NumPy with our random numbers, and a name that its second version lacks."""

    float_ = np.float64

    def __getattr__(self, name):
        return getattr(np, name)


@pytest.fixture(scope="module")
def official():
    """Return the package's corruptions, which were written for earlier versions of what they import."""
    pytest.importorskip("cv2", reason="needs imagecorruptions and OpenCV")
    with pytest.MonkeyPatch.context() as patch:
        resources = ModuleType("pkg_resources")
        resources.resource_filename = lambda *_: ""
        patch.setitem(sys.modules, "pkg_resources", resources)
        patch.setitem(sys.modules, "scipy.ndimage.interpolation", scipy.ndimage)
        module = pytest.importorskip("imagecorruptions.corruptions", reason="needs imagecorruptions and OpenCV")
    module.np = Numpy("numpy")
    module.gaussian = lambda image, sigma, multichannel=False: skimage.filters.gaussian(
        image, sigma, channel_axis=2 if multichannel else None
    )
    return module


@pytest.fixture(scope="module")
def photograph():
    return np.asarray(Image.fromarray(skimage.data.astronaut()[:400, :400]).resize((SIDE, SIDE)))


@pytest.fixture
def difference(official, photograph):
    """Return a function for the package's pixels, which are not truncated yet, minus ours."""

    def of(name, severity):
        official.np.random = Random(name, severity)
        theirs = np.asarray(getattr(official, name)(Image.fromarray(photograph), severity), dtype=np.float64)
        return theirs - corrupt(photograph[None], name, severity)[0]

    return of


@pytest.mark.parametrize(
    "name",
    [
        *("gaussian_noise", "shot_noise", "speckle_noise"),
        *("defocus_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
        *("fog", "brightness", "contrast", "pixelate", "jpeg_compression", "saturate"),
    ],
)
def test_pixels_are_those_of_the_package_truncated(difference, name):
    for severity in SEVERITIES:
        found = difference(name, severity)
        assert found.min() > -0.01 and found.max() < 1.01, severity


def test_glass_differs_where_rounding_does(difference):
    # a level of the first blur that rounds to the other side is spread by the second
    for severity in SEVERITIES:
        found = difference("glass_blur", severity)
        assert np.abs(found - 0.5).max() < 1.5, severity
        assert ((found < -0.01) | (found > 1.01)).mean() < 0.01, severity


def test_snow_differs_by_the_bits_of_imagemagick(difference):
    # the package rounds flakes once, the generator truncates them before and after they move; they are added twice. The
    # package moves flakes into the image from a line of pixels beyond it, which the generator cuts off first
    for severity in SEVERITIES:
        found = difference("snow", severity)[25:-25, 25:-25]
        assert found.min() > -0.01 and found.max() < 3.01, severity


def test_spatter_differs_by_approximate_distances(difference):
    for severity in SEVERITIES:
        found = difference("spatter", severity)
        differing = (np.abs(found - 0.5) > 0.51).mean()
        assert differing < (0.1 if severity <= 3 else 1e-4), severity  # mud has no distances
