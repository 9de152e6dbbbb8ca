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
    assert sums.rows(2, 4) == [{"loss": 2.5, "task": 1.25, "train_error": 50.0}]


def test_networks_together_have_a_row_each():
    sums = Sums()
    losses = torch.tensor([1.0, 3.0])
    for _ in range(2):
        sums.add(Step(losses.sum(), {"loss": losses, "task": 2 * losses}), LABELS.expand(2, 3))
    assert sums.rows(2, 6) == [{"network": 0, "loss": 1.0, "task": 2.0}, {"network": 1, "loss": 3.0, "task": 6.0}]


def test_sums_hold_no_graph():
    loss = torch.ones((), requires_grad=True)
    sums = Sums()
    for _ in range(2):
        sums.add(Step(loss * 2, {"task": loss * 1}), LABELS)
    assert not any(value.requires_grad for value in sums.values.values())


def test_state_brings_back_the_order_of_columns():
    sums = Sums({f"term{number}": torch.tensor(float(number)) for number in (*range(11, -1, -1),)})
    other = Sums.restored(dict(sorted(sums.state().items())), torch.device("cpu"))
    assert list(other.values) == list(sums.values)
    assert all(torch.equal(value, sums.values[name]) for name, value in other.values.items())


def test_values_that_are_not_finite_are_named():
    good = {"epoch": 3, "learning_rate": 0.5, "loss": 1.0}
    check_finite([good], 10)
    with pytest.raises(TrainingDiverged, match=r"of network 1 diverged in epoch 3 of 10: task .* \(it was 0.5\)"):
        check_finite([good | {"network": 0}, good | {"network": 1, "task": float("inf")}], 10)
