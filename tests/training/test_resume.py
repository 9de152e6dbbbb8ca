"""Interrupted and resumed training gives the same bits as uninterrupted training."""

import errno
import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lgg import models
from lgg.data.batches import Batches
from lgg.defences import Adversarial
from lgg.errors import Interrupted
from lgg.training.fit import fit
from lgg.training.objectives import CrossEntropy, Robust
from lgg.training.optimizers import AdamW
from lgg.training.recorder import Recorder
from lgg.training.resume import Checkpoints

#: a restart of the momentum between the phases, within an epoch, and a last batch that is smaller
SCHEDULE = [
    {"epochs": 1.6, "learning_rate": [0.02, 0.1]},
    {"epochs": 1.4, "learning_rate": 0.02, "fresh_optimizer": True},
]
STEPS = 3 * 3  # of the complete schedule
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU)


def network(seed=0):
    torch.manual_seed(seed)
    return models.build("wide_resnet", num_classes=2, depth=10, width=0.25)


def batches(seed=0):
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(256, (20, 16, 16, 3), generator=generator, dtype=torch.uint8)
    return Batches(images, torch.arange(20) % 2, batch_size=8, seed=seed, augmentation="crop_and_flip")


TRAINING_RUNS = {
    "augmented": (network, batches, CrossEntropy),
    "attacked from random starts": (network, batches, lambda: Robust([Adversarial(8 / 255, 4 / 255, steps=1)])),
    "adamw": (network, batches, CrossEntropy),
}


class Signalling:
    """An objective that sends this process a signal at some of its calls."""

    def __init__(self, objective, signals):
        self.objective, self.signals, self.calls = objective, signals, 0

    def draw_from(self, generator):
        if hasattr(self.objective, "draw_from"):
            self.objective.draw_from(generator)

    def __call__(self, *arguments):
        self.calls += 1
        for number in self.signals.get(self.calls, ()):
            os.kill(os.getpid(), number)
        return self.objective(*arguments)


@pytest.fixture(autouse=True)
def as_in_a_terminal():
    """Signals with the handlers of an interactive shell: a background process starts with some ignored."""
    before = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def train(training, folder=None, signals=None, identity="same", recorder=None, **often):
    """Train from scratch, or from a checkpoint; return weights, history and the objective."""
    build, make_batches, make_objective = TRAINING_RUNS[training]
    model = build()
    torch.manual_seed(7)
    objective = Signalling(make_objective(), signals or {})
    checkpoints = None if folder is None else Checkpoints(folder / "checkpoint.safetensors", identity, **often)
    history = fit(
        model,
        objective,
        make_batches(),
        schedule=SCHEDULE,
        optimizer=AdamW(model.parameters()) if training == "adamw" else None,
        checkpoints=checkpoints,
        recorder=recorder,
    )
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history]
    return {name: value.clone() for name, value in model.state_dict().items()}, rows, objective


def assert_same(one, other):
    assert one[1] == other[1]
    assert list(map(list, one[1])) == list(map(list, other[1]))  # the order of columns in a file
    assert one[0].keys() == other[0].keys()
    for name, value in one[0].items():
        assert torch.equal(value, other[0][name]), name


@pytest.fixture(scope="module")
def undisturbed():
    return {training: train(training) for training in TRAINING_RUNS}


@pytest.mark.parametrize("training", TRAINING_RUNS)
def test_interrupted_at_any_step_it_ends_in_the_same_bits(training, undisturbed, tmp_path):
    for step in range(1, STEPS):
        folder = tmp_path / str(step)
        with pytest.raises(Interrupted, match="resumes from there"):
            train(training, folder, {step: [ENDING[step % len(ENDING)]]})
        resumed = train(training, folder)
        assert resumed[2].calls == STEPS - step  # no step is repeated
        assert_same(resumed, undisturbed[training])


@settings(max_examples=8, deadline=None)
@given(at=st.sets(st.integers(1, STEPS - 1), min_size=2))
def test_interrupted_again_and_again(at, undisturbed, tmp_path_factory):
    folder, done = tmp_path_factory.mktemp("often"), 0
    for step in sorted(at):
        with pytest.raises(Interrupted):
            train("attacked from random starts", folder, {step - done: [signal.SIGTERM]})
        done = step
    assert_same(train("attacked from random starts", folder), undisturbed["attacked from random starts"])


