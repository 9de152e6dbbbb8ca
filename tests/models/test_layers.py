"""Layers found by one pass: which run, through which everything passes, which have negative values, and which are chosen."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lgg
from lgg.errors import NetworkError
from lgg.models.layers import (
    Place,
    block_paths,
    choose,
    classifier_of,
    collected,
    relus,
    shadow,
    stages,
    trace,
)

SIDE = 8


class Residual(nn.Module):
    """A block whose ReLU runs twice, in place, and overwrites the outputs of normalisation."""

    def __init__(self, width, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(width, width, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.conv2(y)
        y += self.shortcut(x)
        return self.relu(y)


class Dense(nn.Module):
    """A block whose input is part of its output."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Conv2d(width, width, 3, 1, 1)
        self.other = nn.Conv2d(2 * width, width, 1)

    def forward(self, x):
        return self.other(torch.cat([x, F.relu(self.inner(x))], dim=1))


class Excitation(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.down = nn.Conv2d(width, 2, 1)
        self.act = nn.ReLU()
        self.up = nn.Conv2d(2, width, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(self.act(self.down(x.mean((2, 3), keepdim=True)))))


class Example(nn.Module):
    """Stages of residual, dense and excited blocks, with a pooled vector that no module returns."""

    def __init__(self, width=4, classes=3):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 1, 1)
        self.stage1 = nn.Sequential(Residual(width), Residual(width))
        self.stage2 = nn.Sequential(Residual(width, 2), Dense(width))
        self.stage3 = nn.Sequential(Residual(width, 2), Excitation(width))
        self.dropout = nn.Dropout(0.5)
        self.unused = nn.Linear(1, 1)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        return self.head(self.dropout(x.mean((2, 3))))


class Tokens(nn.Module):
    """A transformer of eight layers on patches."""

    def __init__(self, width=8):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 2, 2)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(width, 2, 16, 0.0, batch_first=True) for _ in range(8))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 0])


def plain():
    features = [nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(inplace=True)]
    return nn.Sequential(*features, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3))


def vectors():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3 * SIDE**2, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)
    )


NETWORKS = {"example": Example, "tokens": Tokens, "plain": plain, "vectors": vectors}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(1)
    return NETWORKS[request.param]().eval()


def images(size=2, seed=0):
    return torch.randn(size, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


# What a trace lists


def test_layers_are_listed_in_the_order_in_which_they_finish():
    model = Example()
    finished = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: finished.append(name))
        for name, module in model.named_modules()
        if name
    ]
    model.eval()(images())
    for hook in hooks:
        hook.remove()
    traced = trace(model, SIDE)
    paths = [one.place.path for one in traced if not one.place.is_input]
    assert paths == finished
    names = [one.name for one in traced]
    assert len(set(names)) == len(names)
    assert {"stage1.0.relu#1", "stage1.0.relu#2", "stage2.1", "pooled"} <= {*names}
    assert not {"stage1.0.relu", "unused"} & {*names}
    assert names.index("pooled") + 1 == names.index("dropout")


def test_shapes_and_overwritten_outputs_are_those_of_a_pass(network):
    with lgg.tap(network, [one.name for one in trace(network, SIDE) if not one.place.is_input]) as tapped:
        network(images())
        for place, one in enumerate(one for one in trace(network, SIDE) if not one.place.is_input):
            try:
                assert tapped[place].shape == (2, *one.shape)
                lost = False
            except RuntimeError as error:
                assert "overwritten" in str(error)
                lost = True
            assert one.overwritten == lost


def test_a_trace_changes_nothing():
    model = Example()
    model.train()
    model.stage1.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    trace(model, SIDE)
    assert torch.equal(torch.rand(2), expected)
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_trace_that_fails_leaves_no_hooks():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Linear(5, 2))
    with pytest.raises(RuntimeError):
        trace(model, SIDE)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert model.training


def test_a_shadow_has_the_layers_of_its_network_and_no_weights(network):
    copy = shadow(network)
    assert all(tensor.is_meta for tensor in (*copy.parameters(), *copy.buffers()))
    assert not any(tensor.is_meta for tensor in network.parameters())
    ours, theirs = trace(network, SIDE), trace(copy, SIDE)
    assert [(one.name, one.shape, one.joint, one.overwritten) for one in ours] == [
        (one.name, one.shape, one.joint, one.overwritten) for one in theirs
    ]
    # without values a sign that the functions leave open counts as negative
    assert all(shown.negative <= inferred.negative for shown, inferred in zip(ours, theirs, strict=True))


