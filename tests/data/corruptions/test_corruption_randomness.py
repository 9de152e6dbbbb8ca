import numpy as np
import pytest

from lgg.data.corruptions.randomness import Streams

DRAWS = {
    "normal": lambda streams: streams.normal(5, 3),
    "uniform": lambda streams: streams.uniform(5, 3),
    "scalar": lambda streams: streams.uniform(),
    "integers": lambda streams: streams.integers(7, 4),
    "poisson": lambda streams: streams.poisson(np.full((len(streams), 6), 30.0)),
}
every_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


def streams(positions, seed=0, name="fog", severity=1):
    return Streams(seed, name, severity, np.asarray(positions))


@every_draw
def test_a_stream_belongs_to_its_position(draw):
    positions = np.array([4, 0, 123_456_789, 2**62, 17])
    together = draw(streams(positions))
    for row, position in zip(together, positions, strict=True):
        assert np.array_equal(draw(streams([position]))[0], row)


@every_draw
@pytest.mark.parametrize("change", [{"seed": 1}, {"seed": -1}, {"name": "snow"}, {"severity": 2}])
def test_seed_name_and_severity_change_a_stream(draw, change):
    positions = np.arange(20)
    assert not np.array_equal(draw(streams(positions)), draw(streams(positions, **change)))


def test_streams_of_different_positions_and_draws_are_uncorrelated():
    source = streams(np.arange(40))
    numbers = np.concatenate([source.normal(1000), source.normal(1000)])
    correlations = np.corrcoef(numbers)[~np.eye(80, dtype=bool)]
    assert np.abs(correlations).max() < 6 / np.sqrt(1000)


def test_integers_are_uniform():
    counts = np.bincount(streams(np.arange(100)).integers(4, 1000).ravel(), minlength=4)
    assert counts.sum() == 100_000
    assert np.abs(counts - 25_000).max() < 5 * np.sqrt(100_000 * 0.25 * 0.75)


def test_negative_positions_are_refused():
    with pytest.raises(ValueError, match="-3"):
        streams([0, -3])
