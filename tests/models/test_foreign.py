"""Networks of torchvision and timm and of files, as image classifiers: weights, stems, representations, training."""

import copy
import sys

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import lgg
from lgg import models
from lgg.attacks import loss_gradient
from lgg.data.batches import Batches
from lgg.defences import Regularizer
from lgg.devices import prepare
from lgg.errors import LggError, NetworkError
from lgg.losses import LabelVariationRegularizer
from lgg.models.foreign import TorchvisionNetwork, average_cells
from lgg.models.layers import choose, shadow, stages, trace
from lgg.models.own_file import code_digest
from lgg.training.fit import Run, fit_side_by_side
from lgg.training.objectives import Distillation, Robust

CONSTANTS = {"mean": [0.1, 0.2, 0.3], "std": [0.9, 0.8, 0.7]}
NET = """
from torch import nn
from parts import WIDTH


class Net(nn.Module):
    def __init__(self, num_classes, wide=False):
        super().__init__()
        width = 2 * WIDTH if wide else WIDTH
        self.conv = nn.Conv2d(3, width, 3, padding=1)  # the only one
        self.act = nn.ReLU(inplace=True)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.classifier(self.act(self.conv(x)).mean((2, 3)))


def make():
    return Net(4)


class Other:
    pass


class Pair(Net):
    def forward(self, x):
        return super().forward(x), x
"""


def timm():
    return pytest.importorskip("timm", reason="timm is not installed")


def build(model="shufflenet_v2_x0_5", name="torchvision", image_size=32, seed=0, num_classes=4, **options):
    torch.manual_seed(seed)
    return models.build(name, model=model, image_size=image_size, num_classes=num_classes, **CONSTANTS, **options)


def images(size=2, side=32):
    return torch.rand(size, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A function that builds a network of a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NET)
    (tmp_path / "parts.py").write_text("WIDTH = 3\n")

    def make(class_name="Net", **more):
        torch.manual_seed(0)
        options = {"path": "nets.py", "class": class_name, **more}
        return models.build("file", num_classes=4, image_size=8, **options)

    return make


# The network as it is