# Definitions


@pytest.mark.parametrize("name", ["example", "plain", "vectors"])
def test_a_joint_layer_is_one_whose_constant_output_makes_the_logits_constant(name):
    torch.manual_seed(2)
    model = (Example(width=16) if name == "example" else NETWORKS[name]()).double().eval()
    x = images(4).double()
    for one in trace(model, SIDE):
        if one.place.is_input:
            continue
        runs = 0

        def fix(module, _, output, one=one):
            nonlocal runs
            runs += 1
            return torch.full_like(output, 0.7) if one.place.run in (0, runs) else output

        hook = model.get_submodule(one.place.path).register_forward_hook(fix)
        logits = model(x)
        hook.remove()
        is_constant = bool(((logits - logits[0]).abs() < 1e-12).all())
        assert one.joint == is_constant, one.name


def test_a_layer_without_negative_values_has_none_whatever_the_weights_and_images(network):
    positive = [one for one in trace(shadow(network), SIDE) if not (one.negative or one.overwritten)]
    assert positive
    for seed in range(3):
        torch.manual_seed(seed)
        for parameter in network.parameters():
            parameter.data.normal_()
        with collected(network, [one.place for one in positive]) as taken:
            network(5 * images(4, seed))
            shown = taken([one.name for one in positive])
        for one, tensor in zip(positive, shown, strict=True):
            assert (tensor >= 0).all(), one.name


def test_signs_are_inferred_through_functions_that_keep_them():
    class Functions(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            for name in ("positive", "shifted", "negative", "clamped", "scaled"):
                setattr(self, name, nn.Identity())
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            x = F.relu(self.conv(x))
            x = self.positive(F.max_pool2d(torch.cat([x, 0.5 * x], 1), 2).flatten(2).mean(-1))
            x = self.shifted(x - 1)
            x = self.negative(F.gelu(x))
            x = self.clamped(x.clamp(min=0))
            return self.scaled(self.scale * x.clamp(min=1e-6))

    traced = trace(shadow(Functions()), SIDE)
    assert [one.name for one in relus(traced)] == ["clamped"]  # no module returns the first one's output
    found = {one.name: one.negative for one in traced}
    expected = {"positive": False, "shifted": True, "negative": True, "clamped": False, "scaled": True}
    assert {name: found[name] for name in expected} == expected


# Layers chosen by rule


def test_stages_end_where_the_size_changes():
    found = [one.name for one in stages(trace(Example(), SIDE))]
    assert found == ["stage1", "stage2", "stage3.0", "pooled"]


def test_stages_of_networks_without_blocks_end_with_the_last_layer_at_each_size():
    assert [one.name for one in stages(trace(plain(), SIDE))] == ["1", "4", "pooled"]
    assert [one.name for one in stages(trace(vectors(), SIDE))] == ["2", "4"]


def test_stages_of_a_transformer_are_quarters_of_its_blocks():
    found = [one.name for one in stages(trace(Tokens(), SIDE))]
    assert found == ["layers.1", "layers.3", "layers.5", "layers.7", "pooled"]


def test_no_stages_are_found_in_a_single_layer():
    with pytest.raises(NetworkError, match=r"list its layers by name; there are 0, 1"):
        stages(trace(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 2)), SIDE))


def test_relus_are_all_outputs_of_relus_but_those_of_excitation():
    model = Example().eval()
    names = [one.name for one in relus(trace(model, SIDE))]
    blocks = ("stage1.0", "stage1.1", "stage2.0", "stage3.0")
    assert names == [f"{block}.relu#{run}" for block in blocks for run in (1, 2)]
    with lgg.tap(model, names) as tapped:
        model(images())
        assert all((shown >= 0).all() and (shown == 0).any() for shown in tapped)
    with pytest.raises(NetworkError, match=r"no ReLU .* use \"stages\", or list names: there are conv"):
        relus(trace(Gelu(), SIDE))


