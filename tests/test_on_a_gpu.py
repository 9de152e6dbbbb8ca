"""Results on a GPU, if there is one: equal to those of the CPU up to rounding, and reproducible bit for bit.

Two minutes on one.
"""

import os
import signal
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from lgg import attacks, losses, models
from lgg.data.batches import Batches
from lgg.defences import Adversarial, Defence, Parseval, Regularizer
from lgg.devices import prepare
from lgg.errors import Interrupted
from lgg.evaluation.geometry import label_variation_of_layers
from lgg.pipeline import driver
from lgg.training.fit import Run, fit_side_by_side
from lgg.training.objectives import CrossEntropy, Distillation, MetricLearning, Robust
from lgg.training.optimizers import AdamW
from lgg.training.recorder import Recorder
from lgg.training.resume import Checkpoints
from lgg.training.step import Captured

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use")

CLASSES = 3


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Use the settings of jobs, but without TF32, which rounds products to three digits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield prepare(1, 1)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def network(seed=0, name="wide_resnet", **size):
    torch.manual_seed(seed)
    return models.build(name, num_classes=CLASSES, **(size or {"depth": 10, "width": 0.5}))


def images_of(seed, size=24):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(size, 3, 32, 32, generator=generator), torch.arange(size) % CLASSES


def batches(device, seed=0, resident=None, augmentation="crop_and_flip", as_array=False):
    generator = torch.Generator().manual_seed(8)
    images = torch.randint(256, (20, 32, 32, 3), generator=generator, dtype=torch.uint8)
    labels = torch.arange(20) % CLASSES
    if as_array:  # as if from a file
        images = images.numpy()
    return Batches(images, labels, batch_size=8, seed=seed, augmentation=augmentation, device=device, resident=resident)


OBJECTIVES = {
    "cross-entropy": lambda _: CrossEntropy(),
    "gkd": lambda device: Distillation(network(9).to(device), losses.GraphDistillation(), 25.0),
    "gkd, nearest neighbours": lambda device: Distillation(network(9).to(device), losses.GraphDistillation(k=4), 25.0),
    "gkd, edges between classes": lambda device: Distillation(
        network(9).to(device), losses.GraphDistillation(edges="inter", power=2), 25.0
    ),
    "gkd, kernel": lambda device: Distillation(
        network(9).to(device), losses.GraphDistillation(similarity="rbf", k=4, order="published"), 25.0
    ),
    "rkd": lambda device: Distillation(network(9).to(device), losses.RelationalDistillation(), 25.0),
    "hinton": lambda device: Distillation(network(9).to(device), losses.HintonDistillation(4.0), 16.0),
    "label variation": lambda device: MetricLearning(losses.LabelVariation().to(device), 1.0),
    "regularizer": lambda _: Robust([Regularizer(1e-3)]),
    "regularizer, kernel": lambda _: Robust([Regularizer(1e-3, similarity="rbf")]),
    "regularizer, nearest neighbours": lambda _: Robust([Regularizer(1e-3, k=4)]),
}


def loss_and_gradient(objective, device):
    model = network().to(device).train()
    images, labels = (value.to(device) for value in images_of(1))
    step = OBJECTIVES[objective](device)(model, images, labels)
    step.loss.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    return step.loss.detach().cpu().double(), gradient.cpu().double()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_loss_and_gradient_are_those_of_the_cpu(objective, gpu):
    loss, gradient = loss_and_gradient(objective, gpu)
    expected_loss, expected_gradient = loss_and_gradient(objective, torch.device("cpu"))
    torch.testing.assert_close(loss, expected_loss, rtol=1e-4, atol=1e-6)
    # through ten layers in float32; a wrong term would be as large as the gradient
    assert (gradient - expected_gradient).norm() <= 1e-2 * expected_gradient.norm()


