"""Batch normalisation of few channels, compared with PyTorch's."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from lgg import models
from lgg.models import normalization
from lgg.models.normalization import BatchNorm

SIZES = [(4, 1, 3, 3), (6, 4, 4, 4), (10, 5, 3, 3), (3, 8, 6, 4), (2, 16, 8, 8), (4, 31, 2, 2)]


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch):
    """Treat small images like large ones."""
    monkeypatch.setattr(normalization, "LEAST", 0)


def images(size, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(size, generator=generator, dtype=torch.float64) + 1
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def layers(channels, dtype=torch.float64):
    """PyTorch's layer and ours, with the same state."""
    torch.manual_seed(1)
    plain = nn.BatchNorm2d(channels).to(dtype)
    for tensor in (plain.weight.data, plain.running_var):
        tensor.uniform_(0.5, 2)
    for tensor in (plain.bias.data, plain.running_mean):
        tensor.normal_()
    ours = BatchNorm(channels).to(dtype)
    ours.load_state_dict(plain.state_dict())
    return plain, ours


def outcome(layer, x, seed=2):
    """Output, gradients and state after a step."""
    x = x.clone().requires_grad_()
    out = torch.relu_(layer(x))  # in place, as in the networks
    towards = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    out.backward(towards.to(out.dtype))
    gradients = [x.grad, layer.weight.grad, layer.bias.grad]
    return [out.detach(), *gradients, *(value.clone() for value in layer.state_dict().values())]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_batch_normalisation(size, training, monkeypatch):
    wide = []
    monkeypatch.setattr(
        normalization, "_wide", lambda x, groups, wide_=normalization._wide: wide.append(groups) or wide_(x, groups)
    )
    plain, ours = (layer.train(training) for layer in layers(size[1]))
    for expected, value in zip(outcome(plain, images(size)), outcome(ours, images(size)), strict=True):
        assert_close(value, expected, rtol=1e-10, atol=1e-10)
    groups = normalization._groups(images(size))
    assert set(wide) == ({groups} if groups > 1 else set())


@given(
    size=st.tuples(st.integers(2, 6), st.integers(1, 20), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 2**16),
)
def test_groups_divide_the_number_of_pixels_and_are_restored_in_place(size, seed):
    x = images(size, seed)
    groups = normalization._groups(x)
    pixels = size[0] * size[2] * size[3]
    assert groups >= 1 and pixels % groups == 0
    assert groups * size[1] <= normalization.TARGET
    wide = normalization._wide(x, groups)
    assert wide.shape == (1, groups * size[1], 1, pixels // groups)
    assert wide.data_ptr() == x.data_ptr()  # no copy
    assert torch.equal(normalization._narrow(wide, x), x)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("channels", [4, normalization.WIDE_BACKWARD])
def test_gradients_and_their_gradients(training, channels):
    _, ours = layers(channels)
    ours.train(training)
    x = images((2, channels, 2, 2)).requires_grad_()

    def normalized(x, weight, bias):
        layer = copy.deepcopy(ours)
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)

    inputs = (x, ours.weight.detach().requires_grad_(), ours.bias.detach().requires_grad_())
    assert torch.autograd.gradcheck(normalized, inputs)
    assert torch.autograd.gradgradcheck(normalized, inputs)


def test_gradient_of_the_input_alone():
    plain, ours = (layer.requires_grad_(False) for layer in layers(8))
    for training in (True, False):
        gradients = []
        for layer in (plain, ours):
            x = images((3, 8, 4, 4)).requires_grad_()
            layer.train(training)(x).square().sum().backward()
            gradients.append(x.grad)
        assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_half_precision_is_as_accurate_as_its_type(size):
    plain, ours = layers(size[1], torch.float32)
    exact = copy.deepcopy(plain).double()
    x = images(size, dtype=torch.bfloat16)
    expected = outcome(exact, x.double())
    for value, reference in zip(outcome(ours, x), expected, strict=True):
        # statistics and sums are float32; values are rounded to 8 binary digits, three times
        error = (value.double() - reference.double()).norm()
        assert error <= 3 * 2**-8 * reference.double().norm() + 1e-12
    assert outcome(ours, x)[0].dtype == outcome(plain, x)[0].dtype == torch.bfloat16