def test_weights_are_drawn_as_the_library_draws_them_and_images_normalised():
    model = build(stem="standard").eval()
    torch.manual_seed(0)
    original = torchvision.models.shufflenet_v2_x0_5(num_classes=4).eval()
    state = original.state_dict()
    assert model.network.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.network.state_dict().items())
    mean, std = (torch.tensor(CONSTANTS[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        torch.testing.assert_close(model(images()), original((images() - mean) / std))


def test_logits_are_the_same_with_and_without_representations_which_are_those_of_a_tap():
    model = build(layers=["stage2", "stage3.*.branch2.*", "pooled"]).eval()
    assert len(model.layers) > 3
    logits, shown = model(images(), return_representations=True)
    assert torch.equal(logits, model(images()))
    with lgg.tap(model.network, model.layers[:-1]) as tapped:
        model(images())
        for expected, found in zip(tapped, shown[:-1], strict=True):
            assert torch.equal(expected, found)
    torch.testing.assert_close(model.network.fc(shown[-1]), logits)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    gradients = torch.autograd.grad(logits.square().sum(), shown)
    assert all((gradient != 0).any() for gradient in gradients)


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        ("resnet18", ["layer1", "layer2", "layer3", "layer4", "pooled"]),
        ("vgg11_bn", ["features.2", "features.6", "features.13", "features.20", "features.27", "pooled"]),
        ("mobilenet_v3_small", ["features.1", "features.3", "features.8", "features.11", "pooled"]),
        ("efficientnet_b0", ["features.1", "features.2", "features.3", "features.5", "features.7", "pooled"]),
        ("densenet121", [*(f"features.transition{n}.relu" for n in (1, 2, 3)), "features.denseblock4", "pooled"]),
        ("shufflenet_v2_x0_5", ["stage2", "stage3", "stage4", "pooled"]),
        ("squeezenet1_1", ["features.4", "features.7", "features"]),
        ("googlenet", ["inception3b", "inception4e", "inception5b", "pooled"]),
        ("convnext_tiny", ["features.1", "features.3", "features.5", "features", "pooled"]),
        ("vit_b_16", [*(f"encoder.layers.encoder_layer_{n}" for n in (2, 5, 8)), "encoder.layers", "pooled"]),
        ("swin_t", ["features.1", "features.3", "features.5", "features", "pooled"]),
        ("@resnetv2_50", ["stages.0", "stages.1", "stages.2", "norm", "head.global_pool"]),
        ("@convnext_atto", ["stages.0", "stages.1", "stages.2", "stages", "pooled"]),
        ("@vit_tiny_patch16_224", ["blocks.2", "blocks.5", "blocks.8", "blocks", "pooled"]),
        ("@deit_tiny_distilled_patch16_224", ["blocks.2", "blocks.5", "blocks.8", "blocks"]),
        ("@swin_tiny_patch4_window7_224", ["layers.0", "layers.1", "layers.2", "layers", "pooled"]),
        ("@mixer_s32_224", ["blocks.1", "blocks.3", "blocks.5", "blocks", "pooled"]),
        ("@regnetx_002", ["s1", "s2", "s3", "s4", "pooled"]),
    ],
)
def test_stages_of_many_families_end_at_their_blocks_and_are_not_overwritten(model, layers):
    with torch.device("meta"):
        if model.startswith("@"):
            network = timm().create_model(model[1:])
        else:
            more = {"aux_logits": False, "init_weights": False} if model == "googlenet" else {}
            network = torchvision.models.get_model(model, **more)
    found = stages(trace(network, 224))
    assert [one.name for one in found] == layers
    assert not any(one.overwritten or one.fickle for one in found)
    sizes = [one.positions for one in found]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("name", "model", "layers"),
    [
        ("torchvision", "mobilenet_v3_small", "stages"),  # dropout in place
        ("torchvision", "squeezenet1_1", "relus"),  # a convolution as classifier
        ("timm", "test_resnet", "relus"),
        ("timm", "test_efficientnet", "stages"),
        ("timm", "test_vit", "stages"),
        ("timm", "test_nfnet", "stages"),
    ],
)
@pytest.mark.parametrize("half", [False, True])
def test_a_training_step_uses_every_representation(name, model, layers, half):
    if name == "timm":
        timm()
    network = build(model, name, layers=layers).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits, shown = network(images(4), return_representations=True)
        loss = LabelVariationRegularizer(similarity="rbf")(shown, torch.tensor([0, 1, 2, 3]))
    by_name = {one.name: one for one in network.traced}
    for layer, tensor in zip(network.layers, shown, strict=True):
        assert tuple(tensor.shape[1:]) == by_name[layer].shape
        assert by_name[layer].negative or (tensor >= 0).all()
    (logits.float().sum() + loss).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters() if parameter.grad is not None)
    assert next(network.parameters()).grad is not None


def test_attacks_copies_and_distillation_work_as_for_other_networks():
    teacher, student = build(), build(seed=1)
    labels = torch.tensor([0, 1])
    gradient = loss_gradient(teacher.eval(), images(), labels)
    assert gradient.shape == images().shape
    assert gradient.abs().sum() > 0
    twin = copy.deepcopy(student)
    assert twin.layers == student.layers
    twin.network.fc.weight.data.zero_()
    assert (student.network.fc.weight != 0).any()
    assert [type(one) for one in twin.dropout_places] == [type(one) for one in student.dropout_places]
    assert not {*map(id, twin.dropout_places)} & {*map(id, student.dropout_places)}

    class Difference(nn.Module):
        def forward(self, student_representations, teacher_representations):
            pairs = zip(student_representations, teacher_representations, strict=True)
            return sum((ours - theirs).square().mean() for ours, theirs in pairs)

    step = Distillation(teacher, Difference(), 1.0)(student.train(), images(), labels)
    step.loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert student.network.conv1[0].weight.grad.abs().sum() > 0


