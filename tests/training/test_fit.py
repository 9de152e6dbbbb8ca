import copy
import math
import time
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from lgg import models
from lgg.data.batches import Batches
from lgg.errors import TrainingDiverged
from lgg.training.fit import fit
from lgg.training.objectives import CrossEntropy, Step
from lgg.training.optimizers import SGD, AdamW
from lgg.training.recorder import Recorder

CONSTANT = [{"epochs": 2, "learning_rate": 0.05}]


def network(seed=0):
    torch.manual_seed(seed)
    return models.build("wide_resnet", num_classes=2, depth=10, width=0.5)


def batches(seed=0, augmentation="none", count=20):
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(256, (count, 32, 32, 3), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    images[labels == 0] //= 3  # dark and bright images, so that there is something to learn
    return Batches(images, labels, batch_size=8, seed=seed, augmentation=augmentation)


def weights(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def test_the_loop_is_plain_sgd():
    """Compared with an explicit loop: momentum, weight decay on all parameters, batch order of `Batches`."""
    model, reference = network(), network()
    schedule = [{"epochs": 1, "learning_rate": [0.0, 0.1]}, {"epochs": 1, "learning_rate": 0.02}]
    optimizer = SGD(model.parameters(), momentum=0.9, weight_decay=1e-2)
    fit(model, CrossEntropy(), batches(), schedule=schedule, optimizer=optimizer)
    reference.train()
    velocity = [torch.zeros_like(parameter) for parameter in reference.parameters()]
    for epoch in range(2):
        for index, (images, labels) in enumerate(batches().epoch(epoch)):
            rate = 0.1 * index / 3 if epoch == 0 else 0.02
            gradients = torch.autograd.grad(F.cross_entropy(reference(images), labels), list(reference.parameters()))
            with torch.no_grad():
                for parameter, gradient, speed in zip(reference.parameters(), gradients, velocity, strict=True):
                    speed.mul_(0.9).add_(gradient + 1e-2 * parameter)
                    parameter.sub_(rate * speed)
    torch.testing.assert_close(weights(model), weights(reference), rtol=1e-4, atol=1e-5)


def test_same_seed_same_bits():
    runs = []
    for _ in range(2):
        model = network()
        fit(model, CrossEntropy(), batches(augmentation="crop_and_flip"), schedule=CONSTANT)
        runs.append(weights(model))
    assert torch.equal(*runs)


def test_another_seed_gives_other_weights():
    runs = []
    for seed in (0, 1):
        model = network()
        fit(model, CrossEntropy(), batches(seed=seed), schedule=CONSTANT)
        runs.append(weights(model))
    assert not torch.equal(*runs)


def test_history_has_a_row_an_epoch_and_the_loss_falls():
    model = network()
    history = fit(model, CrossEntropy(), batches(), schedule=[{"epochs": 6, "learning_rate": [0.05, 0.0]}])
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert set(history[0]) == {"epoch", "learning_rate", "loss", "task", "train_error", "seconds"}
    assert history[-1]["loss"] < history[0]["loss"]
    assert not model.training


def test_the_first_row_is_the_mean_over_batches_of_the_untrained_network():
    model, reference = network(), network().train()
    history = fit(model, CrossEntropy(), batches(), schedule=[{"epochs": 1, "learning_rate": 0.0}])
    expected = [F.cross_entropy(reference(images), labels).item() for images, labels in batches().epoch(0)]
    assert history[0]["loss"] == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_a_fresh_optimizer_forgets_the_momentum():
    def schedule(fresh):
        return [{"epochs": 1, "learning_rate": 0.1}, {"epochs": 1, "learning_rate": 0.1, "fresh_optimizer": fresh}]

    kept, forgotten, by_hand = network(), network(), network()
    fit(kept, CrossEntropy(), batches(), schedule=schedule(False))
    fit(forgotten, CrossEntropy(), batches(), schedule=schedule(True))

    second = batches()
    second.plan = lambda number: batches().plan(number + 1)  # for a loop that begins with the second epoch
    fit(by_hand, CrossEntropy(), batches(), schedule=[{"epochs": 1, "learning_rate": 0.1}])
    fit(by_hand, CrossEntropy(), second, schedule=[{"epochs": 1, "learning_rate": 0.1}])
    assert torch.equal(weights(forgotten), weights(by_hand))
    assert not torch.equal(weights(kept), weights(forgotten))


def test_without_an_optimizer_it_is_sgd_with_its_defaults():
    default, given = network(), network()
    fit(default, CrossEntropy(), batches(), schedule=CONSTANT)
    optimizer = SGD(given.parameters(), momentum=0.9, nesterov=False, weight_decay=5e-4)
    fit(given, CrossEntropy(), batches(), schedule=CONSTANT, optimizer=optimizer)
    assert torch.equal(weights(default), weights(given))


def test_adamw_trains_as_in_a_loop_over_torch_s_own():
    model, reference = network(), network()
    schedule = [{"epochs": 2, "learning_rate": [1e-3, 2e-4], "shape": "cosine"}]
    fit(model, CrossEntropy(), batches(), schedule=schedule, optimizer=AdamW(model.parameters(), weight_decay=0.1))
    theirs = torch.optim.AdamW(reference.train().parameters(), weight_decay=0.1)
    for step in range(6):
        theirs.param_groups[0]["lr"] = 2e-4 + 8e-4 * (1 + math.cos(math.pi * step / 6)) / 2
        images, labels = list(batches().epoch(step // 3))[step % 3]
        theirs.zero_grad()
        F.cross_entropy(reference(images), labels).backward()
        theirs.step()
    torch.testing.assert_close(weights(model), weights(reference), rtol=1e-4, atol=1e-5)


def test_bfloat16_keeps_float32_weights_and_differs_by_rounding_only():
    model, reference = network(), network()
    schedule = [{"epochs": 1, "learning_rate": 0.01}]
    history = fit(model, CrossEntropy(), batches(), schedule=schedule, precision="bfloat16")
    expected = fit(reference, CrossEntropy(), batches(), schedule=schedule)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    # bfloat16 keeps 8 bits: 2^-8 for each of the ten layers' outputs
    assert history[0]["loss"] == pytest.approx(expected[0]["loss"], rel=10 * 2**-8)
    assert not torch.equal(weights(model), weights(reference))


def test_divergence_stops_with_advice():
    def broken(model, images, labels):
        logits = model(images)
        return Step(logits.sum() * float("nan"), {"task": logits.sum()}, logits)

    with pytest.raises(
        TrainingDiverged, match=r"epoch 1 of 2: loss.* no longer a finite number. Lower the learning rate"
    ):
        fit(network(), broken, batches(), schedule=CONSTANT)


def test_log_lines_name_the_epoch_and_the_last_always_comes(capsys):
    fit(network(), CrossEntropy(), batches(), schedule=CONSTANT)
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[0].startswith("epoch 1/2: loss ")
    assert lines[-1].startswith("epoch 2/2: loss ")


def test_the_initial_network_of_the_caller_is_trained_in_place():
    model = network()
    before = copy.deepcopy(model.state_dict())
    fit(model, CrossEntropy(), batches(), schedule=CONSTANT)
    changed = [name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])]
    assert changed == [name for name, _ in model.named_parameters()]


# --- what is done on the way --------------------------------------------------------------------------------------


def test_after_step_is_called_once_a_step_when_the_weights_have_changed():
    model = network()
    parameters = list(model.parameters())
    seen = [torch.cat([parameter.detach().flatten().clone() for parameter in parameters])]

    def after_step():
        seen.append(torch.cat([parameter.detach().flatten().clone() for parameter in parameters]))

    fit(model, CrossEntropy(), batches(), schedule=CONSTANT, after_step=after_step)
    assert len(seen) - 1 == 2 * len(batches())
    assert all(not torch.equal(before, after) for before, after in pairwise(seen))


def test_a_constraint_on_the_weights_holds_when_training_ends():
    model = network()

    def project():
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.clamp_(-0.01, 0.01)

    fit(model, CrossEntropy(), batches(), schedule=CONSTANT, after_step=project)
    assert max(parameter.abs().max() for parameter in model.parameters()) <= 0.01


def test_the_recorder_sees_the_network_before_the_first_epoch_and_after_each():
    model, reference = network(), network()
    initial = weights(reference)
    recorder = Recorder(weights)
    fit(model, CrossEntropy(), batches(), schedule=[{"epochs": 3, "learning_rate": 0.05}], recorder=recorder)
    assert list(recorder.recorded) == [0, 1, 2, 3]
    assert torch.equal(recorder.recorded[0], initial)
    assert torch.equal(recorder.recorded[3], weights(model))
    fit(reference, CrossEntropy(), batches(), schedule=[{"epochs": 1, "learning_rate": 0.05}])
    assert torch.equal(recorder.recorded[1], weights(reference))


def test_recording_changes_nothing():
    """The network is put into evaluation mode and shown images; training continues in its own mode with the same bits."""
    watched, alone = network(), network()
    modes = []

    def look(model):
        model.eval()
        with torch.inference_mode():
            return model(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))

    def objective(model, images, labels):
        modes.append(model.training)
        return CrossEntropy()(model, images, labels)

    arguments = {"batches": batches(augmentation="crop_and_flip"), "schedule": CONSTANT}
    fit(watched, objective, **arguments, recorder=Recorder(look))
    fit(alone, CrossEntropy(), **arguments)
    assert modes == [True] * (2 * len(batches()))
    assert torch.equal(weights(watched), weights(alone))


def test_seconds_do_not_count_the_recorder(monkeypatch):
    away = 0.0  # seconds that the clock is ahead, a thousand for each look at the network
    clock = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + away)

    def look(model):
        nonlocal away
        away += 1000.0
        return torch.zeros(1)

    history = fit(network(), CrossEntropy(), batches(), schedule=CONSTANT, recorder=Recorder(look))
    assert away == 3000.0
    assert all(0 < row["seconds"] < 1000.0 for row in history)


def test_without_logits_the_history_has_no_training_error(capsys):
    def first_output(model, images, labels):
        value = model(images)[:, 0].square().mean()
        return Step(3.0 * value, {"embedding": value})

    history = fit(network(), first_output, batches(), schedule=CONSTANT)
    assert set(history[0]) == {"epoch", "learning_rate", "loss", "embedding", "seconds"}
    for row in history:
        assert row["loss"] == pytest.approx(3.0 * row["embedding"], rel=1e-5)
    assert "train error" not in capsys.readouterr().err
