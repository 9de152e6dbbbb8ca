import math
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lgg.errors import ConfigError
from lgg.training.schedule import Schedule, boundaries, total_epochs

MULTI_STEP = [
    {"epochs": 60, "learning_rate": 0.1},
    {"epochs": 60, "learning_rate": 0.02},
    {"epochs": 40, "learning_rate": 0.004},
    {"epochs": 40, "learning_rate": 0.0008},
]
ONE_CYCLE = [{"epochs": 1.5, "learning_rate": [0.0, 0.3]}, {"epochs": 2.5, "learning_rate": [0.3, 0.0]}]
FINE = 1000  # steps of an epoch


@pytest.mark.parametrize(
    ("epoch", "steps_taken"), [(0, 0), (59.99, 0), (60, 1), (119.9, 1), (120, 2), (159.9, 2), (160, 3), (199.9, 3)]
)
def test_constant_phases_are_the_papers_multi_step_schedule(epoch, steps_taken):
    rate = Schedule(MULTI_STEP, FINE).learning_rate(round(epoch * FINE))
    assert rate == pytest.approx(0.1 * 0.2**steps_taken, rel=1e-12)


def test_one_cycle_rises_to_its_peak_and_falls_to_zero():
    schedule = Schedule(ONE_CYCLE, FINE)
    assert schedule.learning_rate(0) == 0.0
    assert schedule.learning_rate(750) == pytest.approx(0.15)
    assert schedule.learning_rate(1500) == 0.3
    assert schedule.learning_rate(2750) == pytest.approx(0.15)
    assert schedule.learning_rate(3999) == pytest.approx(0.3 / 2500)


def test_the_peak_is_met_where_a_phase_ends_within_a_step():
    schedule = Schedule(ONE_CYCLE, 63)  # 94.5 steps
    rates = list(map(schedule.learning_rate, range(4 * 63)))
    assert rates.index(0.3) == 95
    assert rates[94] == pytest.approx(0.3 * 94 / 95)


def test_cosine_is_half_a_cosine():
    schedule = Schedule([{"epochs": 4, "learning_rate": [1.0, 0.0], "shape": "cosine"}], 1)
    for epoch in range(4):
        assert schedule.learning_rate(epoch) == pytest.approx((1 + math.cos(math.pi * epoch / 4)) / 2)


@pytest.mark.parametrize("start", [0.1, 0.25])
def test_a_cosine_with_warm_up_is_what_pytorch_s_schedulers_give(start):
    schedulers = pytest.importorskip("torch.optim.lr_scheduler")
    torch = pytest.importorskip("torch")
    phases = [
        {"epochs": 2, "learning_rate": [start * 0.3, 0.3]},
        {"epochs": 5, "learning_rate": [0.3, 0.0], "shape": "cosine"},
    ]
    schedule = Schedule(phases, 7)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    warm_up = schedulers.LinearLR(optimizer, start_factor=start, total_iters=14)
    cosine = schedulers.CosineAnnealingLR(optimizer, T_max=35)
    theirs = schedulers.SequentialLR(optimizer, [warm_up, cosine], milestones=[14])
    for step in range(49):
        assert schedule.learning_rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("step", [-1, 252, 253])
def test_a_step_outside_the_schedule_is_refused(step):
    with pytest.raises(ValueError, match="not within the schedule's 252 steps"):
        Schedule(ONE_CYCLE, 63).learning_rate(step)


def test_total_and_fresh_starts():
    two_phase = [
        {"epochs": 50, "learning_rate": 0.1},
        {"epochs": 50, "learning_rate": 0.001, "fresh_optimizer": True},
    ]
    assert total_epochs(two_phase) == 100
    assert Schedule(two_phase, 500).fresh_starts == {25_000}
    assert total_epochs(ONE_CYCLE) == 4
    assert Schedule(ONE_CYCLE, 63).fresh_starts == set()
    within = [{"epochs": 0.25, "learning_rate": 1}, {"epochs": 0.75, "learning_rate": 1, "fresh_optimizer": True}]
    assert Schedule(within, 100).fresh_starts == {25}


