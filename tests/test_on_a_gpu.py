"""Results on a GPU, if there is one: equal to those of the CPU up to rounding, and reproducible bit for bit."""

import copy
import os
import signal

import pytest
import torch

from lgg import attacks, losses, models
from lgg.data.batches import Batches
from lgg.defences import Adversarial, Regularizer
from lgg.devices import prepare
from lgg.errors import Interrupted
from lgg.evaluation.geometry import label_variation_of_layers
from lgg.pipeline import driver
from lgg.training.fit import fit
from lgg.training.objectives import CrossEntropy, Distillation, MetricLearning, Robust
from lgg.training.optimizers import AdamW
from lgg.training.recorder import Recorder
from lgg.training.resume import Checkpoints

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use")

CLASSES = 3
SCHEDULE = [{"epochs": 2, "learning_rate": [0.0, 0.05]}]


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


def batches(device, seed=0, resident=None):
    generator = torch.Generator().manual_seed(8)
    images = torch.randint(256, (20, 32, 32, 3), generator=generator, dtype=torch.uint8)
    labels = torch.arange(20) % CLASSES
    return Batches(
        images, labels, batch_size=8, seed=seed, augmentation="crop_and_flip", device=device, resident=resident
    )


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
    model, other = network(6).to(gpu), network(6)
    losses.parseval_retract_(model, beta=0.01)
    losses.parseval_retract_(other, beta=0.01)
    for value, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(value.cpu(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_those_of_the_cpu(resident, gpu):
    there, here = batches(gpu, resident=resident), batches("cpu")
    assert there.home.type == ("cuda" if resident else "cpu")
    for (images, labels), (expected, expected_labels) in zip(there.epoch(3), here.epoch(3), strict=True):
        assert torch.equal(labels.cpu(), expected_labels)
        # division by 255 on a GPU differs by a unit in the last place
        torch.testing.assert_close(images.cpu(), expected, rtol=2**-22, atol=0)


TRAINING_RUNS = {
    **{name: (network, batches, make) for name, make in OBJECTIVES.items()},
    "attacked": (network, batches, lambda _: Robust([Adversarial(8 / 255, 4 / 255, steps=2)])),
    "adamw": (network, batches, OBJECTIVES["cross-entropy"]),
}


def train(training, device, precision="float32", checkpoints=None, recorder=None):
    build, feed, make = TRAINING_RUNS[training]
    model = build().to(device)
    torch.manual_seed(7)
    history = fit(
        model,
        make(device),
        feed(device),
        schedule=SCHEDULE,
        optimizer=AdamW(model.parameters()) if training == "adamw" else None,
        precision=precision,
        checkpoints=checkpoints,
        recorder=recorder,
    )
    for row in history:
        del row["seconds"]
    return {name: value.cpu() for name, value in copy.deepcopy(model.state_dict()).items()}, history


def same(one, other):
    return one[1] == other[1] and all(torch.equal(one[0][name], other[0][name]) for name in one[0])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("training", TRAINING_RUNS)
def test_training_is_reproducible_bit_for_bit(training, precision, gpu):
    assert same(train(training, gpu, precision), train(training, gpu, precision))


@pytest.mark.parametrize("training", ["regularizer", "attacked", "adamw"])
def test_an_interrupted_training_resumes_to_the_same_bits(training, gpu, tmp_path):
    whole = train(training, gpu, "bfloat16")

    def checkpoints():
        return Checkpoints(tmp_path / "checkpoint.safetensors", "same", epochs=1)

    def end(model):
        os.kill(os.getpid(), signal.SIGTERM)
        return torch.zeros(1)

    with pytest.raises(Interrupted):
        train(training, gpu, "bfloat16", checkpoints(), Recorder(end, epochs=[1]))
    assert same(train(training, gpu, "bfloat16", checkpoints()), whole)


def test_the_driver_names_the_gpus_that_pytorch_finds(monkeypatch):
    found = [str(torch.cuda.get_device_properties(number).uuid) for number in range(torch.cuda.device_count())]
    answer = driver.ask()
    assert sorted(answer.uuids) == sorted(uuid.replace("-", "") for uuid in found)
    assert answer.why == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert driver.ask() == driver.Answer([])
