"""Networks trained side by side are the networks trained alone, bit for bit."""

import os
import signal

import pytest
import torch

from lgg import losses, models
from lgg.data.batches import Batches
from lgg.defences import Adversarial
from lgg.errors import Interrupted, TrainingDiverged
from lgg.training.fit import Run, fit, fit_side_by_side
from lgg.training.objectives import CrossEntropy, Distillation, Robust
from lgg.training.optimizers import AdamW
from lgg.training.recorder import Recorder
from lgg.training.resume import Checkpoints
from lgg.training.step import TrainingStep


def network(seed, width=0.25):
    torch.manual_seed(seed)
    return models.build("wide_resnet", num_classes=2, depth=10, width=width)


def batches(seed, size):
    images = torch.randint(256, (12, 16, 16, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    return Batches(images, torch.arange(12) % 2, batch_size=size, seed=seed, augmentation="crop_and_flip")


def taught():
    return Distillation(network(9), losses.GraphDistillation(), 0.5)


#: network: seed, width, objective, images of a batch (the last may be smaller), epochs
SETTINGS = {
    "plain": (0, 0.25, CrossEntropy, 5, 2),
    "attacked": (1, 0.25, lambda: Robust([Adversarial(8 / 255, 4 / 255, steps=1)]), 4, 3),
    "taught": (2, 0.125, taught, 6, 1),
}
STEPS = {"plain": 6, "attacked": 9, "taught": 2}


class Calling:
    """An objective that counts its calls and first calls `actions` of their number."""

    def __init__(self, objective, actions):
        self.objective, self.actions, self.calls = objective, actions, 0

    def draw_from(self, generator):
        if hasattr(self.objective, "draw_from"):
            self.objective.draw_from(generator)

    def __call__(self, *arguments):
        self.calls += 1
        self.actions.get(self.calls, lambda: None)()
        return self.objective(*arguments)


def end():
    os.kill(os.getpid(), signal.SIGTERM)


def run_of(name, folder=None, actions=None):
    seed, width, make_objective, size, epochs = SETTINGS[name]
    model = network(seed, width)
    return Run(
        model,
        Calling(make_objective(), actions or {}),
        batches(seed, size),
        [{"epochs": epochs, "learning_rate": [0.01, 0.05]}],
        optimizer=AdamW(model.parameters()) if name == "taught" else None,
        recorder=Recorder(lambda model: model.classifier.bias.detach().clone()),
        checkpoints=None if folder is None else Checkpoints(folder / name / "checkpoint.safetensors", name),
        name=name,
    )


def outcome(run, history):
    rows = [{column: value for column, value in row.items() if column != "seconds"} for row in history]
    assert not run.model.training
    return rows, run.model.state_dict(), run.recorder.recorded


def assert_same(one, other):
    assert one[0] == other[0]
    for mine, its in zip(one[1:], other[1:], strict=True):
        assert list(mine) == list(its)
        assert all(torch.equal(value, its[name]) for name, value in mine.items())


def train(runs):
    return {run.name: outcome(run, history) for run, history in zip(runs, fit_side_by_side(runs), strict=True)}


@pytest.fixture(scope="module")
def alone():
    return {name: train([run_of(name)])[name] for name in SETTINGS}


def assert_all_same(found, alone):
    for name, one in found.items():
        assert_same(one, alone[name])


@pytest.mark.parametrize("names", [["plain", "attacked", "taught"], ["taught", "attacked"], ["attacked", "plain"]])
def test_each_is_what_it_is_alone(names, alone):
    assert_all_same(train([run_of(name) for name in names]), alone)


def test_on_a_cpu_captured_steps_are_plain_ones(alone):
    run = run_of("attacked")
    assert_same(outcome(run, fit_side_by_side([run], captured=True)[0]), alone["attacked"])


def test_one_alone_is_that_of_fit(alone):
    run = run_of("attacked")
    torch.manual_seed(1)
    model = network(1)
    assert Run(model, run.objective, run.batches, run.schedule).seed == run.seed
    model, recorder = network(1), Recorder(run.recorder.observe)
    history = fit(model, run.objective, run.batches, schedule=run.schedule, recorder=recorder)
    assert_same(outcome(Run(model, None, None, [], recorder=recorder), history), alone["attacked"])


def test_random_numbers_come_from_a_generator_of_each_run():
    """Its seed comes from torch's generator when the run is made, and is all that is ever drawn from that one."""
    one = run_of("attacked")
    runs = [one, Run(network(1), one.objective, one.batches, one.schedule, seed=one.seed + 1)]
    state = torch.get_rng_state()
    histories = fit_side_by_side(runs)
    assert torch.equal(torch.get_rng_state(), state)
    assert histories[0][0]["loss"] != histories[1][0]["loss"]


def test_they_take_turns():
    order = []
    runs = [
        run_of(name, actions={call: lambda name=name: order.append(name) for call in range(1, 10)})
        for name in ("plain", "taught", "attacked")
    ]
    fit_side_by_side(runs)
    assert order == ["plain", "taught", "attacked"] * 2 + ["plain", "attacked"] * 4 + ["attacked"] * 3


def test_none_at_all_is_nothing():
    assert fit_side_by_side([]) == []


@pytest.mark.parametrize("step", [1, 2, 5, 7])
def test_one_signal_interrupts_all_and_each_resumes_beside_others_or_alone(step, alone, tmp_path):
    """After two steps one of the networks has ended, after six two of them; at step 5 one is between two epochs."""
    with pytest.raises(Interrupted, match=r"SIGTERM ended training.*resumes from there") as interruption:
        fit_side_by_side([run_of(name, tmp_path, {step: end} if name == "attacked" else {}) for name in SETTINGS])
    unfinished = [name for name in SETTINGS if STEPS[name] > step - (name == "taught")]
    for name in SETTINGS:
        path = tmp_path / name / "checkpoint.safetensors"
        assert path.exists()
        assert (str(path) in str(interruption.value)) == (name in unfinished)
    # one of them alone, and the others beside each other
    calls = {}
    found = {}
    for names in (["attacked"], ["plain", "taught"]):
        runs = [run_of(name, tmp_path) for name in names]
        found |= train(runs)
        calls |= {run.name: run.objective.calls for run in runs}
    assert_all_same(found, alone)
    # no step is repeated: the interrupted one was the turn of the second, before that of the third
    assert calls == {
        "plain": max(0, STEPS["plain"] - step),
        "attacked": STEPS["attacked"] - step,
        "taught": max(0, STEPS["taught"] - (step - 1)),
    }


def test_a_warning_writes_all_checkpoints_and_training_continues(alone, tmp_path):
    def warn():
        os.kill(os.getpid(), signal.SIGUSR1)

    runs = [run_of(name, tmp_path, {1: warn} if name == "plain" else {}) for name in ("plain", "attacked")]
    assert_all_same(train(runs), alone)
    resumed = [run_of(name, tmp_path) for name in ("plain", "attacked")]
    assert_all_same(train(resumed), alone)
    # the first ended before the second and left a checkpoint of its end; the second has only that of the warning
    assert [run.objective.calls for run in resumed] == [0, STEPS["attacked"]]


def test_one_that_ended_leaves_a_checkpoint_of_its_end_until_it_is_removed(alone, tmp_path, capsys):
    runs = [run_of(name, tmp_path) for name in ("taught", "plain")]
    fit_side_by_side(runs)
    assert [run.checkpoints.path.exists() for run in runs] == [True, False]
    again = run_of("taught", tmp_path)
    assert_all_same(train([again]), alone)
    assert again.objective.calls == 0
    assert "Resuming after epoch 1, from the checkpoint" in capsys.readouterr().err
    again.checkpoints.remove()
    assert list((tmp_path / "taught").iterdir()) == []


def test_a_network_that_diverges_is_named_and_the_others_are_kept(alone, tmp_path, monkeypatch):
    joined = []
    monkeypatch.setattr(TrainingStep, "join", lambda step: joined.append(step.model))
    runs = [run_of(name, tmp_path) for name in ("plain", "attacked")]
    with torch.no_grad():
        runs[0].model.classifier.bias[0] = torch.inf
    with pytest.raises(TrainingDiverged, match="training of plain diverged in epoch 1 of 2"):
        fit_side_by_side(runs)
    # what follows in the caller's stream may get memory that the networks' streams still use
    assert len(joined) == 2 and all(run.model in joined for run in runs)
    assert not runs[0].checkpoints.path.exists()
    resumed = run_of("attacked", tmp_path)
    assert_all_same(train([resumed]), alone)
    assert resumed.objective.calls == STEPS["attacked"] - 2  # in turn after the other


def test_a_checkpoint_that_cannot_be_written_does_not_hide_the_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "write", full)
    runs = [run_of(name, tmp_path) for name in ("attacked", "plain")]
    runs[1].objective.actions = {2: lambda: pytest.fail("of its own")}
    with pytest.raises(pytest.fail.Exception, match="of its own"):
        fit_side_by_side(runs)


def test_a_checkpoint_that_cannot_be_written_does_not_keep_others_from_it(alone, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    runs = [run_of("plain", tmp_path, {2: end}), run_of("attacked", tmp_path)]
    runs[0].checkpoints.write = full
    with pytest.raises(OSError, match="No space left"):
        fit_side_by_side(runs)
    resumed = run_of("attacked", tmp_path)
    assert_all_same(train([resumed]), alone)
    assert resumed.objective.calls == STEPS["attacked"] - 1


def test_an_interruption_of_those_without_checkpoints_says_so(tmp_path):
    runs = [run_of("taught", tmp_path), run_of("plain", actions={4: end})]
    with pytest.raises(Interrupted, match="no checkpoint of it, so the next run trains from scratch"):
        fit_side_by_side(runs)


def test_what_two_runs_cannot_share_is_refused(tmp_path):
    one, other = run_of("plain", tmp_path), run_of("plain", tmp_path)
    with pytest.raises(ValueError, match="two of the runs have one checkpoint; each needs its own"):
        fit_side_by_side([one, other])
    other.model, other.checkpoints = one.model, None
    with pytest.raises(ValueError, match="two of the runs have one network"):
        fit_side_by_side([one, other])


def test_an_objective_can_be_shared(alone):
    """Also one that draws random numbers: each network draws its own."""
    first, second = run_of("attacked"), run_of("attacked")
    second.objective = first.objective
    for run, history in zip((first, second), fit_side_by_side([first, second]), strict=True):
        assert_same(outcome(run, history), alone["attacked"])