def test_asked_in_the_last_step_it_just_ends(undisturbed, tmp_path):
    assert_same(train("augmented", tmp_path, {STEPS: [signal.SIGTERM]}), undisturbed["augmented"])


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_that_is_ignored_from_the_start_stays_so(number, undisturbed, tmp_path):
    signal.signal(number, signal.SIG_IGN)  # as nohup does with SIGHUP
    assert_same(train("augmented", tmp_path, {2: [number]}), undisturbed["augmented"])
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) == signal.SIG_IGN


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_warning_writes_a_checkpoint_and_training_continues(number, handler, undisturbed, tmp_path):
    """Even if the job was started with the signal ignored, so that it could not be killed before training began."""
    before = signal.signal(number, handler)
    try:
        assert_same(train("augmented", tmp_path, {2: [number]}), undisturbed["augmented"])
        assert signal.getsignal(number) == handler
    finally:
        signal.signal(number, before)
    # as after a kill at any time from then on
    resumed = train("augmented", tmp_path)
    assert resumed[2].calls == STEPS - 2
    assert_same(resumed, undisturbed["augmented"])


def test_signals_have_their_own_handlers_again_afterwards(tmp_path):
    before = [signal.getsignal(number) for number in (*ENDING, signal.SIGUSR1, signal.SIGUSR2)]
    train("augmented", tmp_path)
    with pytest.raises(Interrupted):
        train("augmented", tmp_path, {1: [signal.SIGTERM]})
    assert [signal.getsignal(number) for number in (*ENDING, signal.SIGUSR1, signal.SIGUSR2)] == before


