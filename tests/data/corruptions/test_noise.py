import numpy as np
import pytest

from lgg.data.corruptions import SEVERITIES, corrupt
from lgg.data.corruptions.randomness import Streams

every_severity = pytest.mark.parametrize("severity", SEVERITIES)
COUNT = 64 * 32 * 32 * 3  # values of the flat images below
STANDARD_ERRORS = 5  # a correct implementation fails once in two million draws


def flat(level):
    return np.full((64, 32, 32, 3), level, dtype=np.uint8)


@every_severity
@pytest.mark.parametrize(
    ("name", "deviations", "relative"),
    [
        ("gaussian_noise", (0.04, 0.06, 0.08, 0.09, 0.10), False),
        ("speckle_noise", (0.06, 0.1, 0.12, 0.16, 0.2), True),
    ],
)
@pytest.mark.parametrize("level", [120, 140])
def test_normal_noise_has_the_published_deviation(name, deviations, relative, severity, level):
    # nothing is clipped at mid-grey; truncation subtracts half a level on average and adds a variance of 1/12
    noisy = corrupt(flat(level), name, severity).astype(np.float64) + 0.5
    deviation = 255 * deviations[severity - 1] * (level / 255 if relative else 1)
    expected = np.sqrt(deviation**2 + 1 / 12)
    assert noisy.mean() == pytest.approx(level, abs=STANDARD_ERRORS * expected / np.sqrt(COUNT))
    assert noisy.std() == pytest.approx(expected, rel=STANDARD_ERRORS / np.sqrt(2 * COUNT))


def test_normal_noise_is_drawn_for_every_pixel_and_channel():
    noisy = corrupt(flat(128), "gaussian_noise", 5).astype(np.float64).reshape(-1, 32, 32, 3)
    noisy -= noisy.mean()
    for shifted in (np.roll(noisy, 1, 0), np.roll(noisy, 1, 1), np.roll(noisy, 1, 2), np.roll(noisy, 1, 3)):
        assert abs((noisy * shifted).mean() / noisy.var()) < STANDARD_ERRORS / np.sqrt(COUNT)


def test_speckle_does_not_change_black():
    assert not corrupt(flat(0), "speckle_noise", 5).any()


@pytest.mark.parametrize(("severity", "photons"), [(2, 250), (3, 100), (4, 75), (5, 50)])
def test_shot_noise_counts_photons(severity, photons):
    noisy = corrupt(flat(102), "shot_noise", severity)  # 102 / 255 = 0.4
    counts = np.ceil(noisy * (photons / 255) - 1e-9)  # more than one level per photon, so truncation can be undone
    assert np.array_equal(np.floor(counts * (255 / photons) + 1e-3), noisy)
    mean = 0.4 * photons
    assert counts.mean() == pytest.approx(mean, abs=STANDARD_ERRORS * np.sqrt(mean / COUNT))
    # the variance of a Poisson count's sample variance is (2 m² + m) / n
    assert counts.var() == pytest.approx(mean, abs=STANDARD_ERRORS * np.sqrt((2 * mean**2 + mean) / COUNT))


def test_the_weakest_shot_noise_has_500_photons():
    noisy = corrupt(flat(102), "shot_noise", 1).astype(np.float64)
    deviation = 255 * np.sqrt(0.4 / 500)
    assert noisy.mean() == pytest.approx(101.5, abs=0.5)  # truncation subtracts less than one level
    assert noisy.std() == pytest.approx(deviation, rel=0.02)


def test_poisson_numbers_have_the_given_means():
    means = np.tile(np.array([0.0, 0.5, 7.0, 400.0]), (20_000, 1))
    counts = Streams(0, "shot_noise", 1, np.arange(20_000)).poisson(means)
    assert (counts[:, 0] == 0).all()
    errors = np.abs(counts.mean(axis=0) - means[0])
    assert (errors <= STANDARD_ERRORS * np.sqrt(means[0] / 20_000)).all()


@every_severity
def test_impulses_are_black_or_white_equally_often(severity):
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    noisy = corrupt(flat(77), "impulse_noise", severity)
    assert set(np.unique(noisy)) == {0, 77, 255}
    tolerance = STANDARD_ERRORS * np.sqrt(share / 2 * (1 - share / 2) / COUNT)
    assert (noisy == 0).mean() == pytest.approx(share / 2, abs=tolerance)
    assert (noisy == 255).mean() == pytest.approx(share / 2, abs=tolerance)