def test_many_channels_and_other_layouts_use_pytorch(monkeypatch):
    monkeypatch.setattr(normalization._WideBatchNorm, "apply", lambda *_: pytest.fail("not for these"))
    for x in (images((2, normalization.WIDE, 4, 4)), images((2, 8, 4, 4)).contiguous()):
        plain, ours = layers(x.shape[1])
        assert torch.equal(ours(x), plain(x))
    monkeypatch.setattr(normalization, "LEAST", 2 * 8 * 4 * 4 + 1)
    plain, ours = layers(8)
    assert torch.equal(ours(images((2, 8, 4, 4))), plain(images((2, 8, 4, 4))))


def test_one_value_of_a_channel_has_no_spread():
    _, ours = layers(8)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        ours(images((1, 8, 1, 1)))


def test_torch_func_gives_the_gradient_of_autograd():
    """In evaluation mode, since in training PyTorch itself does not allow running statistics to change."""
    _, layer = layers(8)
    layer.eval()
    x = images((4, 8, 4, 4))

    def loss(weights):
        return torch.func.functional_call(layer, weights, (x,)).square().mul(x.cos()).sum()

    weights = {name: value.detach() for name, value in layer.named_parameters()}
    found = torch.func.grad(loss)(weights)
    expected = torch.autograd.grad(layer(x).square().mul(x.cos()).sum(), list(layer.parameters()))
    for (name, _), gradient in zip(layer.named_parameters(), expected, strict=True):
        assert_close(found[name], gradient)


# Counters of batches


def counters_of(model):
    return [layer.num_batches_tracked.item() for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]


@pytest.mark.parametrize("least", [0, 2**15])
def test_every_pass_in_training_is_counted_once_by_every_layer(least, monkeypatch):
    monkeypatch.setattr(normalization, "LEAST", least)
    model = models.build("wide_resnet", num_classes=2, depth=10, width=0.5).train()
    x = torch.rand(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    model(x)
    assert set(counters_of(model)) == {1}
    model.eval()(x)
    model.train()(x)
    assert set(counters_of(model)) == {2}
    # layers in evaluation mode see no batch
    model.bn.eval()
    model(x)
    assert model.bn.num_batches_tracked == 2
    assert sorted({*counters_of(model)}) == [2, 3]


def test_outside_of_a_network_a_layer_counts_by_itself():
    layer, x = BatchNorm(normalization.WIDE), images((2, normalization.WIDE, 2, 2), dtype=torch.float32)
    layer(x)
    assert layer.num_batches_tracked == 1
    with normalization.counted_together():
        layer(x)
        # one network inside another
        with normalization.counted_together():
            layer(x)
    assert layer.num_batches_tracked == 3
    with pytest.raises(ValueError, match="expected 4D"), normalization.counted_together():
        layer(x[0])
    layer(x)
    assert layer.num_batches_tracked == 4


def test_left_to_the_network_it_is_still_pytorch_s_layer():
    plain, ours = layers(normalization.WIDE)
    size = (2, normalization.WIDE, 2, 2)
    expected = outcome(plain, images(size))
    with normalization.counted_together():
        found = outcome(ours, images(size))
    assert all(map(torch.equal, [*found[:-1], ours.num_batches_tracked], expected))
    # without a momentum, running averages need the number of batches at once
    for layer in layers(normalization.WIDE):
        layer.momentum = None
        with normalization.counted_together():
            for seed in (0, 1):
                layer(images(size, seed))
        means = [images(size, seed).mean(dim=(0, 2, 3)) for seed in (0, 1)]
        assert_close(layer.running_mean, torch.stack(means).mean(dim=0))
