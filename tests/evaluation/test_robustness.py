"""Predictions under attacks, noise, dropout and quantised weights, and the norms of DeepFool."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lgg import models
from lgg.attacks import fgsm, pgd
from lgg.evaluation.accuracy import predict
from lgg.evaluation.robustness import (
    deepfool_norms,
    fgsm_curve,
    predict_under_attack,
    predict_with_dropout,
    predict_with_noise,
    predict_with_quantized_weights,
    quantize,
    quantized,
    without_gradient,
)
from lgg.models.base import ImageClassifier


class Linear(ImageClassifier):
    """A linear network without normalisation that records its inputs."""

    layers = ()

    def __init__(self, side=5, classes=3):
        super().__init__((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        self.classifier = nn.Linear(3 * side * side, classes)
        self.seen = []

    def _compute(self, x):
        self.seen.append(x.detach().clone())
        return self.classifier(x.flatten(1)), []

    def all_seen(self):
        return torch.cat(self.seen)


def linear(**options):
    torch.manual_seed(0)
    return Linear(**options)


def network(seed=0):
    """A network in training mode with batch normalisation fitted to the images and no dominant class."""
    torch.manual_seed(seed)
    model = models.build("preact_resnet18", num_classes=3, base_width=2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(as_input(draw()))
        model.classifier.bias -= model.eval()(as_input(draw())).mean(dim=0)
    return model.train()


def draw(count=23, side=16, lowest=0, highest=256, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(lowest, highest, (count, side, side, 3), dtype=torch.uint8, generator=generator)


def as_input(images):
    return images.permute(0, 3, 1, 2) / 255


def labels_for(images, seed=0):
    return torch.randint(3, (len(images),), generator=torch.Generator().manual_seed(seed))


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def is_state(model, state):
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


# Attacks


def test_without_an_attack_predictions_are_the_usual_ones():
    model, images = network(), draw()
    labels = labels_for(images)
    found = predict_under_attack(model, images, labels, lambda _, images, __: images, batch_size=4)
    assert torch.equal(found, predict(model, images))
    assert found.dtype == torch.int64
    assert not model.training


@pytest.mark.parametrize(
    "attack", [partial(fgsm, form="normalized", snr=10.0), partial(pgd, epsilon=0.05, step_size=0.02, steps=3)]
)
def test_predictions_are_those_for_the_attacked_images(attack):
    model, images = network().eval(), draw()
    labels = predict(model, images)
    attacked = attack(model, as_input(images), labels)
    with torch.no_grad():
        expected = model(attacked).argmax(dim=1)
    assert (expected != labels).any()
    for batch_size in (23, 5):
        assert torch.equal(predict_under_attack(model, images, labels, attack, batch_size=batch_size), expected)


def test_transfer_attacks_one_network_and_evaluates_the_other():
    source, target, images = network(0), network(1), draw()
    labels = labels_for(images)
    attacked_with = []

    def invert(model, images, labels):
        attacked_with.append((model, labels))
        return 1 - images

    found = predict_under_attack(source, images, labels, invert, target=target, batch_size=7)
    assert torch.equal(found, predict(target, 255 - images))
    assert not torch.equal(found, predict(source, 255 - images))
    assert all(model is source for model, _ in attacked_with)
    assert torch.equal(torch.cat([part for _, part in attacked_with]), labels)


@pytest.mark.parametrize("factor", [1.0, 1e3, 1e4])
def test_images_without_a_gradient_are_those_with_a_saturated_softmax(factor):
    """The gradient of a linear network is Wᵀ(p − one-hot), zero exactly if p is the true class's one-hot in float32."""
    model, images = linear(), draw(side=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= factor
        logits = model(as_input(images))
    labels = logits.argmax(dim=1)
    labels[:3] = (labels[:3] + 1) % 3  # wrong labels, so that there is a gradient
    sure = (logits.softmax(dim=1) == nn.functional.one_hot(labels, 3)).all(dim=1)
    assert sure.any() == (factor > 1)
    for batch_size in (4, 100):
        assert torch.equal(without_gradient(model, images, labels, batch_size=batch_size), sure)


@pytest.mark.parametrize("form", ["pixels", "normalized"])
def test_curve_is_fgsm_at_each_ratio(form):
    model, images = network().eval(), draw()
    labels = predict(model, images)
    snrs = [math.inf, 40.0, 20.0, 10.0]
    curve = fgsm_curve(model, images, labels, snrs, form=form, batch_size=6)
    assert list(curve) == snrs
    for snr, found in curve.items():
        attack = partial(fgsm, snr=snr, form=form)
        assert torch.equal(found, predict_under_attack(model, images, labels, attack, batch_size=6))
    assert torch.equal(curve[math.inf], labels)
    assert not torch.equal(curve[10.0], labels)


def test_curve_takes_one_gradient_for_all_ratios():
    model, images = linear(), draw(count=12, side=5)
    fgsm_curve(model, images, labels_for(images), [40.0, 30.0, 20.0], batch_size=4)
    # for each of three batches, one pass for the gradient and one per ratio
    assert len(model.seen) == 3 * (1 + 3)


# Noise


def test_noise_does_not_depend_on_the_batch_size():
    """An image has 75 values: torch draws numbers in groups of 16, so joint draws would differ between batches."""
    images = draw(side=5)
    whole, parts, fewer, other = (linear() for _ in range(4))
    predict_with_noise(whole, images, std=0.1, seed=0, batch_size=23)
    predict_with_noise(parts, images, std=0.1, seed=0, batch_size=4)
    predict_with_noise(fewer, images[:9], std=0.1, seed=0)
    predict_with_noise(other, images, std=0.1, seed=1)
    assert torch.equal(whole.all_seen(), parts.all_seen())
    assert torch.equal(whole.all_seen()[:9], fewer.all_seen())
    assert not torch.equal(whole.all_seen(), other.all_seen())


def test_noise_has_the_given_deviation():
    images = draw(count=40, lowest=120, highest=136)
    model = linear(side=16)
    predict_with_noise(model, images, std=0.1, seed=0)
    # at five deviations from the limits nothing is clamped
    noise = (model.all_seen() - as_input(images)).double().flatten()
    count = len(noise)
    assert abs(noise.mean()) < 5 * 0.1 / math.sqrt(count)
    assert abs(noise.std() - 0.1) < 5 * 0.1 / math.sqrt(2 * count)
    for lag in (1, 16 * 16, 3 * 16 * 16):
        correlation = (noise[:-lag] * noise[lag:]).mean() / 0.1**2
        assert abs(correlation) < 5 / math.sqrt(count - lag)


def test_noise_is_clamped_on_request():
    images = draw(side=5)
    clamped, free = linear(), linear()
    predict_with_noise(clamped, images, std=0.5, seed=0)
    predict_with_noise(free, images, std=0.5, seed=0, clamp=False)
    assert free.all_seen().min() < 0 and free.all_seen().max() > 1
    assert torch.equal(free.all_seen().clamp(0, 1), clamped.all_seen())


def test_predictions_with_noise_are_those_for_the_noisy_images():
    model, images = linear().train(), draw(side=5)
    found = predict_with_noise(model, images, std=0.3, seed=0, batch_size=6)
    assert not model.training
    with torch.no_grad():
        assert torch.equal(found, model.classifier(model.all_seen().flatten(1)).argmax(dim=1))
    assert torch.equal(predict_with_noise(model, images, std=0.0, seed=0), predict(model, images))


@pytest.mark.parametrize("std", [-0.1, math.nan])
def test_bad_deviation_is_refused(std):
    with pytest.raises(ValueError, match="at least 0, not"):
        predict_with_noise(linear(), draw(side=5), std=std, seed=0)


# Dropout


def inputs_of(module):
    seen = []
    module.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    return seen


def test_dropout_does_not_depend_on_the_batch_size():
    images = draw()
    pooled = []
    for count, batch_size, seed in ((23, 23, 0), (23, 4, 0), (9, 9, 0), (23, 23, 1)):
        model = network()
        seen = inputs_of(model.classifier)
        predict_with_dropout(model, images[:count], rate=0.25, seed=seed, batch_size=batch_size)
        pooled.append(torch.cat(seen))
    whole, parts, fewer, other = pooled
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(whole[:9], fewer)
    assert not torch.allclose(whole, other)


class TwoBlocks(ImageClassifier):
    """Two blocks that pass on ones, as tensors without representations."""

    layers = ()

    def __init__(self):
        super().__init__((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        self.blocks = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.after = []

    def _compute(self, x):
        for block in self.blocks:
            x = block(torch.ones_like(x))
            self.after.append(x)
        return x.mean(dim=(2, 3)), []


def test_dropout_sets_the_share_to_zero_and_scales_the_rest():
    model, images, rate = TwoBlocks(), draw(), 0.25
    predict_with_dropout(model, images, rate=rate, seed=0)
    first, second = model.after
    count = first.numel()
    for values in (first, second):
        assert set(values.unique().tolist()) == {0.0, torch.tensor(1 / (1 - rate)).item()}
        zeros = (values == 0).sum().item()
        assert abs(zeros - rate * count) < 5 * math.sqrt(count * rate * (1 - rate))
    # independent masks drop a value twice with probability rate²
    both = ((first == 0) & (second == 0)).sum().item()
    assert abs(both - rate**2 * count) < 5 * math.sqrt(count * rate**2 * (1 - rate**2))


def test_dropout_comes_after_every_block():
    """What a block receives is the output of the previous one, zeroed or divided by 1 − rate."""
    model, images = network(), draw(count=4)
    given, received = [], [inputs_of(block) for block in model.blocks[1:]]
    for block in model.blocks:
        # registered first, so it sees the output before anything is dropped
        block.register_forward_hook(lambda _, __, output: given.append(output[0].clone()))
    predict_with_dropout(model, images, rate=0.25, seed=0)
    for before, (after,) in zip(given[:-1], received, strict=True):
        kept = after != 0
        assert 0 < kept.float().mean() < 1
        torch.testing.assert_close(after[kept], before[kept] / 0.75)


def test_without_a_rate_predictions_are_the_usual_ones():
    model, images = network(), draw()
    assert torch.equal(predict_with_dropout(model, images, rate=0.0, seed=0), predict(model, images))
    assert not model.training


def test_hooks_are_removed():
    model, images = network(), draw()
    before = predict(model, images)
    predict_with_dropout(model, images, rate=0.9, seed=0)
    assert len(before.unique()) > 1
    assert torch.equal(predict(model, images), before)
    with pytest.raises(RuntimeError):
        predict_with_dropout(model, images[..., :2], rate=0.9, seed=0)
    assert torch.equal(predict(model, images), before)
    assert not any(block._forward_hooks for block in model.blocks)


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_bad_rate_is_refused(rate):
    with pytest.raises(ValueError, match="at least 0 and less than 1, not"):
        predict_with_dropout(network(), draw(), rate=rate, seed=0)


def test_dropout_needs_places():
    with pytest.raises(ValueError, match=r"Linear has no blocks .*`dropout_places`"):
        predict_with_dropout(linear(side=16), draw(), rate=0.25, seed=0)


def test_dropout_comes_after_the_blocks_of_all_stages():
    model = models.build("wide_resnet", num_classes=3, depth=16, width=0.5).eval()
    places = [block for stage in (model.stage1, model.stage2, model.stage3) for block in stage]
    assert len(places) == 6
    zeros = [[] for _ in places]
    with torch.no_grad():
        model.bn.bias.fill_(3.0)  # so that zeros are rare without dropout
    following = [*places[1:], None]
    pixels, pooled = [], []
    for place, (block, after) in enumerate(zip(places, following, strict=True)):
        if after is not None:
            after.register_forward_pre_hook(
                lambda _, given, n=place: zeros[n].append((given[0] == 0).float().mean().item())
            )
        block.register_forward_hook(lambda *_, n=place: pixels.append(n))
    model.classifier.register_forward_pre_hook(lambda _, given: pooled.append(given[0].clone()))
    predict_with_dropout(model, draw(), rate=0.9, seed=0)
    predict_with_dropout(model, draw(), rate=0.0, seed=0)
    assert all(share[0] > 0.88 and share[1] < share[0] for share in zeros[:-1])
    assert pixels == [*range(6), *range(6)]
    assert not torch.allclose(*pooled)


# Quantised weights


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=40),
    bits=st.integers(2, 8),
)
def test_quantization_by_its_definition(values, bits):
    weight = torch.tensor(values, dtype=torch.float64)
    largest = weight.abs().max().item()
    coarse = quantize(weight, bits)
    # as in the published code: double until the largest weight is at least 1, then take the integer part
    step = 2.0 ** -(bits - 2)
    while 0 < largest < 1:
        largest, step = 2 * largest, step / 2
    if largest < 2:
        assert coarse.tolist() == [int(value / step) * step for value in values]
    assert (coarse.abs() <= weight.abs()).all()
    assert (coarse * weight >= 0).all()
    assert len(coarse.unique()) <= 2**bits - 1
    assert torch.equal(quantize(coarse, bits), coarse)
    assert torch.equal(quantize(-weight, bits), -coarse)
    assert torch.equal(quantize(4 * weight, bits), 4 * coarse)


def test_quantization_of_a_few_numbers_by_hand():
    """Four of 5 bits remain after the sign: 0.75 is between 8/16 and 16/16, so the step is 1/16."""
    found = quantize(torch.tensor([0.75, -0.124, 0.0625, 0.0624, -0.7]), bits=5)
    assert found.tolist() == [12 / 16, -1 / 16, 1 / 16, 0.0, -11 / 16]


def test_all_levels_are_used():
    coarse = quantize(torch.linspace(-1, 1, 10_001)[1:-1], bits=5)
    assert len(coarse.unique()) == 31


def test_weights_of_zero_stay_zero():
    assert torch.equal(quantize(torch.zeros(3, 3), bits=5), torch.zeros(3, 3))


@pytest.mark.parametrize("bits", [1, 0, -3])
def test_too_few_bits_are_refused(bits):
    with pytest.raises(ValueError, match=f"bits must be at least 2, .*, not {bits}"):
        quantize(torch.ones(2, 2), bits)


def test_quantisation_does_not_change_the_original_network():
    model = network()
    state = state_of(model)
    for name, parameter in quantized(model, 4).named_parameters():
        expected = quantize(state[name], 4) if parameter.dim() > 1 else state[name]
        assert torch.equal(parameter, expected)
        assert parameter.dim() == 1 or not torch.equal(parameter, state[name])
    images = draw()
    found = predict_with_quantized_weights(model, images, bits=2)
    assert torch.equal(found, predict(quantized(model, 2), images))
    assert is_state(model, state)


def test_many_bits_change_nothing():
    model, images = network().double().eval(), draw()
    with torch.no_grad():
        torch.testing.assert_close(quantized(model, 40)(as_input(images)), model(as_input(images)))
    assert torch.equal(predict_with_quantized_weights(model, images, bits=40), predict(model, images))


# DeepFool


def test_deepfool_of_a_linear_network_is_the_distance_to_the_nearest_border():
    """The border with class k is |logit_k − logit_label| / ‖w_k − w_label‖ away (Moosavi-Dezfooli et al., Eq. 10)."""
    model = linear(classes=4)
    images = draw(lowest=110, highest=146, side=5)
    labels = predict(model, images)
    found = deepfool_norms(model, images, labels, overshoot=0.02)
    x = as_input(images)
    weight = model.classifier.weight.detach()
    with torch.no_grad():
        logits = model(x)
    for image, label in enumerate(labels.tolist()):
        distance = min(
            ((logits[image, k] - logits[image, label]).abs() / (weight[k] - weight[label]).norm()).item()
            for k in range(4)
            if k != label
        )
        norm = x[image].norm().item()
        # foolbox goes 1e-4 beyond the boundary, and 2 % further
        assert found[image].item() == pytest.approx(1.02 * (distance + 1e-4) / norm, rel=1e-3)


def test_deepfool_skips_misclassified_images():
    model, images = network(), draw(count=12)
    predictions = predict(model, images)
    labels = predictions.clone()
    labels[::3] = (labels[::3] + 1) % 3
    state = state_of(model)
    found = deepfool_norms(model, images, labels, batch_size=5)
    assert found.shape == (12,) and found.dtype == torch.float32
    assert torch.equal(found.isnan(), labels != predictions)
    right = labels == predictions
    assert (found[right] > 0).all()
    torch.testing.assert_close(found[right], deepfool_norms(model, images[right], labels[right], batch_size=12))
    assert is_state(model, state)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_deepfool_is_infinite_if_it_finds_nothing():
    model, images = linear(), draw(count=3, side=5)
    labels = predict(model, images)
    assert (deepfool_norms(model, images, labels, steps=0) == math.inf).all()
    assert deepfool_norms(model, images, (labels + 1) % 3).isnan().all()
