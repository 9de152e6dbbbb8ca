"""How many images are processed together, in what order results come, and what happens where memory runs out."""

import gc
import math
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lgg import attacks, models
from lgg.data.batches import deliver
from lgg.evaluation import batching
from lgg.evaluation.accuracy import predict
from lgg.evaluation.batching import FIXED, LARGEST, batches_of, choose_batch_size, gather
from lgg.evaluation.embeddings import features
from lgg.evaluation.pgd import predict_under_pgd
from lgg.evaluation.robustness import (
    deepfool_norms,
    fgsm_curve,
    predict_under_attack,
    predict_with_dropout,
    predict_with_noise,
    predict_with_quantized_weights,
    without_gradient,
)


def rows(count):
    return torch.arange(count)


def fails_above(most, error=None):
    """Return a function of one tensor that doubles it and fails for more than `most` rows, and the numbers of rows seen."""
    seen = []

    def compute(x, *_):
        seen.append(len(x))
        if len(x) > most:
            raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return (2 * x,)

    return compute, seen


# Gathering


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 45), most=st.integers(1, 45))
def test_results_are_in_order_however_often_memory_runs_out(count, batch_size, most):
    compute, seen = fails_above(most)
    (found,) = gather(compute, zip(torch.split(rows(count), batch_size)), count)
    assert found.tolist() == list(range(0, 2 * count, 2))
    # after a failure no batch is as large again
    failed = [number for number, size in enumerate(seen) if size > most]
    for number in failed:
        assert all(size <= math.ceil(seen[number] / 2) for size in seen[number + 1 :])
    assert len(failed) <= math.ceil(math.log2(batch_size)) if batch_size > 1 else not failed


def test_every_tensor_of_a_batch_is_cut_alike_and_every_result_is_returned():
    def compute(x, y):
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return x[:, 0] + y, x.double()

    x, y = torch.rand(7, 3), torch.rand(7)
    first, second = gather(compute, zip(x.split(5), y.split(5), strict=True), 7)
    assert torch.equal(first, x[:, 0] + y)
    assert torch.equal(second, x.double())


@pytest.mark.parametrize(
    "message",
    [
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "GET was unable to find an engine to execute this computation",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.",
    ],
)
def test_lack_of_memory_in_the_words_of_libraries_is_recognised(message):
    compute, _ = fails_above(2, RuntimeError(message))
    assert gather(compute, [(rows(5),)], 5)[0].tolist() == [0, 2, 4, 6, 8]


def test_other_errors_and_a_single_image_that_is_too_large_are_not_hidden():
    compute, seen = fails_above(2, RuntimeError("expected scalar type"))
    with pytest.raises(RuntimeError, match="expected scalar type"):
        gather(compute, [(rows(5),)], 5)
    assert seen == [5]
    compute, seen = fails_above(0)
    with pytest.raises(torch.OutOfMemoryError):
        gather(compute, [(rows(4),)], 4)
    assert seen == [4, 2, 1]


def test_what_a_failed_batch_made_is_freed_before_the_next_attempt():
    class Result:
        alive = 0

        def __init__(self):
            Result.alive += 1

        def __del__(self):
            Result.alive -= 1

    def compute(x):
        before = Result.alive
        held = Result()  # noqa: F841
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return (torch.full((1,), before),)

    gc.disable()
    try:
        assert gather(compute, [(rows(4),)], 4)[0].tolist() == [0, 0, 0, 0]
    finally:
        gc.enable()


def test_without_images_there_is_nothing_to_evaluate():
    with pytest.raises(ValueError, match="no images"):
        gather(lambda x: (x,), [], 0)


def test_batches_hold_images_labels_and_more_in_order():
    images = torch.randint(256, (7, 4, 4, 3), dtype=torch.uint8)
    more = torch.rand(7, 2)
    found = list(batches_of(images, rows(7), 3, "cpu", iter(more.split(3))))
    assert [len(batch[0]) for batch in found] == [3, 3, 1]
    pixels, labels, others = (torch.cat(parts) for parts in zip(*found, strict=True))
    assert torch.equal(pixels, images.permute(0, 3, 1, 2) / 255)
    assert torch.equal(labels, rows(7)) and torch.equal(others, more)


def test_what_is_delivered_arrives_in_order_on_the_device():
    parts = torch.rand(5, 3).split(2)
    assert all(torch.equal(one, other) for one, other in zip(deliver(iter(parts), "cpu"), parts, strict=True))
    assert [(part.device.type, len(part)) for part in deliver(parts, "meta")] == [("meta", 2), ("meta", 2), ("meta", 1)]


