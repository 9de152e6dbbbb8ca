import copy
import gc
import io
import pickle
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import lgg
from lgg.losses import GraphDistillation, LabelVariationRegularizer


class Branches(nn.Module):
    """One layer runs twice, one only on demand, and one returns a pair."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = nn.ReLU()
        self.rare = nn.Linear(4, 4)
        self.pair = nn.LSTM(4, 4)

    def forward(self, x, rare=False):
        x = self.again(self.again(self.first(x)) - 1.0)
        return self.rare(x) if rare else x


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Sequential(nn.Linear(5, 4), nn.ReLU()), nn.Linear(4, 2))


NAMES = [name for name, _ in network().named_modules()]
X, LABELS = torch.linspace(-1, 1, 24).reshape(8, 3), torch.arange(8) % 2


def by_hand(model, x):
    """Return the output of each module of a sequential network by name."""
    outputs = {}
    for name, module in model.named_children():
        outputs |= {f"{name}.{inner}": value for inner, value in by_hand(module, x).items()}
        x = outputs[name] = module(x)
    return outputs


@given(st.lists(st.sampled_from(NAMES[1:]), min_size=1))
def test_it_contains_the_outputs_of_the_named_layers_in_order(layers):
    model = network()
    expected = by_hand(model, X)
    with lgg.tap(model, layers) as representations:
        model(X)
        assert len(representations) == len(layers)
        for name, found in zip(layers, representations, strict=True):
            assert torch.equal(found, expected[name])
        assert all(a is b for a, b in zip(representations[:], representations, strict=True))


@pytest.mark.parametrize(
    "options", [("preact_resnet18", {"base_width": 4}), ("wide_resnet", {"depth": 10, "width": 0.5})]
)
def test_it_agrees_with_the_representations_of_our_networks(options):
    name, sizes = options
    model = lgg.models.build(name, num_classes=3, **sizes).eval()
    images = torch.rand(4, 3, 16, 16)
    modules = dict(model.named_modules())
    layers = [layer for layer in model.layers if layer in modules]
    with lgg.tap(model, layers) as representations:
        _, ours = model(images, return_representations=True)
        for layer, found in zip(layers, representations, strict=True):
            assert torch.equal(found, ours[model.layers.index(layer)])


def test_closing_removes_all_hooks():
    model = network()
    before, state = model(X), copy.deepcopy(model.state_dict())
    tap = lgg.tap(model, NAMES[1:])
    assert torch.equal(model(X), before)
    tap.close()
    assert type(model) is nn.Sequential
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_gradients_flow_through_what_is_collected():
    model = network()
    with lgg.tap(model, ["1", "2.1"]) as representations:
        model(X)
        LabelVariationRegularizer()(representations, LABELS).backward()
    assert model[0].weight.grad.abs().sum() > 0
    assert model[3].weight.grad is None  # after the last layer


def test_a_new_pass_replaces_the_last_and_closing_releases_it():
    model = network()
    with lgg.tap(model, ["1"]) as representations:
        model(X)
        first = weakref.ref(representations[0])
        model(X[:3])
        assert len(representations[0]) == 3
        second = weakref.ref(representations[0])
    gc.collect()
    assert first() is None and second() is None


def test_taps_do_not_disturb_each_other_and_end_with_an_error_too():
    model = network()
    with lgg.tap(model, ["1"]) as outer:
        with pytest.raises(ZeroDivisionError), lgg.tap(model, ["0"]) as inner:
            model(X)
            assert torch.equal(inner[0].relu(), outer[0])
            raise ZeroDivisionError
        model(X)
        assert outer[0].shape == (8, 5)
        assert sum(len(module._forward_hooks) for module in model.modules()) == 1


def test_an_overwritten_output_is_refused():
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Linear(5, 2))
    with lgg.tap(model, ["0", "1"]) as representations:
        model(X)
        assert representations[1].min() == 0
        with pytest.raises(RuntimeError, match="layer '0' was overwritten"):
            representations[0]
        with torch.inference_mode():  # in which PyTorch does not count modifications
            model(X)
            assert len(list(representations)) == 2


def test_a_copy_is_independent_of_the_tap():
    model = network()
    with lgg.tap(model, ["0"]) as representations:
        model(X)
        first = representations[0]
        copied = copy.deepcopy(model)  # such as a moving average of the weights
        copied(X * 2)
        assert representations[0] is first
        model(X * 3)
        assert torch.equal(representations[0], model[0](X * 3))


@pytest.mark.parametrize("made", [copy.deepcopy, lambda model: model])
def test_a_tapped_network_and_its_copies_can_be_written_and_read(made):
    model = network()
    expected = model(X * 2)
    with lgg.tap(model, ["1", "2.0"]) as representations:
        model(X)
        first = representations[0]
        file = io.BytesIO()
        torch.save(made(model), file)
        file.seek(0)
        read = torch.load(file, weights_only=False)
        again = pickle.loads(pickle.dumps(copy.deepcopy(made(model))))
        for other in (read, again):
            assert torch.equal(other(X * 2), expected)
            assert len(other._forward_pre_hooks) == 1
        assert representations[0] is first
    assert read(X).shape == (8, 2)
    # a copy can be tapped itself
    with lgg.tap(read, ["1"]) as representations:
        read(X)
        assert torch.equal(representations[0], first)


@pytest.fixture
def group():
    """A process group of this process only."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