@pytest.mark.parametrize(
    ("often", "expected"),
    [
        ({"epochs": 1}, 1),
        ({"epochs": 2}, 2),
        ({"minutes": 1e-9}, STEPS - STEPS // 3 + 2),
        ({}, 0),
        ({"minutes": 60}, 0),
    ],
)
def test_checkpoints_are_written_as_often_as_asked(often, expected, undisturbed, tmp_path, monkeypatch):
    writes = []
    write = Checkpoints.write
    monkeypatch.setattr(Checkpoints, "write", lambda self, *state: writes.append(state) or write(self, *state))
    assert_same(train("augmented", tmp_path, **often), undisturbed["augmented"])
    # within an epoch after each step but the last, and after each epoch but the last
    expected = {1: 2, 2: 1}.get(often.get("epochs"), expected)
    assert len(writes) == expected
    assert (tmp_path / "checkpoint.safetensors").exists() == (expected > 0)


def test_what_was_recorded_is_kept(tmp_path):
    seen = []

    def observe(model):
        seen.append(model.classifier.bias.detach().clone())
        return seen[-1]

    whole, first, second = (Recorder(observe) for _ in range(3))
    train("augmented", recorder=whole)
    with pytest.raises(Interrupted):
        train("augmented", tmp_path, {5: [signal.SIGTERM]}, recorder=first)
    assert list(first.recorded) == [0, 1]
    seen.clear()
    train("augmented", tmp_path, recorder=second)
    assert len(seen) == 2  # of the epochs that were left
    assert list(second.recorded) == list(whole.recorded) == [0, 1, 2, 3]
    assert all(torch.equal(value, whole.recorded[epoch]) for epoch, value in second.recorded.items())


def test_a_checkpoint_of_other_settings_is_refused_and_reported(undisturbed, tmp_path, capsys):
    with pytest.raises(Interrupted):
        train("augmented", tmp_path, {4: [signal.SIGTERM]}, identity={"recipe": 1})
    fresh = train("augmented", tmp_path, identity={"recipe": 2})
    assert fresh[2].calls == STEPS
    assert_same(fresh, undisturbed["augmented"])
    message = capsys.readouterr().err
    assert str(tmp_path / "checkpoint.safetensors") in message
    assert "other settings, code or data, so training starts from scratch" in message


def test_a_checkpoint_of_another_kind_of_device_is_resumed_without_its_random_state(tmp_path):
    training = "attacked from random starts"
    with pytest.raises(Interrupted):
        train(training, tmp_path, {5: [signal.SIGTERM]})
    checkpoints = Checkpoints(tmp_path / "checkpoint.safetensors", "same")
    tensors, progress = checkpoints.read()
    tensors["random.cuda"] = tensors.pop("random.cpu")[:16]
    checkpoints.write(tensors, progress)
    _, rows, objective = train(training, tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert objective.calls == STEPS - 5


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    """The bytes of a checkpoint after 6 steps and of the one before it, after 4."""
    folder = tmp_path_factory.mktemp("two")
    for step in (4, 2):
        with pytest.raises(Interrupted):
            train("augmented", folder, {step: [signal.SIGTERM]})
    return [(folder / name).read_bytes() for name in ("checkpoint.safetensors", "checkpoint-before.safetensors")]


def damage(content, how):
    if how == "empty":
        return b""
    if how == "cut":
        return content[: len(content) // 2]
    place = {"header": 4, "content": len(content) - 100}[how]
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


@pytest.mark.parametrize("how", ["empty", "cut", "header", "content"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(
    how, two_checkpoints, undisturbed, tmp_path, capsys
):
    newest, before = two_checkpoints
    (tmp_path / "checkpoint.safetensors").write_bytes(damage(newest, how))
    (tmp_path / "checkpoint-before.safetensors").write_bytes(before)
    resumed = train("augmented", tmp_path)
    assert resumed[2].calls == STEPS - 4
    assert_same(resumed, undisturbed["augmented"])
    message = capsys.readouterr().err
    assert f"{tmp_path / 'checkpoint.safetensors'} is not used: it is damaged" in message
    assert "from the checkpoint" in message and "checkpoint-before.safetensors" in message


@settings(deadline=None)
@given(place=st.integers(0), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unseen(place, bit, two_checkpoints, tmp_path_factory):
    content = bytearray(two_checkpoints[0])
    content[place % len(content)] ^= 1 << bit
    path = tmp_path_factory.mktemp("flipped") / "checkpoint.safetensors"
    path.write_bytes(content)
    found = Checkpoints(path, "same").read()
    path.write_bytes(two_checkpoints[0])
    whole = Checkpoints(path, "same").read()
    # unless the bit carries nothing, as in the spaces that pad the header
    assert found is None or (
        found[1] == whole[1] and all(torch.equal(value, whole[0][name]) for name, value in found[0].items())
    )


def test_without_any_usable_one_training_starts_from_scratch(two_checkpoints, undisturbed, tmp_path):
    for name, content in zip(("checkpoint.safetensors", "checkpoint-before.safetensors"), two_checkpoints, strict=True):
        (tmp_path / name).write_bytes(damage(content, "cut"))
    fresh = train("augmented", tmp_path)
    assert fresh[2].calls == STEPS
    assert_same(fresh, undisturbed["augmented"])


def test_a_write_that_fails_leaves_the_newest_checkpoint_as_it_was(two_checkpoints, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(two_checkpoints[0])

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lgg.training.resume.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        train("augmented", tmp_path, minutes=1e-9)
    assert path.read_bytes() == two_checkpoints[0]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_all_are_removed_at_once(two_checkpoints, tmp_path):
    for name, content in zip(("checkpoint.safetensors", "checkpoint-before.safetensors"), two_checkpoints, strict=True):
        (tmp_path / name).write_bytes(content)
    Checkpoints(tmp_path / "checkpoint.safetensors", "same").remove()
    assert list(tmp_path.iterdir()) == []
    Checkpoints(tmp_path / "checkpoint.safetensors", "same").remove()


def test_a_checkpoint_that_cannot_be_read_is_not_trained_over(tmp_path, monkeypatch):
    def fail(path):
        raise OSError(errno.EIO, "Input/output error")

    checkpoints = Checkpoints(tmp_path / "checkpoint.safetensors", {})
    checkpoints.write({"a": torch.zeros(1)}, {"step": 1, "epoch": 0})
    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match=r"Input/output error.*checkpoint\.safetensors"):
        checkpoints.read()
