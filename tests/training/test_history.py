import pytest
import torch

from lgg.errors import TrainingDiverged
from lgg.training.history import Sums, check_finite
from lgg.training.objectives import Step

LABELS = torch.tensor([0, 1, 1])


def step(loss, logits=None):
    loss = torch.tensor(loss)
    return Step(loss, {"task": loss / 2}, logits)


def test_rows_are_means_over_steps_and_percent_of_images():
    sums = Sums()
    sums.add(step(1.0, torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])), LABELS)  # the last is wrong
    sums.add(step(4.0, torch.tensor([[0.0, 1.0]])), LABELS[:1])  # wrong
    assert sums.row(2, 4) == {"loss": 2.5, "task": 1.25, "train_error": 50.0}
    places = [value.data_ptr() for value in sums.values.values()]
    sums.clear()
    sums.add(step(3.0, torch.tensor([[1.0, 0.0]])), LABELS[:1])
    assert sums.row(1, 1) == {"loss": 3.0, "task": 1.5, "train_error": 0.0}
    assert [value.data_ptr() for value in sums.values.values()] == places


def test_a_term_that_comes_later_or_not_in_every_step_counts_as_zero_elsewhere():
    sums = Sums()
    sums.add(step(1.0), LABELS)
    sums.add(Step(torch.tensor(3.0), {"task": torch.tensor(1.5), "term": torch.tensor(8.0)}), LABELS)
    assert sums.row(2, 6) == {"loss": 2.0, "task": 1.0, "term": 4.0}


def test_sums_hold_no_graph():
    loss = torch.ones((), requires_grad=True)
    sums = Sums()
    for _ in range(2):
        sums.add(Step(loss * 2, {"task": loss * 1}), LABELS)
    assert not any(value.requires_grad for value in sums.values.values())


def test_state_brings_back_the_order_of_columns():
    sums, other = Sums(), Sums()
    sums.add(
        Step(torch.tensor(1.0), {f"term{number}": torch.tensor(float(number)) for number in range(11, -1, -1)}), LABELS
    )
    other.restore(dict(sorted(sums.state().items())), torch.device("cpu"))
    assert list(other.values) == list(sums.values)
    assert all(torch.equal(value, sums.values[name]) for name, value in other.values.items())


def test_values_that_are_not_finite_are_named():
    good = {"epoch": 3, "learning_rate": 0.5, "loss": 1.0}
    check_finite(good, 10)
    with pytest.raises(TrainingDiverged, match=r"training diverged in epoch 3 of 10: task .* \(it was 0.5\)"):
        check_finite(good | {"task": float("inf")}, 10)
    with pytest.raises(TrainingDiverged, match="training of seed 1 diverged in epoch 3 of 10: loss"):
        check_finite(good | {"loss": float("nan")}, 10, "seed 1")
