"""Evaluation on a GPU, if there is one: the results of the CPU up to rounding, in batches that its memory allows."""

from functools import partial

import pytest
import torch
from torch import nn

from lgg import attacks, models
from lgg.data.batches import deliver
from lgg.devices import prepare
from lgg.evaluation import batching
from lgg.evaluation.accuracy import predict
from lgg.evaluation.batching import LARGEST, SHARE, choose_batch_size
from lgg.evaluation.embeddings import features
from lgg.evaluation.pgd import predict_under_pgd
from lgg.evaluation.robustness import (
    fgsm_curve,
    predict_under_attack,
    predict_with_dropout,
    predict_with_noise,
    without_gradient,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use")


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Use the settings of jobs, but without TF32, which rounds products to three digits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield prepare(1, 1)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def draw(count):
    return torch.randint(256, (count, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network(base_width=8):
    torch.manual_seed(0)
    model = models.build("preact_resnet18", num_classes=3, base_width=base_width)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    images = draw(60).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        model(images)
        model.eval()
        model.classifier.bias -= model(images).mean(dim=0)
    return model.to(memory_format=torch.channels_last)


def test_what_is_delivered_is_what_was_sent_while_the_gpu_is_busy(gpu):
    parts = torch.rand(40, 1000, 100).split(1)
    busy = torch.rand(2000, 2000, device=gpu)
    found = []
    for part in deliver(iter(parts), gpu):
        busy = (busy @ busy).clamp(0, 1)
        found.append(part * 2)
    assert all(torch.equal(one.cpu(), 2 * other) for one, other in zip(found, parts, strict=True))


@pytest.mark.parametrize(
    "evaluate",
    [
        lambda model, images, _, **more: predict(model, images, **more),
        lambda model, images, _, **more: predict_with_noise(model, images, std=0.1, seed=0, **more),
        lambda model, images, _, **more: predict_with_dropout(model, images, rate=0.25, seed=0, **more),
        without_gradient,
        lambda *given, **more: fgsm_curve(*given, [20.0], **more)[20.0],
        lambda *given, **more: predict_under_attack(*given, partial(attacks.fgsm, snr=20.0), **more),
        partial(predict_under_pgd, epsilon=0.01, step_size=0.005, steps=2, restarts=2, random_start=True),
    ],
)
def test_results_are_those_of_the_cpu_in_batches_of_any_size(evaluate, gpu):
    images, labels = draw(200), torch.arange(200) % 3
    expected = evaluate(network(), images, labels)
    for more in ({}, {"batch_size": 30}):
        found = evaluate(network().to(gpu), images, labels, device=gpu, **more)
        assert found.device.type == "cpu"
        # images next to a border may be on either side of it, and a gradient next to zero may have either sign
        assert (found != expected).double().mean() <= 0.05


def test_results_of_a_network_of_another_library_are_those_of_the_cpu(gpu):
    pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = models.build("torchvision", model="resnet18", layers="relus", num_classes=3, image_size=64).eval()
    images = torch.randint(256, (30, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(30) % 3
    evaluations = (
        lambda **more: predict_with_dropout(model, images, rate=0.25, seed=0, **more),
        lambda **more: fgsm_curve(model, images, labels, [20.0], **more)[20.0],
        lambda **more: predict_under_pgd(
            model, images, labels, epsilon=0.01, step_size=0.005, steps=2, restarts=2, **more
        ),
    )
    expected = [evaluate() for evaluate in evaluations]
    shown = features(model, images, layer="layer3.1.relu#2")
    model.to(gpu)
    for evaluate, one in zip(evaluations, expected, strict=True):
        # an image next to a border may be on either side of it
        assert (evaluate(device=gpu) != one).sum() <= 3
    found = features(model, images, layer="layer3.1.relu#2", device=gpu)
    torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(shown), rtol=1e-3, atol=1e-3)


def test_features_are_those_of_the_cpu(gpu):
    found = features(network().to(gpu), draw(200), batch_size=30, device=gpu)
    torch.testing.assert_close(
        torch.from_numpy(found), torch.from_numpy(features(network(), draw(200))), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("gradients", [False, True])
def test_the_memory_of_a_batch_is_about_what_its_size_was_chosen_for(gpu, gradients):
    model = network(base_width=32).to(gpu)
    images = draw(20_000)
    size = choose_batch_size(model, images, gpu, gradients=gradients)
    assert 1 <= size <= LARGEST
    each = batching._bytes_of[model][images.shape[1:], gradients]
    before = torch.cuda.memory_allocated(gpu)
    taken = batching._peak(model, 256, images.shape[1:], gpu, gradients) - before
    # what a network takes whatever its batch, such as the workspace of cuBLAS, is not counted
    assert taken / 256 <= 1.5 * each + 2**18
    _, total = torch.cuda.mem_get_info(gpu)
    assert size * each <= SHARE * total


def test_a_batch_that_is_too_large_is_halved_and_the_results_stay_the_same(gpu):
    model, images, labels = network(base_width=32).to(gpu), draw(2000), torch.arange(2000) % 3
    attack = partial(predict_under_pgd, epsilon=0.01, step_size=0.005, steps=1, random_start=True)
    expected = attack(model, images, labels, batch_size=100, device=gpu)
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated(gpu)
    _, total = torch.cuda.mem_get_info(gpu)
    # room for about 300 images with gradients
    choose_batch_size(model, images, gpu, gradients=True)
    room = 300 * batching._bytes_of[model][images.shape[1:], True] + 2**28
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((held + room) / total)
    try:
        found = attack(model, images, labels, batch_size=2000, device=gpu)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert (found != expected).double().mean() <= 0.05