@pytest.mark.parametrize(
    "model",
    [("wide_resnet", {"depth": 10, "width": 1}), ("preact_resnet18", {"base_width": 8})],
    ids=lambda model: model[0],
)
def test_networks_give_the_cpu_s_logits_and_representations(model, gpu):
    name, size = model
    one = network(3, name, **size).eval()
    images, labels = images_of(2)
    with torch.no_grad():
        expected = one(images, return_representations=True)
        expected_variation = label_variation_of_layers(one, (images.permute(0, 2, 3, 1) * 255).byte(), labels)
        one = one.to(gpu, memory_format=torch.channels_last)
        logits, representations = one(images.to(gpu), return_representations=True)
        variation = label_variation_of_layers(
            one, (images.permute(0, 2, 3, 1) * 255).byte().to(gpu), labels.to(gpu)
        ).cpu()
    for value, other in zip([logits, *representations], [expected[0], *expected[1]], strict=True):
        torch.testing.assert_close(value.cpu(), other, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(variation.double(), expected_variation.double(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("form", ["pixels", "normalized"])
def test_fgsm_moves_by_its_ratio_of_signal_to_noise(form, gpu):
    model = network(3).eval()
    images, labels = images_of(4)
    attacked = attacks.fgsm(model.to(gpu), images.to(gpu), labels.to(gpu), 20.0, form=form).cpu()
    expected = attacks.fgsm(model.cpu(), images, labels, 20.0, form=form)
    # the sign of a gradient near zero may differ
    assert ((attacked - expected).abs() > 1e-5).float().mean() < 1e-3


def test_pgd_stays_within_its_ball_and_does_not_lower_the_loss(gpu):
    model = network(3).eval().to(gpu)
    images, labels = (value.to(gpu) for value in images_of(5))
    attacked = attacks.pgd(model, images, labels, epsilon=8 / 255, step_size=2 / 255, steps=5)
    assert (attacked - images).abs().max() <= 8 / 255 + 1e-6
    with torch.no_grad():
        before, after = (torch.nn.functional.cross_entropy(model(x), labels) for x in (images, attacked))
    assert after >= before


def test_the_retraction_is_that_of_the_cpu(gpu):
    """Up to products of numbers that are rounded to bfloat16."""
    model, other, before = network(6).to(gpu), network(6), network(6)
    losses.parseval_retract_(model, beta=0.01)
    losses.parseval_retract_(other, beta=0.01)
    for value, expected, weight in zip(model.parameters(), other.parameters(), before.parameters(), strict=True):
        if weight.dim() < 2:
            assert torch.equal(value.cpu(), expected)
            continue
        w = weight.detach().double().flatten(1)
        rest = torch.eye(len(w), dtype=w.dtype) - w @ w.T
        # (I − WWᵀ)W with W rounded in both products and I − WWᵀ in the second
        rounding = (
            2.0**-8 * (2 * torch.linalg.matrix_norm(w, 2) ** 2 + 2 * torch.linalg.matrix_norm(rest, 2)) * w.norm()
        )
        assert (value.cpu() - expected).norm() <= 0.01 * rounding
        assert (expected - weight).norm() > 0.01 * rounding  # what it is compared with is more than that


@pytest.mark.parametrize("as_array", [True, False])
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("augmentation", ["none", "crop_and_flip", "random_resized_crop", "trivial_augment"])
def test_batches_are_those_of_the_cpu(augmentation, resident, as_array, gpu):
    options = {"augmentation": augmentation, "as_array": as_array}
    there, here = batches(gpu, resident=resident, **options), batches("cpu", **options)
    assert (isinstance(there.images, torch.Tensor) and there.images.is_cuda) == resident
    for (images, labels), (expected, expected_labels) in zip(there.epoch(3), here.epoch(3), strict=True):
        assert torch.equal(labels.cpu(), expected_labels)
        # values between two pixels or levels may be rounded to either; of the others none may differ
        largest = 1 if augmentation in ("random_resized_crop", "trivial_augment") else 0
        differences = (images.cpu() * 255).round() - (expected * 255).round()
        assert differences.abs().max() <= largest and (differences != 0).double().mean() < 0.01


RUNS = {
    **OBJECTIVES,
    "attacked": lambda _: Robust([Adversarial(8 / 255, 4 / 255, steps=2)]),
    "parseval": lambda _: Robust([Parseval(), Regularizer(1e-3)]),
    "adamw": OBJECTIVES["cross-entropy"],
}


def run_of(training, device, *, seed=0, precision="float32", epochs=2, **options):
    """Return a training run; weights, batches and random numbers come from its seed."""
    model = (
        network(seed, "preact_resnet18", base_width=4).to(device)
        if training == "parseval"
        else network(seed).to(device)
    )
    objective = RUNS[training](device)
    torch.manual_seed(seed)  # a teacher has drawn from it
    return Run(
        model,
        objective,
        batches(device, seed),
        [{"epochs": epochs, "learning_rate": [0.0, 0.05]}],
        optimizer=AdamW(model.parameters()) if training == "adamw" else None,
        precision=precision,
        after_step=partial(objective.after_step, model) if isinstance(objective, Robust) else None,
        **options,
    )


def outcome(run, history):
    torch.cuda.synchronize()
    rows = [{column: value for column, value in row.items() if column != "seconds"} for row in history]
    return {name: value.cpu() for name, value in run.model.state_dict().items()}, rows


def train(*runs, captured=False):
    return [outcome(*one) for one in zip(runs, fit_side_by_side(runs, captured=captured), strict=True)]


def same(one, other):
    return one[1] == other[1] and all(torch.equal(value, other[0][name]) for name, value in one[0].items())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("training", RUNS)
def test_training_is_reproducible_bit_for_bit(training, precision, gpu):
    first, again = (train(run_of(training, gpu, precision=precision))[0] for _ in range(2))
    assert same(first, again)


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("training", ["regularizer", "attacked", "adamw"])
def test_an_interrupted_training_resumes_to_the_same_bits(training, captured, gpu, tmp_path):
    """Also where steps are replayed: those just after resuming are not, and neither changes a bit."""
    kind = {"precision": "bfloat16", "epochs": 6}
    [whole] = train(run_of(training, gpu, **kind), captured=captured)

    def end(model):
        os.kill(os.getpid(), signal.SIGTERM)
        return torch.zeros(1)

    def checkpoints():
        return Checkpoints(tmp_path / "checkpoint.safetensors", "same", epochs=1)

    recorder = Recorder(end, epochs=[4])
    with pytest.raises(Interrupted):
        train(run_of(training, gpu, **kind, checkpoints=checkpoints(), recorder=recorder), captured=captured)
    assert same(train(run_of(training, gpu, **kind, checkpoints=checkpoints()), captured=captured)[0], whole)


# --- steps replayed as CUDA graphs ------------------------------------------------------------------------------------


@pytest.fixture
def graphs(monkeypatch):
    """The sizes of batches that are captured, in order, and how often a graph is replayed."""
    found = SimpleNamespace(sizes=[], replays=0)
    capture, replay = Captured._capture, torch.cuda.CUDAGraph.replay

    def note(self, size):
        capture(self, size)
        found.sizes += [size] * (size in self.graphs)

    def count(self):
        found.replays += 1
        replay(self)

    monkeypatch.setattr(Captured, "_capture", note)
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", count)
    return found


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("training", RUNS)
def test_replayed_steps_give_the_bits_of_steps_run_one_by_one(training, precision, gpu, graphs, capfd):
    """A graph launches the same kernels on the same values in the same order, so nothing may differ, random starts included.

    Of 5 epochs of two whole batches and a smaller one, the first 3 steps of either size come before its capture.
    """
    kind = {"precision": precision, "epochs": 5}
    [expected] = train(run_of(training, gpu, **kind))
    [found] = train(run_of(training, gpu, **kind), captured=True)
    assert "not captured" not in capfd.readouterr().err
    assert graphs.sizes == [8, 4]
    assert graphs.replays == (10 - 3) + (5 - 3)
    assert same(found, expected)


@pytest.mark.parametrize("as_array", [True, False])
def test_replayed_steps_use_batches_that_are_copied_from_main_memory(as_array, gpu, graphs):
    [expected] = train(run_of("cross-entropy", gpu, epochs=5))
    copied = run_of("cross-entropy", gpu, epochs=5)
    copied.batches = batches(gpu, resident=False, as_array=as_array)
    [found] = train(copied, captured=True)
    assert graphs.sizes == [8, 4]
    assert same(found, expected)


@pytest.mark.parametrize("augmentation", ["random_resized_crop", "trivial_augment"])
def test_steps_with_any_augmentation_and_clipping_can_be_replayed(augmentation, gpu, graphs, capfd):
    runs = [run_of("cross-entropy", gpu, epochs=5, gradient_clipping=0.5) for _ in range(2)]
    for run in runs:
        run.batches = batches(gpu, augmentation=augmentation)
    [expected], [found] = train(runs[0]), train(runs[1], captured=True)
    assert "not captured" not in capfd.readouterr().err
    assert graphs.sizes == [8, 4]
    assert same(found, expected)


def test_a_recorder_between_replayed_steps_changes_nothing(gpu, graphs):
    def look(model):
        model.eval()
        with torch.no_grad():
            return model(images_of(1)[0].to(gpu)).cpu()

    recorders = [Recorder(look), Recorder(look)]
    [expected] = train(run_of("attacked", gpu, epochs=5, recorder=recorders[0]))
    [found] = train(run_of("attacked", gpu, epochs=5, recorder=recorders[1]), captured=True)
    assert graphs.replays == 9
    assert same(found, expected)
    assert all(torch.equal(recorders[1].recorded[epoch], one) for epoch, one in recorders[0].recorded.items())


class Reads(Defence):
    """Reads a value on the host: always, or only during a capture, which then fails."""

    def __init__(self, *, always):
        self.always = always

    def inputs(self, model, images, labels):  # noqa: ARG002
        noisy = images + 0.01 * torch.rand(images.shape, generator=self.generator, device=images.device)
        if self.always or torch.cuda.is_current_stream_capturing():
            noisy.sum().item()
        return noisy


@pytest.mark.parametrize("always", [True, False])
def test_steps_that_cannot_be_captured_run_one_by_one(always, gpu, graphs, monkeypatch, capfd):
    monkeypatch.setitem(RUNS, "reads", lambda _: Robust([Reads(always=always)]))
    [expected] = train(run_of("reads", gpu, epochs=5))
    [found] = train(run_of("reads", gpu, epochs=5), captured=True)
    [message] = [line for line in capfd.readouterr().err.splitlines() if "not captured" in line]
    assert (__file__ in message) == always
    assert graphs.replays == 0
    assert same(found, expected)
    # another training run of this process can be captured afterwards, and PyTorch's own generator still draws
    torch.rand(1, device=gpu)
    [after] = train(run_of("attacked", gpu, epochs=5), captured=True)
    assert graphs.sizes == [8, 4]
    assert same(after, train(run_of("attacked", gpu, epochs=5))[0])


# --- several networks side by side ------------------------------------------------------------------------------------


@pytest.mark.parametrize("captured", [False, True])
def test_each_network_is_what_it_is_alone(captured, gpu):
    kinds = [("gkd", 0, 4), ("attacked", 1, 5), ("regularizer", 2, 6), ("attacked", 3, 5)]

    def runs():
        return [
            run_of(training, gpu, seed=seed, epochs=epochs, precision="bfloat16") for training, seed, epochs in kinds
        ]

    alone = [train(run)[0] for run in runs()]
    for found, expected in zip(train(*runs(), captured=captured), alone, strict=True):
        assert same(found, expected)


def test_networks_run_in_streams_of_their_own(gpu):
    seen = set()

    def noting(model, images, labels):
        seen.add(torch.cuda.current_stream().cuda_stream)
        return CrossEntropy()(model, images, labels)

    runs = [run_of("cross-entropy", gpu, seed=seed) for seed in (0, 1)]
    for run in runs:
        run.objective = noting
    before = torch.cuda.current_stream()
    train(*runs)
    assert len(seen) == 2 and before.cuda_stream not in seen
    assert torch.cuda.current_stream() == before


def test_the_driver_names_the_gpus_that_pytorch_finds(monkeypatch):
    found = [str(torch.cuda.get_device_properties(number).uuid) for number in range(torch.cuda.device_count())]
    answer = driver.ask()
    assert sorted(answer.uuids) == sorted(uuid.replace("-", "") for uuid in found)
    assert answer.why == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert driver.ask() == driver.Answer([])