class Sharded(nn.Module):
    """Wraps a network under the name used by FSDP, which needs a GPU."""

    def __init__(self, model):
        super().__init__()
        self._fsdp_wrapped_module = model

    def forward(self, x):
        return self._fsdp_wrapped_module(x)


def partly_sharded(model):
    return Sharded(nn.Sequential(model[0], model[1], Sharded(model[2]), model[3]))


def checkpointed(model):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    return nn.Sequential(model[0], model[1], checkpoint_wrapper(model[2]), model[3])


def partly_compiled(model):
    return nn.Sequential(model[0], model[1], torch.compile(model[2], backend="eager"), model[3])


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize(
    ("wrap", "names"),
    [
        (nn.parallel.DistributedDataParallel, ["module.1", "module.2.0"]),
        (lambda model: torch.compile(model, backend="eager"), ["_orig_mod.1", "_orig_mod.2.0"]),
        (
            lambda model: torch.compile(nn.parallel.DistributedDataParallel(model), backend="eager"),
            ["_orig_mod.module.1", "_orig_mod.module.2.0"],
        ),
        (partly_compiled, ["1", "2._orig_mod.0"]),
        (checkpointed, ["1", "2._checkpoint_wrapped_module.0"]),
        (partly_sharded, ["_fsdp_wrapped_module.1", "_fsdp_wrapped_module.2._fsdp_wrapped_module.0"]),
    ],
)
def test_layers_of_wrapped_networks_have_the_names_of_the_network_and_of_the_wrapper(wrap, names):
    torch.compiler.reset()
    model = network()
    expected = by_hand(model, X)
    wrapped = wrap(model)
    for layers in (names, ["1", "2.0"]):
        with lgg.tap(wrapped, layers) as representations:
            wrapped(X)
            assert torch.equal(representations[0], expected["1"])
            assert torch.equal(representations[1], expected["2.0"])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in wrapped.modules())
    with pytest.raises(ValueError, match=r"no layer 'module\.9'"):
        lgg.tap(wrapped, ["module.9"])
    torch.compiler.reset()


def test_a_module_named_like_a_wrapper_keeps_its_name():
    model = nn.ModuleDict({"module": nn.Sequential(nn.Linear(3, 5), nn.ReLU())})
    with lgg.tap(model["module"], ["1"]) as inner, lgg.tap(model, ["module.1"]) as outer:
        out = model["module"](X)
        assert inner[0] is out
        assert len(outer._found) == 1
    with pytest.raises(ValueError, match=r"no layer 'module\.0'"):
        lgg.tap(model["module"], ["module.0"])