@pytest.mark.parametrize(
    ("lengths", "steps", "begins"),
    [
        ([0.1, 0.2, 0.7], 10, [0, 1, 3]),  # in binary 0.1 + 0.2 is more than 0.3, and all three are less than 1
        ([0.1] * 10, 30, list(range(0, 30, 3))),
        ([0.333333, 0.333333, 0.333333], 9, [0, 3, 6]),
        ([1.5, 1.5], 3, [0, 5]),  # of two steps that are as near the later one
        ([0.000001, 0.999999], 500_000, [0, 1]),
    ],
)
def test_phases_begin_with_the_nearest_step(lengths, steps, begins):
    phases = [{"epochs": length, "learning_rate": 0.1} for length in lengths]
    *found, last = boundaries(phases, steps)
    assert found == begins
    assert last == total_epochs(phases) * steps


@pytest.mark.parametrize("lengths", [[1e-9], [0.5], [1.5], [0.4999], [0.99], [1e6, 0.1], [0.33, 0.33, 0.33]])
def test_epochs_that_are_not_whole_are_refused(lengths):
    with pytest.raises(ConfigError, match="must be a whole number of at least 1"):
        total_epochs([{"epochs": length, "learning_rate": 0.1} for length in lengths])


@pytest.mark.parametrize(
    ("lengths", "steps", "phase"), [([1e-9, 1], 63, 0), ([1, 0.001, 0.999], 63, 1), ([1, 1e-9], 5, 1)]
)
def test_a_phase_without_a_step_is_refused(lengths, steps, phase):
    with pytest.raises(ConfigError, match=f"phase {phase} is too short .*an epoch has {steps} steps"):
        boundaries([{"epochs": length, "learning_rate": 0.1} for length in lengths], steps)


LENGTHS = st.one_of(
    st.floats(1e-12, 4, exclude_min=True),
    st.integers(1, 2000).map(lambda thousandths: thousandths / 1000),
    st.sampled_from([1e-9, 0.1, 0.2, 0.7, 0.3333333333, 1, 2.5]),
)


@st.composite
def phases(draw):
    """Draw phases, most of them with a whole number of epochs in total: the last phase is the remainder."""
    lengths = draw(st.lists(LENGTHS, min_size=1, max_size=6))
    if draw(st.integers(0, 9)):
        lengths.append(max(math.ceil(sum(lengths)) - sum(lengths), 1e-12))
    rates = st.one_of(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=2, max_size=2))
    shapes = st.sampled_from(["linear", "cosine"])
    return [
        {"epochs": length, "learning_rate": draw(rates), "shape": draw(shapes), "fresh_optimizer": draw(st.booleans())}
        for length in lengths
    ]


@given(phases(), st.integers(1, 60))
def test_an_accepted_schedule_has_a_rate_for_each_step_and_a_step_for_each_phase(drawn, steps):
    try:
        schedule = Schedule(drawn, steps)
    except ConfigError:
        assume(False)
    begins = [*schedule.boundaries]
    assert begins[0] == 0
    assert begins[-1] == schedule.epochs * steps
    # the definition, in decimal fractions: no phase begins more than half a step from where it is written to
    written = Decimal(0)
    for phase, begin, end in zip(drawn, begins[:-1], begins[1:], strict=True):
        assert abs(begin - written * steps) <= Decimal("0.5")
        assert begin < end
        written += Decimal(repr(phase["epochs"]))
        value = phase["learning_rate"]
        low, high = (min(value), max(value)) if isinstance(value, list) else (value, value)
        rates = [schedule.learning_rate(step) for step in range(begin, end)]
        assert rates[0] == (value[0] if isinstance(value, list) else value)
        assert all(low - 1e-12 <= rate <= high + 1e-12 for rate in rates)
        assert (begin in schedule.fresh_starts) == phase["fresh_optimizer"]