class Gpu:
    """Stands for a GPU's two streams and the tensors sent to it; records what happens, in order."""

    is_cuda, device = False, torch.device("cpu")

    def __init__(self, number, log):
        self.number, self.log = number, log

    def pin_memory(self):
        self.log.append(("pinned", self.number))
        return self

    def to(self, device, non_blocking=False):
        assert device.type == "cuda" and non_blocking
        self.log.append(("sent", self.number))
        return self

    def record_event(self):
        return self.log[-1]

    def wait_event(self, event):
        self.log.append(("waited for", event))

    def record_stream(self, stream):
        assert stream is self.log.stream
        self.log.append(("kept", self.number))


class Log(list):
    stream = None


def test_a_gpu_receives_one_part_ahead_and_waits_for_each_before_its_use(monkeypatch):
    log = Log()
    log.stream = Gpu(None, log)
    monkeypatch.setattr("lgg.data.batches._copying", lambda _: log.stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: log.stream)
    for number, part in enumerate(deliver((Gpu(number, log) for number in range(3)), "cuda")):
        assert part.number == number
        log.append(("used", number))
    used = [log.index(("used", number)) for number in range(3)]
    for number in range(3):
        assert log.index(("pinned", number)) < log.index(("sent", number))
        # the copy of the next part is under way when a part is used, and none after it
        assert log.index(("sent", number)) < used[max(0, number - 1)]
        assert number < 2 or log.index(("sent", number)) > used[number - 2]
        # its use comes after its own copy, and its memory is kept for the stream that uses it
        assert log.index(("waited for", ("sent", number))) < used[number]
        assert log.index(("kept", number)) < used[number]


# Batch size


@pytest.fixture
def memory(monkeypatch):
    """Return a function that sets a GPU's free memory and what an image takes, without and with gradients."""

    def set_to(free, plain, with_gradients=None, reserved=0, allocated=0):
        measured = []

        def peak(model, count, shape, device, gradients):
            measured.append(gradients)
            return allocated + 10**6 + count * (with_gradients if gradients else plain)

        monkeypatch.setattr(batching, "_peak", peak)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10**12))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: reserved)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: allocated)
        return measured

    return set_to


def pictures(count, side=32):
    return torch.empty((count, side, side, 3), dtype=torch.uint8)


@pytest.mark.parametrize(("side", "size"), [(8, 500), (32, 500), (64, 125), (96, 55), (224, 10), (1024, 1)])
def test_batches_of_a_cpu_are_of_a_fixed_size_with_as_many_pixels_for_large_images(side, size):
    assert choose_batch_size(nn.Identity(), pictures(3, side), "cpu", gradients=True) == size
    assert FIXED == 500


@pytest.mark.parametrize(("free", "count"), [(10**9, 10_000), (10**10, 10_000), (3 * 10**8, 50_000), (10**9, 7)])
def test_a_batch_takes_at_most_half_of_a_gpu_s_free_memory_and_batches_are_about_equal(memory, free, count):
    memory(free, 10**6)
    size = choose_batch_size(nn.Identity(), pictures(count), "cuda")
    assert 2 * size * 10**6 <= free
    assert size <= LARGEST
    batches = math.ceil(count / size)
    assert batches * size - count < batches
    # as few batches as that allows: with one less a batch would be too large, with its own tensors of the image's size
    own = 10**6 + 12 * 4 * 32 * 32 * 3
    assert batches == 1 or 2 * math.ceil(count / (batches - 1)) * own > free or count / (batches - 1) > LARGEST


def test_enough_memory_gives_the_same_batches_however_much_is_free(memory):
    sizes = set()
    for free in (40 * 10**9, 80 * 10**9):
        memory(free, 10**6)
        sizes.add(choose_batch_size(nn.Identity(), pictures(10_000), "cuda"))
    assert sizes == {5000}


def test_memory_that_pytorch_holds_without_using_it_is_free(memory):
    memory(10**9, 10**6)
    expected = choose_batch_size(nn.Identity(), pictures(10_000), "cuda")
    memory(10**8, 10**6, reserved=12 * 10**8, allocated=3 * 10**8)
    assert choose_batch_size(nn.Identity(), pictures(10_000), "cuda") == expected


def test_without_free_memory_images_are_processed_one_by_one(memory):
    memory(0, 10**6)
    assert choose_batch_size(nn.Identity(), pictures(9), "cuda") == 1


def test_the_memory_of_an_image_is_measured_once_per_network_with_and_without_gradients(memory):
    measured = memory(10**9, 10**6, 4 * 10**6)
    model = nn.Identity()
    few = [choose_batch_size(model, pictures(5000), "cuda", gradients=True) for _ in range(3)]
    many = [choose_batch_size(model, pictures(5000), "cuda") for _ in range(3)]
    assert len(set(few)) == len(set(many)) == 1
    assert few[0] < many[0]
    assert measured == [True, True, False, False]
    choose_batch_size(nn.Identity(), pictures(5000), "cuda")
    choose_batch_size(model, pictures(5000, side=8), "cuda")
    assert len(measured) == 8


