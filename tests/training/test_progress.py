import sys
import time

import pytest

from lgg.training import progress
from lgg.training.progress import Progress, _duration


def row(epoch, **more):
    return {"epoch": epoch, "learning_rate": 0.1, "loss": 1.5, "task": 1.25, **more, "seconds": 2.0}


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test advances, as a list of one number."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_a_line_names_the_epoch_the_losses_and_the_time_left(clock, capsys):
    with Progress(4, 10, done=10) as one:  # resumed after an epoch
        clock[0] += 60
        one.epoch(row(2, train_error=12.5))
    assert capsys.readouterr().err == (
        "epoch 2/4: loss 1.5000, task 1.2500, train error 12.50 %, 2.0 s, about 2 min left\n"
    )


def test_lines_are_at_least_five_seconds_apart_but_for_the_last(clock, capsys):
    with Progress(5, 1, done=0) as one:
        for epoch, seconds in enumerate((1, 1, 5, 1, 1), start=1):
            clock[0] += seconds
            one.epoch(row(epoch))
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        *("epoch 1/5", "epoch 3/5", "epoch 5/5"),
    ]


def test_each_of_several_networks_has_its_own_lines(clock, capsys):
    with Progress(1, 1, 0, "seed 0") as one, Progress(2, 1, 0, "seed 1") as other:
        one.epoch(row(1))
        other.epoch(row(1))
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == ["seed 0", "seed 1"]


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    made = []

    class Bar:
        def __init__(self, **options):
            self.options, self.steps, self.text, self.closed = options, 0, "", False
            made.append(self)

        def update(self):
            self.steps += 1

        def set_postfix_str(self, text):
            self.text = text

        def close(self):
            self.closed = True

    monkeypatch.setattr(progress, "tqdm", Bar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(2, 3, 1, "seed 5") as one:
        one.step()
        one.epoch(row(1))
    (bar,) = made
    assert bar.options == {"total": 6, "initial": 1, "unit": "step", "desc": "seed 5"}
    assert (bar.steps, bar.closed) == (1, True)
    assert bar.text == "epoch 1/2 loss 1.5000, task 1.2500"


@pytest.mark.parametrize(("seconds", "text"), [(59, "59 s"), (60, "1 min"), (3600, "1 h 00 min"), (9000, "2 h 30 min")])
def test_durations(seconds, text):
    assert _duration(seconds) == text