class Gelu(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        return F.gelu(self.conv(x)).mean((2, 3))


def test_blocks_are_the_innermost_modules_of_several_layers_that_all_passes_through():
    assert block_paths(trace(Example(), SIDE)) == ["stage1.0", "stage1.1", "stage2.0", "stage2.1", "stage3.0"]
    assert block_paths(trace(Tokens(), SIDE)) == [f"layers.{place}" for place in range(8)]
    assert block_paths(trace(plain(), SIDE)) == ["1", "4"]


def test_the_classifier_is_the_last_layer_with_as_many_outputs_as_classes():
    assert classifier_of(trace(Example(), SIDE), 3) == "head"
    assert classifier_of(trace(plain(), SIDE), 3) == "9"
    assert classifier_of(trace(Example(), SIDE), 4) is None


# Layers chosen by name


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (["stage2", "stage1"], ["stage1", "stage2"]),
        (["stage1.*.relu"], ["stage1.0.relu#2", "stage1.1.relu#2"]),
        (["stage1.*.relu#*"], ["stage1.0.relu#1", "stage1.0.relu#2", "stage1.1.relu#1", "stage1.1.relu#2"]),
        (["stage1.0.relu#1", "stage1.0.relu"], ["stage1.0.relu#1", "stage1.0.relu"]),
        (["stage?", "stage1", "pooled"], ["stage1", "stage2", "stage3", "pooled"]),
        (["stage1.0.*"], ["stage1.0.conv1", "stage1.0.shortcut", "stage1.0.relu#2"]),
    ],
)
def test_names_and_patterns_choose_layers_in_the_order_of_the_pass(wanted, names):
    assert [one.name for one in choose(trace(Example(), SIDE), wanted)] == names


def test_layers_that_cannot_be_chosen_are_refused_with_what_there_is():
    traced = trace(Example(), SIDE)
    for wanted, message in (
        (["stage4"], r"no layer 'stage4'.*closest names are stage.*there are stem, stage1\.0\.conv1"),
        (["unused"], "no layer 'unused' that returns a tensor"),
        (["stage1.0.relu#3"], "no layer 'stage1.0.relu#3'"),
        (["none.*"], r"no layer 'none\.\*'"),
        (["stage1.0.bn1"], "'stage1.0.bn1' is overwritten by the layer after it"),
        (["stage*.bn?"], "is overwritten"),
        ([], "layers is empty"),
        ("stage1", 'must be "stages", "relus" or a list of names'),
    ):
        with pytest.raises(NetworkError, match=message):
            choose(traced, wanted)


def test_a_long_list_of_layers_is_cut():
    deep = nn.Sequential(nn.Conv2d(3, 2, 1), *(nn.Conv2d(2, 2, 1) for _ in range(99)))
    with pytest.raises(NetworkError, match=r"58, 59 and 40 others$"):
        choose(trace(shadow(deep), SIDE), ["absent"])


# Collecting


def test_what_is_collected_is_what_a_tap_collects(network):
    kept = [one for one in trace(network, SIDE) if not (one.overwritten or one.place.is_input)]
    names = [one.name for one in kept]
    x = images()
    with lgg.tap(network, names) as tapped, collected(network, [one.place for one in kept]) as taken:
        network(x)
        for expected, found in zip(tapped, taken(names), strict=True):
            assert found is expected
    assert not any(module._forward_hooks for module in network.modules())


def test_the_pooled_vector_is_what_the_next_module_is_given():
    model = Example().eval()
    (pooled,) = [one for one in trace(model, SIDE) if one.name == "pooled"]
    with lgg.tap(model, ["stage3"]) as tapped, collected(model, [pooled.place]) as taken:
        model.train()(images())
        (found,) = taken(["pooled"])
        torch.testing.assert_close(found, tapped[0].mean((2, 3)))  # before dropout


def test_what_is_missing_or_overwritten_is_refused_when_it_is_read():
    model = Example()
    with collected(model, [Place("unused"), Place("stage1.0.bn1"), Place("stem")]) as taken:
        model(images())
        with pytest.raises(RuntimeError, match="'spare' did not run"):
            taken(["spare", "bn", "stem"])
    with collected(model, [Place("stage1.0.bn1")]) as taken:
        model(images())
        with pytest.raises(RuntimeError, match="'bn' is overwritten"):
            taken(["bn"])
