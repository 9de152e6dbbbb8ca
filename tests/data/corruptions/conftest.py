import numpy as np
import pytest

from lgg.data import photo_patches


@pytest.fixture(scope="session")
def photographs():
    """Return 200 crops of photographs (200, 32, 32, 3), in no order; read-only."""
    images = photo_patches.load(400, 10, 0)[0].images
    images = images[np.random.default_rng(0).permutation(len(images))[:200]]
    images.flags.writeable = False
    return images


@pytest.fixture(scope="session")
def enlarged(photographs):
    """Return a function for 8 of the photographs, enlarged to a side of 32, 64 or 128."""

    def of(side):
        times = side // 32
        return photographs[:8].repeat(times, axis=1).repeat(times, axis=2)

    return of