def test_nested_outputs_are_refused_with_what_to_do():
    """An encoder in evaluation mode packs sequences of different lengths."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=True).eval()
    padding = torch.arange(5) >= torch.tensor([[5], [3], [2]])
    x = torch.rand(3, 5, 8)
    with torch.no_grad(), lgg.tap(encoder, ["layers.0"]), pytest.raises(TypeError, match="enable_nested_tensor=False"):
        encoder(x, src_key_padding_mask=padding)
    dense = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    with torch.no_grad(), lgg.tap(dense, ["layers.0"]) as representations:
        dense(x, src_key_padding_mask=padding)
        assert representations[0].shape == (3, 5, 8)


def test_a_signed_layer_is_named():
    model = network()
    with lgg.tap(model, ["1", "2.0"]) as representations:
        model(X)
        with pytest.raises(ValueError, match=r"layer '2\.0' has negative values"):
            LabelVariationRegularizer()(representations, LABELS)
        with pytest.raises(ValueError, match=r"layer '2\.0' of the student has negative values"):
            GraphDistillation()(representations, representations, LABELS)


def test_a_layer_that_runs_twice_has_its_last_output():
    model = Branches()
    with lgg.tap(model, ["again"]) as representations:
        output = model(torch.rand(2, 4))
        assert representations[0] is output


def test_a_run_of_a_layer_is_chosen_by_its_number():
    model = Branches()
    with lgg.tap(model, ["again#1", "again#2", "again"]) as representations:
        x = torch.rand(2, 4)
        output = model(x)
        first, second, last = representations
        assert torch.equal(first, model.again(model.first(x)))
        assert second is output
        assert last is output
    with lgg.tap(model, ["again#3"]) as representations:
        model(x)
        with pytest.raises(RuntimeError, match="'again#3' does not exist: the module ran 2 times"):
            representations[0]
    for name in ("again#0", "again#", "again#last", "never#1"):
        with pytest.raises(ValueError, match=f"no layer '{name}'"):
            lgg.tap(model, [name])


def test_a_layer_that_did_not_run_is_named():
    model = Branches()
    with lgg.tap(model, ["first", "rare"]) as representations:
        with pytest.raises(RuntimeError, match="has not run yet"):
            representations[0]
        model(torch.rand(2, 4), rare=True)
        assert len(list(representations)) == 2
        model(torch.rand(2, 4))
        with pytest.raises(RuntimeError, match="'rare' did not run in the last forward pass"):
            list(representations)
    with pytest.raises(RuntimeError, match="closed"):
        representations[0]


def test_a_layer_that_returns_no_tensor_is_named():
    model = nn.Sequential(nn.LSTM(4, 4))
    with lgg.tap(model, ["0"]), pytest.raises(TypeError, match="'0' returns a tuple"):
        model(torch.rand(2, 4))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["2.2"], r"no layer '2.2'; the closest names are 2.*named_modules"),
        ("21", "put '21' in a list"),
        (["layer9"], "no layer"),
    ],
)
def test_unknown_names_are_refused_with_the_closest_ones(layers, message):
    with pytest.raises(ValueError, match=message):
        lgg.tap(network(), layers)


def test_data_parallel_is_refused():
    with pytest.raises(ValueError, match="DistributedDataParallel"):
        lgg.tap(nn.DataParallel(network()), ["0"])


def test_under_autocast_representations_have_its_precision_and_losses_are_computed_in_float32():
    student, teacher = network(), network()
    with lgg.tap(student, ["0", "2.0"]) as ours, lgg.tap(teacher, ["0", "2.0"]) as theirs:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            student(X)
            with torch.no_grad():
                teacher(X * 2 + 1)
            assert ours[0].dtype == torch.bfloat16
            loss = GraphDistillation(similarity="rbf")(ours, theirs, LABELS)
        assert loss.dtype == torch.float32
        loss.backward()
    assert student[0].weight.grad is not None


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.system)])
@pytest.mark.parametrize("tapped", ["before compiling", "as compiled"])
def test_what_a_compiled_network_computes_is_collected(backend, tapped):
    torch.compiler.reset()
    model = network()
    expected = by_hand(model, X)["2.0"]
    compiled = torch.compile(model, backend=backend) if tapped == "as compiled" else None
    try:
        with lgg.tap(compiled or model, ["2.0"]) as representations:
            (compiled or torch.compile(model, backend=backend))(X)
            torch.testing.assert_close(representations[0], expected)
            representations[0].sum().backward()
    except torch._inductor.exc.InductorError as error:
        pytest.skip(f"no compiler of C++ for inductor here: {error}")
    assert model[0].weight.grad.abs().sum() > 0
    torch.compiler.reset()


@pytest.mark.parametrize("tapped_first", [True, False])
def test_compiled_networks_give_the_same_representations(tapped_first):
    torch.compiler.reset()
    model = network()
    expected = by_hand(model, X)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    if not tapped_first:
        compiled(X)
    with lgg.tap(compiled if tapped_first else model, ["1", "2.0"]) as representations:
        if not tapped_first:
            compiled(X)
            with pytest.raises(RuntimeError, match=r"torch.compiler.reset\(\)"):
                representations[0]
            torch.compiler.reset()
        for scale in (1.0, 2.0):  # the second pass runs the code compiled in the first
            compiled(X * scale)
            expected = by_hand(model, X * scale)
            assert all(torch.equal(a, expected[n]) for a, n in zip(representations, ["1", "2.0"], strict=True))
        LabelVariationRegularizer(similarity="rbf")(representations, LABELS).backward()
    assert model[0].weight.grad.abs().sum() > 0
    torch.compiler.reset()


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_networks_of_other_libraries(library):
    if library == "torchvision":
        model = pytest.importorskip("torchvision").models.resnet18(num_classes=2)
    else:
        model = pytest.importorskip("timm", reason="timm is not installed").create_model("resnet18", num_classes=2)
    with lgg.tap(model, ["layer1", "layer2.0", "layer4"]) as representations:
        logits = model(torch.rand(2, 3, 32, 32))
        assert [x.shape[:2] for x in representations] == [(2, 64), (2, 128), (2, 512)]
        (logits.sum() + LabelVariationRegularizer()(representations, torch.tensor([0, 1]))).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