def test_values_are_dropped_after_blocks():
    model = build(stem="standard")
    blocks = [module for stage in (2, 3, 4) for module in getattr(model.network, f"stage{stage}")]
    assert [*model.dropout_places] == blocks
    wide = models.build("wide_resnet", num_classes=2, depth=16, width=0.25)
    assert [*wide.dropout_places] == [*wide.stage1, *wide.stage2, *wide.stage3]
    preact = models.build("preact_resnet18", num_classes=2, base_width=2)
    assert [*preact.dropout_places] == [*preact.blocks]


def test_a_pass_reads_no_value_on_the_host():
    """The meta device represents a GPU whose steps are captured: reading a value from it fails."""
    model = shadow(build(layers="relus")).train()
    logits, shown = model(images().to("meta"), return_representations=True)
    (logits.sum() + sum(one.mean() for one in shown)).backward()
    assert model.network.conv1[0].weight.grad.is_meta


@pytest.mark.parametrize("length", [1, 3, 7, 12])
@pytest.mark.parametrize("size", [(7, 7), (2, 5), (None, 3), (1, 4)])
def test_cells_are_averaged_as_by_adaptive_pooling(length, size):
    x = torch.randn(2, 3, length, 6, dtype=torch.float64, requires_grad=True)
    found, expected = average_cells(x, size), F.adaptive_avg_pool2d(x, size)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad((one * weights).sum(), x)[0] for one in (found, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use")
@pytest.mark.parametrize("model", ["shufflenet_v2_x0_5", "alexnet"])
def test_captured_steps_of_training_are_those_run_one_by_one(model):
    device = prepare(1, 1)
    pixels = torch.randint(256, (16, 64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    states = []
    for captured in (False, True):
        network = build(model, image_size=64, arguments={"dropout": 0.0} if model == "alexnet" else {}).to(device)
        batches = Batches(
            pixels, torch.arange(16) % 4, batch_size=8, seed=0, augmentation="crop_and_flip", device=device
        )
        phases = [{"epochs": 4, "learning_rate": [0.0, 0.01]}]
        run = Run(network, Robust([Regularizer(1e-3, similarity="rbf")]), batches, phases)
        fit_side_by_side([run], captured=captured)
        states.append({name: value.cpu() for name, value in network.state_dict().items()})
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


# Stem and bottleneck


def test_a_small_stem_keeps_small_images_large():
    timm()
    options = {"arguments": {"channels": [4, 4, 8, 8]}, "name": "timm", "model": "resnet18"}
    small, standard = build(stem="small", **options), build(stem="standard", **options)
    assert small.network.conv1.kernel_size == (3, 3)
    assert small.network.conv1.stride == small.network.conv1.padding == (1, 1)
    assert isinstance(small.network.maxpool, nn.Identity)
    # drawn alike, with the variance that the output of all 49 products would have
    ours, theirs = small.network.conv1.weight, standard.network.conv1.weight
    torch.testing.assert_close(ours, theirs[:, :, 2:5, 2:5] * 7 / 3)
    assert 0.9 < (ours.var() * 9 / (theirs.var() * 49)).sqrt() < 1.1
    kept = {name: value for name, value in standard.state_dict().items() if name != "network.conv1.weight"}
    assert all(torch.equal(small.state_dict()[name], value) for name, value in kept.items())
    _, shown = small(images(), return_representations=True)
    assert [one.shape[-1] for one in shown] == [32, 16, 8, 4, 8]
    _, shown = standard(images(), return_representations=True)
    assert [one.shape[-1] for one in shown] == [8, 4, 2, 8]  # at one pixel, the map is the pooled vector
    assert build(image_size=64, **options).network.conv1.stride == (1, 1)
    assert build(image_size=65, **options).network.conv1.stride == (2, 2)


def test_a_small_stem_of_other_filters_changes_the_stride_alone():
    model = build("mobilenet_v3_small")
    assert model.network.features[0][0].stride == (1, 1)
    assert model.network.features[0][0].kernel_size == (3, 3)


def test_patches_are_no_stem():
    timm()
    assert build("test_vit", "timm").network.patch_embed.proj.stride == (16, 16)
    with pytest.raises(NetworkError, match=r'patches of 16×16, which stem: "small" cannot change'):
        build("test_vit", "timm", stem="small")
    with pytest.raises(NetworkError, match=r'stem must be "auto", "small" or "standard", not \'tiny\''):
        build(stem="tiny")


def test_a_bottleneck_is_the_last_representation():
    model = build(bottleneck=2, layers=["stage4"]).eval()
    assert model.layers == ("stage4", "bottleneck")
    logits, shown = model(images(), return_representations=True)
    inner = model.network.fc
    assert shown[-1].shape == (2, 2)
    torch.testing.assert_close(logits, inner.classifier(shown[-1]))
    pooled = model.network.conv5(shown[0]).mean((2, 3))
    torch.testing.assert_close(shown[-1], inner.bottleneck(pooled))
    named = build(bottleneck=2, layers=["bottleneck", "pooled"])
    assert named.layers == ("pooled", "bottleneck")
    with pytest.raises(NetworkError, match="at least 1, not 0"):
        build(bottleneck=0)
    with pytest.raises(NetworkError, match="no linear layer as its classifier"):
        build("squeezenet1_1", bottleneck=2)


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet19"}, "torchvision has no classification network 'resnet19'; the closest names are resnet1"),
        ({"model": "fcn_resnet50"}, "no classification network"),
        ({"arguments": {"weights": "DEFAULT"}}, "'weights' would download .*`pretrained: true`"),
        ({"arguments": {"depth": 3}}, "cannot be built with the arguments .*depth=3: TypeError: .*depth"),
        ({"layers": ["stage5"]}, "no layer 'stage5'.*there are conv1.0"),
        ({"model": "densenet121", "image_size": 8, "stem": "standard"},
         "cannot process .* 8 × 8 pixels: RuntimeError: .*image_size"),
        ({"name": "timm", "model": "resnet18x"}, "timm has no network 'resnet18x'; the closest names are"),
        ({"name": "timm", "model": "hf_hub:a/b"}, "described on a hub"),
        ({"name": "timm", "model": "test_resnet", "arguments": {"pretrained": True}}, "'pretrained' would download"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_in_words(options, message):
    if options.get("name") == "timm":
        timm()
    with pytest.raises(NetworkError, match=message) as error:
        build(**options)
    assert isinstance(error.value, LggError)


def test_options_are_those_of_the_class():
    with pytest.raises(ValueError, match="needs image_size"):
        models.build("torchvision", model="resnet18", num_classes=2)
    with pytest.raises(ValueError, match="needs a network whose class takes the argument `parseval`"):
        build(parseval=True)
    assert models.is_foreign("timm")
    assert not models.is_foreign("wide_resnet")
    assert models.module_of("file") == TorchvisionNetwork.__module__


def test_a_missing_timm_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NetworkError, match="'resnet18' needs the package timm: pip install timm"):
        build("resnet18", "timm")


# Files of your own


def test_a_class_of_a_file_is_called_with_its_arguments_and_the_number_of_classes(own):
    model = own(arguments={"wide": True}, digest=code_digest("nets.py"))
    assert model.network.conv.out_channels == 6
    assert model.layers == ("act", "pooled")
    assert model(images(side=8)).shape == (2, 4)
    assert type(copy.deepcopy(model).network) is type(model.network)
    assert type(own().network) is type(model.network)
    assert own("make").network.conv.out_channels == 3
    assert own("Pair")(images(side=8)).shape == (2, 4)


def test_the_digest_is_that_of_the_code_and_of_the_files_beside_it(own, tmp_path):
    path = tmp_path / "nets.py"
    digest = code_digest("nets.py")
    path.write_text("# a comment\n" + NET.replace("  # the only one", "  # one\n\n"))
    assert code_digest(path) == digest
    own(digest=digest)
    path.write_text(NET.replace("ReLU", "GELU").replace("(inplace=True)", "()"))
    with pytest.raises(NetworkError, match=rf"nets.py: its code is not the one .*\(digest \w+, not {digest}\)"):
        own(digest=digest)
    path.write_text(NET)
    (tmp_path / "parts.py").write_text("WIDTH = 2 + 1\n")
    assert code_digest(path) != digest
    (tmp_path / "parts.py").write_text("WIDTH = 3\n")
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    assert code_digest(path) == digest


@pytest.mark.parametrize("changed", ["__init__", "blocks", "absolute", "relative", "deeper/__init__", "deeper/above"])
def test_the_digest_sees_all_files_of_packages_that_are_imported(tmp_path, changed):
    (tmp_path / "parts" / "deeper").mkdir(parents=True)
    files = {
        "blocks": "from parts.absolute import A\nfrom . import relative\nfrom .deeper import above\n",
        "deeper/above": "from ..relative import R\n",
        **dict.fromkeys(["__init__", "absolute", "relative", "deeper/__init__"], "A = R = 1\n"),
    }
    for name, text in files.items():
        (tmp_path / "parts" / f"{name}.py").write_text(text)
    (tmp_path / "nets.py").write_text("from parts.blocks import R\n")
    before = code_digest(tmp_path / "nets.py")
    (tmp_path / "parts" / f"{changed}.py").write_text(files[changed] + "B = 2\n")
    assert code_digest(tmp_path / "nets.py") != before


def test_a_mistake_in_a_file_is_reported_with_its_line(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text("x = 1\nclass Net(:\n")
    with pytest.raises(NetworkError, match=r"nets\.py, line 2: this is not Python: "):
        code_digest(path)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (NET, {"class": "Missing"}, "nets.py: there is no class 'Missing' in it"),
        (NET, {"class": "Other"}, "Other of nets.py is not an nn.Module, but a Other"),
        (NET, {"arguments": {"depth": 1}}, "cannot be built with the arguments num_classes=.*depth=1: TypeError"),
        (NET.replace("num_classes)\n", "num_classes + 1)\n"), {}, r"must return logits \(B, 4\).*returns \(2, 5\)"),
        ("import nothing_like_it\n", {}, "nets.py cannot be imported: ModuleNotFoundError"),
        ("def :\n", {}, "this is not Python"),
        (NET, {"path": "absent.py"}, "absent.py: there is no such file"),
        (
            "from lgg.models.wide_resnet import WideResNet\ndef Net():\n    return WideResNet(num_classes=4, mean=[0] * 3, "
            "std=[1] * 3, depth=10, width=1)\n",
            {},
            "is an ImageClassifier",
        ),
    ],
)
def test_files_that_define_no_network_are_refused_in_words(own, tmp_path, text, options, message):
    (tmp_path / "nets.py").write_text(text)
    with pytest.raises(NetworkError, match=message):
        models.build("file", num_classes=4, image_size=8, **{"path": "nets.py", "class": "Net", **options})
    assert str(tmp_path) not in sys.path


def test_files_of_one_name_in_two_folders_are_kept_apart(own, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "nets.py").write_text(NET)
    (other / "parts.py").write_text("import json\nfrom deeper import WIDTH\n")
    (other / "deeper.py").write_text("WIDTH = 7\n")
    known = {**sys.modules}
    assert own().network.conv.out_channels == 3
    assert own(path="other/nets.py").network.conv.out_channels == 7
    assert not {"parts", "deeper"} & {*sys.modules}
    assert all(sys.modules[name] is module for name, module in known.items())


def test_code_that_reads_values_is_followed_on_the_device_of_the_network(own, tmp_path):
    text = NET.replace("return self.classifier(", "assert float(x.sum()) < 1e9\n        return self.classifier(")
    (tmp_path / "nets.py").write_text(text)
    assert own().layers == ("act", "pooled")
    with pytest.raises(RuntimeError):
        trace(shadow(own().network), 8)
    assert choose(own().traced, "relus")[0].name == "act"
