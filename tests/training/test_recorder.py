"""Recorders without the training loop; tests/training/test_fit.py and test_resume.py test them in it."""

import torch

from lgg.training.recorder import Recorder


def test_only_the_epochs_asked_for_are_observed_and_saved():
    saved = []
    recorder = Recorder(lambda model: torch.tensor(model), saved.append, epochs=[0, 2])
    for epoch in range(4):
        recorder.record(10.0 * epoch, epoch)
    assert saved == []
    recorder.write()
    assert [{epoch: value.item() for epoch, value in one.items()} for one in saved] == [{0: 0.0, 2: 20.0}]


def test_state_brings_back_everything_in_the_order_of_epochs():
    recorder = Recorder(lambda model: torch.tensor(model))
    for epoch in range(12):
        recorder.record(float(epoch), epoch)
    other = Recorder(lambda model: torch.tensor(model))
    other.restore(dict(sorted(recorder.state().items())))  # a file keeps no order, and "10" comes before "2"
    assert list(other.recorded) == list(range(12))
    assert all(torch.equal(value, recorder.recorded[epoch]) for epoch, value in other.recorded.items())


def test_without_a_file_nothing_is_written():
    Recorder(torch.clone).write()
