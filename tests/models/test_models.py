"""The networks: sizes, representations, normalisation, and comparison with a second implementation."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from lgg import models
from lgg.evaluation.size import count_operations, count_parameters
from lgg.models import base
from lgg.models.base import Convolution, _Prepared

NEUTRAL = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
SMALL = [
    ("wide_resnet", {"depth": 10, "width": 0.5}),
    ("wide_resnet", {"depth": 16, "width": 1}),
    ("preact_resnet18", {"base_width": 4}),
    ("preact_resnet18", {"base_width": 4, "parseval": True}),
]


def build(name, seed=0, num_classes=10, **options):
    """A network in float64 with batch normalisation that is not the identity."""
    torch.manual_seed(seed)
    model = models.build(name, num_classes=num_classes, **options).double().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.3, 0.3)
    return model


def images(size=3, side=16, seed=0):
    return torch.rand(size, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# Sizes


def test_networks_have_the_published_numbers_of_parameters():
    for name, options, expected in (
        ("wide_resnet", {"depth": 28, "width": 1}, 369_690),
        ("wide_resnet", {"depth": 28, "width": 0.5}, 94_154),
        ("preact_resnet18", {}, 11_171_146),
    ):
        model = models.build(name, num_classes=10, **options)
        assert sum(p.numel() for p in model.parameters()) == expected
        assert count_parameters(model) == expected
        assert all(p.requires_grad for p in model.parameters())


def test_student_has_the_published_share_of_operations_and_parameters():
    teacher, student = (models.build("wide_resnet", num_classes=10, depth=28, width=width) for width in (1, 0.5))
    # 27 % in Table 1
    assert round(100 * count_operations(student) / count_operations(teacher)) == 27
    assert round(100 * count_parameters(student) / count_parameters(teacher), 1) == 25.5


@pytest.mark.parametrize(("depth", "width"), [(10, 0.5), (16, 1), (22, 2), (10, 1.3)])
@pytest.mark.parametrize("classes", [10, 100])
def test_parameters_of_a_wide_network_follow_from_its_description(depth, width, classes):
    channels = [16, *(int(16 * width) * factor for factor in (1, 2, 4))]
    expected = 3 * 16 * 9 + 2 * 16 + channels[-1] * classes + classes
    for stage, (before, after) in enumerate(pairwise(channels)):
        expected += 9 * before * after + 9 * after * after + 4 * after
        expected += (depth - 10) // 6 * (18 * after * after + 4 * after)
        if stage > 0 or before != after:
            expected += before * after + 2 * after
    model = models.build("wide_resnet", num_classes=classes, depth=depth, width=width)
    assert sum(p.numel() for p in model.parameters()) == expected


# Representations


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_logits_are_the_same_with_and_without_representations(name, options):
    model, x = build(name, **options), images()
    logits, shown = model(x, return_representations=True)
    plain = model(x)
    assert isinstance(plain, torch.Tensor)
    assert plain.shape == (3, 10)
    assert torch.equal(plain, logits)
    assert isinstance(shown, list)


@pytest.mark.parametrize(("name", "options"), SMALL)
@pytest.mark.parametrize("training", [False, True])
def test_representations_are_named_and_the_outputs_of_relus(name, options, training):
    model = build(name, **options).train(training)
    _, shown = model(images(), return_representations=True)
    assert len(shown) == len(model.layers) == len(set(model.layers))
    for tensor in shown:
        assert (tensor >= 0).all()
        assert (tensor > 0).any()
        # an average over the image is rarely zero everywhere
        assert tensor.dim() == 2 or (tensor == 0).any()


@pytest.mark.parametrize(("width", "base"), [(0.5, 8), (1, 16), (1.3, 20)])
def test_wide_network_shows_two_stages_and_the_pooled_vector(width, base):
    model = build("wide_resnet", depth=10, width=width)
    assert model.layers == ("stage1", "stage2", "pool")
    _, shown = model(images(2, 32), return_representations=True)
    assert [tuple(tensor.shape) for tensor in shown] == [(2, base, 32, 32), (2, 2 * base, 16, 16), (2, 4 * base)]


def test_preact_network_shows_the_outputs_of_all_seventeen_relus():
    model = build("preact_resnet18", base_width=4)
    assert model.layers == (
        *(f"block{block}.relu{relu}" for block in (1, 2, 3, 4, 5, 6, 7, 8) for relu in (1, 2)),
        "final.relu",
    )
    _, shown = model(images(2, 32), return_representations=True)
    # (channels, side) of the two ReLUs of each block: the first has the shape of the input, the second that of the block
    expected = [(4, 32), (4, 32), (4, 32), (4, 32)]
    for channels, side in ((8, 16), (16, 8), (32, 4)):
        expected += [(channels // 2, side * 2), (channels, side), (channels, side), (channels, side)]
    expected.append((32, 4))
    assert [tuple(tensor.shape) for tensor in shown] == [(2, c, side, side) for c, side in expected]


def test_gradients_of_the_logits_pass_through_every_representation():
    for name, options in SMALL:
        model = build(name, **options)
        logits, shown = model(images(), return_representations=True)
        gradients = torch.autograd.grad(logits.square().sum(), shown)
        assert all((gradient != 0).any() for gradient in gradients)


# Architecture


def normalised(x, bn):
    shape = (1, -1, 1, 1)
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    return x * scale.view(shape) + (bn.bias - bn.running_mean * scale).view(shape)


def test_wide_network_matches_its_description():
    model = build("wide_resnet", depth=16, width=0.5, **NEUTRAL)
    x = images()
    h = F.relu(normalised(F.conv2d(x, model.conv.weight, padding=1), model.bn))
    shown = []
    for stage, stride in ((model.stage1, 1), (model.stage2, 2), (model.stage3, 2)):
        assert len(stage) == 2
        for number, block in enumerate(stage):
            step = stride if number == 0 else 1
            inner = F.relu(normalised(F.conv2d(h, block.conv1.weight, stride=step, padding=1), block.bn1))
            inner = normalised(F.conv2d(inner, block.conv2.weight, padding=1), block.bn2)
            if number == 0:
                convolution, bn = block.shortcut
                h = normalised(F.conv2d(h, convolution.weight, stride=step), bn)
            h = F.relu(inner + h)
        shown.append(h)
    shown[2] = h.mean(dim=(2, 3))
    logits, representations = model(x, return_representations=True)
    for actual, expected in zip(representations, shown, strict=True):
        torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(logits, F.linear(shown[2], model.classifier.weight, model.classifier.bias))


@pytest.mark.parametrize("parseval", [False, True])
@pytest.mark.parametrize("bottleneck", [None, 2])
def test_preact_network_matches_its_description(parseval, bottleneck):
    model = build("preact_resnet18", base_width=4, parseval=parseval, bottleneck=bottleneck, **NEUTRAL)
    x = images()
    # weights of 3 × 3 and 1 × 1 filters are divided by √19 and √3
    by_size = {3: 1 / math.sqrt(2 * 3 * 3 + 1), 1: 1 / math.sqrt(2 * 1 * 1 + 1)} if parseval else {3: 1.0, 1: 1.0}
    part = 0.5 if parseval else 1.0
    h = F.conv2d(x, model.conv.weight, padding=1) * by_size[3]
    shown = []
    assert len(model.blocks) == 8
    for number, block in enumerate(model.blocks):
        first = F.relu(normalised(h, block.bn1))
        stride = 2 if number in (2, 4, 6) else 1
        inner = F.conv2d(first, block.conv1.weight, stride=stride, padding=1) * by_size[3]
        second = F.relu(normalised(inner, block.bn2))
        if stride == 2:
            h = F.conv2d(first, block.shortcut.weight, stride=2) * by_size[1]
        h = part * F.conv2d(second, block.conv2.weight, padding=1) * by_size[3] + part * h
        shown += [first, second]
    shown.append(F.relu(h))
    penultimate = shown[-1].mean(dim=(2, 3))
    if bottleneck:
        penultimate = F.linear(penultimate, model.bottleneck.weight, model.bottleneck.bias)
        shown.append(penultimate)
    logits, representations = model(x, return_representations=True)
    for actual, expected in zip(representations, shown, strict=True):
        torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(logits, F.linear(penultimate, model.classifier.weight, model.classifier.bias))


def test_weights_of_the_preact_network_are_drawn_alike_for_all_options():
    torch.manual_seed(0)
    expected = [torch.nn.Conv2d(3, 4, 3, bias=False).weight]
    for number, (before, width) in enumerate(pairwise((4, 4, 4, 8, 8, 16, 16, 32, 32))):
        expected += [torch.nn.Conv2d(before, width, 3, bias=False).weight]
        expected += [torch.nn.Conv2d(width, width, 3, bias=False).weight]
        if number in (2, 4, 6):
            expected += [torch.nn.Conv2d(before, width, 1, bias=False).weight]
    state = torch.get_rng_state()
    for options, linear in (({}, (32, 10)), ({"parseval": True}, (32, 10)), ({"bottleneck": 2}, (32, 2))):
        torch.set_rng_state(state)
        last = torch.nn.Linear(*linear)
        torch.manual_seed(0)
        model = models.build("preact_resnet18", num_classes=10, base_width=4, **options)
        drawn = [p for name, p in model.named_parameters() if p.dim() > 1][: len(expected) + 1]
        for one, other in zip(drawn, [*expected, last.weight], strict=True):
            assert torch.equal(one, other)


def test_options_of_the_preact_network_add_no_parameters():
    plain, parseval, narrow = (
        models.build("preact_resnet18", num_classes=10, base_width=4, **options)
        for options in ({}, {"parseval": True}, {"bottleneck": 2})
    )
    assert plain.state_dict().keys() == parseval.state_dict().keys()
    assert narrow.state_dict().keys() - plain.state_dict().keys() == {"bottleneck.weight", "bottleneck.bias"}
    assert count_parameters(plain) == count_parameters(parseval)
    # 32 pooled values to 2 units to 10 classes, with biases, instead of 32 to 10
    assert count_parameters(narrow) - count_parameters(plain) == (32 * 2 + 2 + 2 * 10 + 10) - (32 * 10 + 10)
    assert count_operations(plain) == count_operations(parseval)
    assert count_operations(narrow) - count_operations(plain) == (32 * 2 + 2 * 10) - 32 * 10


@pytest.mark.parametrize(("name", "options"), [SMALL[0], SMALL[2]])
def test_bottleneck_is_the_last_representation_of_its_network_only(name, options):
    plain, narrow = build(name, **options), build(name, bottleneck=3, **options)
    assert narrow.layers == (*plain.layers, "bottleneck")
    assert build(name, **options).layers == plain.layers
    logits, shown = narrow(images(5), return_representations=True)
    assert shown[-1].shape == (5, 3)
    torch.testing.assert_close(logits, F.linear(shown[-1], narrow.classifier.weight, narrow.classifier.bias))
    with pytest.raises(ValueError, match="at least 1, not 0"):
        build(name, bottleneck=0, **options)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1)])
def test_scaled_convolution_with_orthonormal_rows_increases_no_distance(size, stride):
    torch.manual_seed(0)
    layer = Convolution(4, 3, size, stride, scaled=True).double()
    torch.nn.init.orthogonal_(layer.weight)
    x, y = torch.randn(2, 50, 4, 8, 8, dtype=torch.float64)
    ratio = (layer(x) - layer(y)).flatten(1).norm(dim=1) / (x - y).flatten(1).norm(dim=1)
    assert ratio.max() <= size / math.sqrt(2 * size**2 + 1)
    plain = Convolution(4, 3, size, stride).double()
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(plain(x), layer(x) * math.sqrt(2 * size**2 + 1))


def test_scaled_convolution_keeps_channels_last_and_passes_the_gradient_to_the_stored_weight():
    layer = Convolution(4, 3, 3, scaled=True).to(memory_format=torch.channels_last)
    out = layer(torch.rand(2, 4, 8, 8).to(memory_format=torch.channels_last))
    assert out.is_contiguous(memory_format=torch.channels_last)
    out.sum().backward()
    assert layer.weight.grad.count_nonzero() == layer.weight.numel()


@pytest.mark.parametrize(("name", "options"), SMALL)
@pytest.mark.parametrize("half", [False, True])
def test_weights_prepared_at_once_give_the_bits_of_those_prepared_by_each_convolution(name, options, half, monkeypatch):
    """In half precision, those of autocast."""
    model, x, outcomes = build(name, **options).float().train(), images(2).float(), []
    for _ in range(2):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = model(x)
        logits.float().square().sum().backward()
        outcomes.append([logits, *(parameter.grad for parameter in model.parameters())])
        monkeypatch.setattr(base, "transformed", lambda: True)
    assert all(map(torch.equal, *outcomes))
    assert outcomes[0][1].dtype == torch.float32


def test_weights_are_prepared_for_one_pass_of_their_network():
    model, x = build("preact_resnet18", base_width=1, parseval=True).float(), images(2, 8).float()
    prepared = []
    model.blocks[0].conv1.register_forward_hook(lambda layer, _, __: prepared.append(layer.prepared))
    model.blocks[7].conv2.register_forward_hook(lambda _, __, out: out.flatten()[:0].view(2, 3))
    with pytest.raises(RuntimeError):  # in the middle of the pass
        model(x)
    torch.testing.assert_close(prepared[0], model.blocks[0].conv1.weight / math.sqrt(19))
    assert all(layer.prepared is None for layer in model.modules() if isinstance(layer, Convolution))


def test_a_convolution_that_is_not_used_or_not_trained_has_no_gradient():
    model = build("preact_resnet18", base_width=1, parseval=True).float()
    model.unused = Convolution(3, 2, 3, scaled=True)
    model.conv.weight.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        model(images(2, 8).float()).sum().backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is None} == {
        "unused.weight",
        "conv.weight",
    }


def test_prepared_weights_can_be_differentiated_repeatedly():
    pair = [weight.double().requires_grad_() for weight in torch.randn(2, 3)]
    for factors in (None, [2.0, 3.0]):
        assert torch.autograd.gradgradcheck(
            lambda *two, factors=factors: sum(
                one.pow(3).sum() for one in _Prepared.apply(factors, torch.float64, *two)
            ),
            pair,
        )


def test_weights_are_drawn_from_the_generator_of_torch():
    one, same, other = (build("wide_resnet", seed=seed, depth=10, width=1) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.conv.weight, other.conv.weight)


# Normalisation


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_images_are_normalised_inside(name, options):
    mean, std = (0.5, 0.25, 0.125), (0.25, 0.5, 2.0)
    inside, outside = build(name, mean=mean, std=std, **options), build(name, **NEUTRAL, **options)
    x = images()
    by_hand = torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    torch.testing.assert_close(inside(x), outside(by_hand))
    assert not torch.allclose(inside(x), outside(x))


def test_default_constants_are_those_of_cifar10():
    by_default = build("wide_resnet", depth=10, width=0.5)
    stated = build("wide_resnet", depth=10, width=0.5, mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))
    x = images()
    assert torch.equal(by_default(x), stated(x))


@pytest.mark.parametrize(("name", "options"), SMALL)
def test_constants_are_saved_with_the_weights_and_not_trained(name, options):
    model = build(name, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), **options)
    copy = build(name, seed=1, **NEUTRAL, **options)
    assert not torch.equal(copy(images()), model(images()))
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy(images()), model(images()))
    assert {"mean", "std"}.isdisjoint(name for name, _ in model.named_parameters())


# Errors


def test_unknown_network_is_refused():
    with pytest.raises(
        ValueError, match="no network 'resnet50'; there are file, preact_resnet18, timm, torchvision, wide_resnet"
    ):
        models.build("resnet50", num_classes=10)
    with pytest.raises(KeyError):
        models.module_of("resnet50")


@pytest.mark.parametrize("depth", [4, 5, 9, 11, 27, 0, -2])
def test_depth_that_is_not_six_n_plus_four_is_refused(depth):
    with pytest.raises(ValueError, match=rf"depth must be 6n \+ 4 with n at least 1 .*, not {depth}$"):
        models.build("wide_resnet", num_classes=10, depth=depth, width=1)


@pytest.mark.parametrize("width", [0, 0.06, -1])
def test_width_without_channels_is_refused(width):
    with pytest.raises(ValueError, match=f"with width {width} the first stage has no channels"):
        models.build("wide_resnet", num_classes=10, depth=10, width=width)
    smallest = models.build("wide_resnet", num_classes=10, depth=10, width=1 / 16)
    assert smallest.classifier.in_features == 4


@pytest.mark.parametrize("base_width", [0, -4])
def test_base_width_without_a_channel_is_refused(base_width):
    with pytest.raises(ValueError, match=f"at least 1, not {base_width}"):
        models.build("preact_resnet18", num_classes=10, base_width=base_width)


@pytest.mark.parametrize("bottleneck", [0, -4])
def test_bottleneck_without_units_is_refused(bottleneck):
    with pytest.raises(ValueError, match=f"bottleneck, .* must be at least 1, not {bottleneck}"):
        models.build("preact_resnet18", num_classes=10, bottleneck=bottleneck)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("wide_resnet", {"depth": 10, "width": 1, "base_width": 64}, "'wide_resnet' does not accept these.*base_width"),
        ("wide_resnet", {"depth": 10}, "'wide_resnet' does not accept these options.*width"),
        ("preact_resnet18", {"depth": 18}, "'preact_resnet18' does not accept these options.*depth"),
    ],
)
def test_unknown_and_missing_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, num_classes=10, **options)


def test_operations_of_a_convolution_and_a_linear_layer_are_counted():
    model = models.build("wide_resnet", num_classes=7, depth=10, width=1)
    side, channels = 8, (16, 16, 32, 64)
    expected = 3 * 16 * 9 * side**2 + 64 * 7
    for stage, (before, after) in enumerate(pairwise(channels)):
        pixels = math.prod(2 * [side // 2**stage])
        expected += pixels * (9 * before * after + 9 * after * after + (before * after if stage else 0))
    assert count_operations(model, side) == expected