@pytest.mark.parametrize("gradients", [False, True])
def test_an_image_takes_what_one_more_adds_to_the_peak_and_measuring_changes_nothing(gradients, monkeypatch):
    model, seen = network().train(), []
    model.register_forward_pre_hook(lambda _, given: seen.append((len(given[0]), given[0].requires_grad)))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 10**9 + 5000 * seen[-1][0])
    found = batching._bytes_per_image(model, (16, 16, 3), torch.device("cpu"), gradients)
    assert found == 5000 + 12 * 4 * 16 * 16 * 3
    assert len(seen) == 2 and all(given == gradients for _, given in seen)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_networks_are_not_kept_for_their_measurements(memory):
    memory(10**9, 10**6)
    before = len(batching._bytes_of)
    choose_batch_size(nn.Identity(), pictures(5), "cuda")
    gc.collect()
    assert len(batching._bytes_of) <= before


# All evaluations


COUNT = 14
ATTACK = {"epsilon": 0.03, "step_size": 0.02, "steps": 2}

#: each takes a network, images, labels and options, and returns one result per image
EVALUATIONS = {
    "predict": lambda model, images, _, **more: predict(model, images, **more),
    "features": lambda model, images, _, **more: torch.from_numpy(features(model, images, **more)),
    "noise": lambda model, images, _, **more: predict_with_noise(model, images, std=0.2, seed=0, **more),
    "dropout": lambda model, images, _, **more: predict_with_dropout(model, images, rate=0.25, seed=0, **more),
    "quantized": lambda model, images, _, **more: predict_with_quantized_weights(model, images, bits=3, **more),
    "without gradient": without_gradient,
    "fgsm": lambda *given, **more: torch.stack(list(fgsm_curve(*given, [30.0, 15.0], **more).values()), dim=1),
    "under attack": lambda *given, **more: predict_under_attack(*given, partial(attacks.fgsm, snr=15.0), **more),
    "pgd": partial(predict_under_pgd, **ATTACK),
    "pgd with restarts": partial(predict_under_pgd, **ATTACK, restarts=2, random_start=True),
}


def network():
    torch.manual_seed(0)
    model = models.build("preact_resnet18", num_classes=3, base_width=2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(inputs()[0].permute(0, 3, 1, 2) / 255)
        model.eval()
        model.classifier.bias -= model(inputs()[0].permute(0, 3, 1, 2) / 255).mean(dim=0)
    return model


def inputs():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (COUNT, 16, 16, 3), dtype=torch.uint8, generator=generator)
    return images, torch.randint(3, (COUNT,), generator=generator)


@pytest.mark.parametrize("name", [*EVALUATIONS, "deepfool"])
def test_results_depend_neither_on_the_batch_size_nor_on_lack_of_memory(name):
    evaluate = EVALUATIONS.get(name, partial(deepfool_norms, steps=3))
    images, labels = inputs()
    whole = evaluate(network(), images, labels, batch_size=COUNT)
    parts = evaluate(network(), images, labels, batch_size=4)
    scarce, sizes = network(), []

    def run_out(_, given):
        if len(given[0]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        sizes.append(len(given[0]))

    scarce.register_forward_pre_hook(run_out)
    cut = evaluate(scarce, images, labels, batch_size=COUNT)
    assert sizes
    for found in (parts, cut):
        torch.testing.assert_close(found, whole, equal_nan=True)
    assert len(whole) == COUNT


@pytest.mark.parametrize("name", EVALUATIONS)
def test_an_evaluation_waits_for_its_device_once_however_many_batches_there_are(name, monkeypatch):
    """The meta device represents a GPU: whatever reads a value from it fails, but for the one place that may."""
    gathered = []

    def gather_there(compute, batches, count, **more):
        counted = []
        with monkeypatch.context() as there:
            there.setattr(
                batching,
                "_on_host",
                lambda one, count: torch.empty((count, *one.shape[1:]), dtype=one.dtype, device="meta"),
            )
            results = gather(lambda *batch: counted.append(batch) or compute(*batch), batches, count, **more)
        gathered.append(len(counted))
        # nothing is misclassified, so that every start is made
        return tuple(torch.zeros(one.shape, dtype=one.dtype) for one in results)

    for module in ("accuracy", "embeddings", "pgd", "robustness"):
        monkeypatch.setattr(f"lgg.evaluation.{module}.gather", gather_there)
    EVALUATIONS[name](network().to("meta"), *inputs(), batch_size=5, device="meta")
    assert gathered == [3] * (2 if "restarts" in name else 1)


@pytest.mark.parametrize(
    "waits", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x.cpu(), lambda x: x.max() > 0 or 1]
)
def test_attacks_that_wait_are_noticed(waits):
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        predict_under_attack(
            network().to("meta"), *inputs(), lambda _, images, __: (waits(images), images)[1], device="meta"
        )
