import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import poisson

from lgg.data.corruptions import SEVERITIES, corrupt
from lgg.data.corruptions.randomness import Streams

every_severity = pytest.mark.parametrize("severity", SEVERITIES)
COUNT = 64 * 32 * 32 * 3  # values of the flat images below
STANDARD_ERRORS = 5  # a correct implementation fails once in two million draws


def flat(level, side=32):
    return np.full((64 * 32 * 32 // side**2, side, side, 3), level, dtype=np.uint8)


@every_severity
@pytest.mark.parametrize(
    ("side", "name", "deviations", "relative"),
    [
        (32, "gaussian_noise", (0.04, 0.06, 0.08, 0.09, 0.10), False),
        (64, "gaussian_noise", (0.04, 0.08, 0.12, 0.15, 0.18), False),
        (128, "gaussian_noise", (0.08, 0.12, 0.18, 0.26, 0.38), False),
        (32, "speckle_noise", (0.06, 0.1, 0.12, 0.16, 0.2), True),
        (64, "speckle_noise", (0.15, 0.2, 0.25, 0.3, 0.35), True),
        (128, "speckle_noise", (0.15, 0.2, 0.35, 0.45, 0.6), True),
    ],
)
@pytest.mark.parametrize("level", [120, 140])
def test_normal_noise_has_the_published_deviation(side, name, deviations, relative, severity, level):
    deviation = 255 * deviations[severity - 1] * (level / 255 if relative else 1)
    noisy = corrupt(flat(level, side), name, severity).astype(np.float64)
    # as many values as expected are below the normal distribution's quantiles that lie within the grey levels
    for quantile in (-0.9, -0.3, 0.4, 1.0):
        bound = np.floor(level + quantile * deviation)
        assert 0 < bound < 255
        expected = ndtr((bound - level) / deviation)
        error = np.sqrt(expected * (1 - expected) / COUNT)
        assert (noisy < bound).mean() == pytest.approx(expected, abs=STANDARD_ERRORS * error)


def test_normal_noise_is_drawn_for_every_pixel_and_channel():
    noisy = corrupt(flat(128), "gaussian_noise", 5).astype(np.float64).reshape(-1, 32, 32, 3)
    noisy -= noisy.mean()
    for shifted in (np.roll(noisy, 1, 0), np.roll(noisy, 1, 1), np.roll(noisy, 1, 2), np.roll(noisy, 1, 3)):
        assert abs((noisy * shifted).mean() / noisy.var()) < STANDARD_ERRORS / np.sqrt(COUNT)


def test_speckle_does_not_change_black():
    assert not corrupt(flat(0), "speckle_noise", 5).any()


@pytest.mark.parametrize(
    ("side", "severity", "photons"),
    [
        *((32, 2, 250), (32, 3, 100), (32, 4, 75), (32, 5, 50)),
        *((64, 1, 250), (64, 2, 100), (64, 3, 50), (64, 4, 30), (64, 5, 15)),
        *((128, 1, 60), (128, 2, 25), (128, 3, 12), (128, 4, 5), (128, 5, 3)),
    ],
)
def test_shot_noise_counts_photons(side, severity, photons):
    noisy = corrupt(flat(102, side), "shot_noise", severity)  # 102 / 255 = 0.4
    if photons < 40:  # the counts that are brighter than white cannot be told apart
        for count in range(photons):
            expected = poisson.pmf(count, 0.4 * photons)
            error = np.sqrt(expected * (1 - expected) / COUNT)
            level = int(255 * count / photons + 1e-3)
            assert (noisy == level).mean() == pytest.approx(expected, abs=STANDARD_ERRORS * error + 1e-6)
        return
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
@pytest.mark.parametrize(
    ("side", "shares"),
    [(32, (0.01, 0.02, 0.03, 0.05, 0.07)), (64, (0.01, 0.02, 0.05, 0.08, 0.14)), (128, (0.03, 0.06, 0.09, 0.17, 0.27))],
)
def test_impulses_are_black_or_white_equally_often(side, shares, severity):
    share = shares[severity - 1]
    noisy = corrupt(flat(77, side), "impulse_noise", severity)
    assert set(np.unique(noisy)) == {0, 77, 255}
    tolerance = STANDARD_ERRORS * np.sqrt(share / 2 * (1 - share / 2) / COUNT)
    assert (noisy == 0).mean() == pytest.approx(share / 2, abs=tolerance)
    assert (noisy == 255).mean() == pytest.approx(share / 2, abs=tolerance)
