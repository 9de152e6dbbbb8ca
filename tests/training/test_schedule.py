import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lgg.training.schedule import fresh_starts, learning_rate, total_epochs

MULTI_STEP = [
    {"epochs": 60, "learning_rate": 0.1},
    {"epochs": 60, "learning_rate": 0.02},
    {"epochs": 40, "learning_rate": 0.004},
    {"epochs": 40, "learning_rate": 0.0008},
]
ONE_CYCLE = [{"epochs": 1.5, "learning_rate": [0.0, 0.3]}, {"epochs": 2.5, "learning_rate": [0.3, 0.0]}]


@pytest.mark.parametrize(
    ("epoch", "steps_taken"), [(0, 0), (59.99, 0), (60, 1), (119.9, 1), (120, 2), (159.9, 2), (160, 3), (199.9, 3)]
)
def test_constant_phases_are_the_papers_multi_step_schedule(epoch, steps_taken):
    assert learning_rate(MULTI_STEP, epoch) == pytest.approx(0.1 * 0.2**steps_taken, rel=1e-12)


def test_one_cycle_rises_to_its_peak_and_falls_to_zero():
    assert learning_rate(ONE_CYCLE, 0.0) == 0.0
    assert learning_rate(ONE_CYCLE, 0.75) == pytest.approx(0.15)
    assert learning_rate(ONE_CYCLE, 1.5) == 0.3
    assert learning_rate(ONE_CYCLE, 2.75) == pytest.approx(0.15)
    assert learning_rate(ONE_CYCLE, 3.999999) == pytest.approx(0.0, abs=1e-6)


def test_cosine_is_half_a_cosine():
    phases = [{"epochs": 4, "learning_rate": [1.0, 0.0], "shape": "cosine"}]
    for epoch in (0.0, 1.0, 2.0, 3.0):
        assert learning_rate(phases, epoch) == pytest.approx((1 + math.cos(math.pi * epoch / 4)) / 2)


@given(st.floats(0, 3.99))
def test_the_rate_stays_between_the_ends_of_its_phase(epoch):
    assert 0.0 <= learning_rate(ONE_CYCLE, epoch) <= 0.3


@pytest.mark.parametrize("epoch", [-0.1, 4.0, 5.0])
def test_an_epoch_outside_the_schedule_is_refused(epoch):
    with pytest.raises(ValueError, match="not within the schedule's 4 epochs"):
        learning_rate(ONE_CYCLE, epoch)


def test_total_and_fresh_starts():
    two_phase = [
        {"epochs": 50, "learning_rate": 0.1},
        {"epochs": 50, "learning_rate": 0.001, "fresh_optimizer": True},
    ]
    assert total_epochs(two_phase) == 100
    assert fresh_starts(two_phase) == {50}
    assert total_epochs(ONE_CYCLE) == 4
    assert fresh_starts(ONE_CYCLE) == set()
