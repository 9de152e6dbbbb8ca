"""Networks of other libraries in every application: tests of robustness, graphs, embeddings, distillation, defences."""

import numpy as np
import pytest
import torch
from torch import nn

from lgg import losses, models
from lgg.data.storage import ImageSet
from lgg.defences import Parseval, Regularizer
from lgg.errors import LggError, SignedRepresentations
from lgg.evaluation.accuracy import predict
from lgg.evaluation.embeddings import features
from lgg.evaluation.geometry import depth_graph, label_variation_of_layers, main_depths, representations_at_depths
from lgg.evaluation.robustness import predict_with_dropout, quantized
from lgg.evaluation.robustness_tests import TESTS, prepare_case, run_tests
from lgg.evaluation.size import count_operations, step_shapes
from lgg.training.objectives import Distillation, MetricLearning, Robust

pytest.importorskip("timm")

SIDE, CLASSES = 24, 3
PGD = {"epsilon": 0.2, "step_size": 0.1, "steps": 2, "restarts": 1, "loss": "cross_entropy", "stop_at_success": False}
SETTINGS = {
    "images": 6, "seed": 0, "fgsm_snr": 20.0, "curve_snrs": [30.0], "noise_std": 0.1, "dropout_rate": 0.25,
    "weight_bits": 5, "pgd": PGD, "strong_pgd": PGD | {"restarts": 2}, "deepfool_images": 3,
}  # fmt: skip
OF_RELUS = {"name": "timm", "model": "test_resnet", "layers": "relus"}
OF_TOKENS = {"name": "timm", "model": "test_vit", "arguments": {"patch_size": 8}}


def build(**architecture):
    torch.manual_seed(0)
    return models.build(num_classes=CLASSES, image_size=SIDE, **architecture).eval()


@pytest.fixture(scope="module")
def residual():
    return build(**OF_RELUS)


@pytest.fixture(scope="module")
def tokens():
    return build(**OF_TOKENS)


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    pixels = random.integers(256, size=(12, SIDE, SIDE, 3), dtype=np.uint8)
    return ImageSet(pixels, np.arange(12) % CLASSES, ("a", "b", "c"), ())


@pytest.fixture
def batch(data):
    images = torch.from_numpy(data.images).permute(0, 3, 1, 2) / 255
    return images.contiguous(memory_format=torch.channels_last), torch.from_numpy(data.labels)


@pytest.mark.parametrize("name", ["residual", "tokens"])
def test_every_test_of_robustness_is_run_and_leaves_the_network_alone(request, name, data):
    network, source = request.getfixturevalue(name), request.getfixturevalue("residual")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    rows = run_tests(prepare_case(network, source, data, SETTINGS))
    assert {row["test"] for row in rows} == set(TESTS)
    assert all(np.isfinite(row["value"]) or row["test"] == "deepfool" for row in rows)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("name", ["residual", "tokens"])
def test_dropout_is_after_every_block_whatever_the_batch_size(request, name, data):
    network, images = request.getfixturevalue(name), torch.from_numpy(data.images)
    assert len(network.dropout_places) > 1
    logits = []
    hook = network.register_forward_hook(lambda _, __, output: logits.append(output.clone()))
    for rate, batch_size in ((0.5, 12), (0.5, 5), (0.0, 12)):
        predict_with_dropout(network, images, rate=rate, seed=0, batch_size=batch_size)
    hook.remove()
    whole, parts, without = logits[0], torch.cat(logits[1:4]), logits[4]
    torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(whole, without, atol=0.1)


def test_quantised_weights_are_those_of_a_copy(tokens, data):
    coarse = quantized(tokens, 3)
    for (name, own), other in zip(tokens.named_parameters(), coarse.parameters(), strict=True):
        assert len(other.unique()) <= 7 if own.dim() > 1 else torch.equal(own, other), name
    images = torch.from_numpy(data.images)
    assert predict(coarse, images).shape == predict(tokens, images).shape


def test_graphs_are_of_layers_by_name_and_of_distances_where_values_are_negative(residual, tokens, data):
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    for network, signed in ((residual, False), (tokens, True)):
        depths = representations_at_depths(network, images)
        pooled = [] if network.layers[-1] == "pooled" else ["pooling"]
        assert list(depths) == ["image", *network.layers, *pooled]
        assert len(main_depths(list(depths))) == 3
        assert any(x.amin() < 0 for x in depths.values()) == signed
        assert label_variation_of_layers(network, images, labels).isfinite().all()
        steps = step_shapes(network, SIDE)
        assert [name for name, _ in steps] == ["image", *network.layers, "logits"]
        assert steps[-1][1] == (CLASSES,)
    with pytest.raises(SignedRepresentations, match=r"'blocks\.0' has negative values"):
        depth_graph(depths["blocks.0"], "blocks.0", k=3)
    assert depth_graph(depths["blocks.0"], "blocks.0", k=3, similarity="rbf").amin() >= 0


def test_operations_of_a_residual_network_are_those_of_its_convolutions_and_its_classifier(residual):
    """Each value of a convolution's output is a sum over one filter, so are those of the classifier."""
    counted = 0

    def count(module, _, output):
        nonlocal counted
        counted += output[0].numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in residual.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    operations = count_operations(residual, SIDE)
    for hook in hooks:
        hook.remove()
    assert operations == counted > 0


def test_features_are_outputs_or_a_layer_and_a_bottleneck_is_one(data):
    network, images = build(**OF_RELUS, bottleneck=2), torch.from_numpy(data.images)
    assert network.layers[-1] == "bottleneck"
    plane, logits = features(network, images, layer="bottleneck"), features(network, images)
    assert (plane.shape, logits.shape) == ((12, 2), (12, CLASSES))
    # the classifier is linear, so logits of embeddings in the plane are in one, too
    assert np.linalg.matrix_rank(logits - logits.mean(axis=0), tol=1e-4) <= 2
    MetricLearning(losses.LabelVariation(), 1.0)(network, *_as_batch(data)).loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def _as_batch(data):
    return torch.from_numpy(data.images).permute(0, 3, 1, 2) / 255, torch.from_numpy(data.labels)


def test_a_network_of_another_library_teaches_one_of_this_package(residual, tokens, batch):
    student = models.build("wide_resnet", num_classes=CLASSES, depth=10, width=0.25)
    pairs = [("layer1.0.act2", "stage1"), ("layer4.0.act2", "pool")]
    step = Distillation(residual, losses.GraphDistillation(), 25.0, pairs)(student, *batch)
    step.loss.backward()
    assert step.parts["distillation"] > 0
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in residual.parameters())
    pairs = [("blocks.0", "stage1"), ("pooled", "pool")]
    with pytest.raises(SignedRepresentations, match=r"layer 'blocks\.0' of the teacher has negative values"):
        Distillation(tokens, losses.GraphDistillation(), 25.0, pairs)(student, *batch)
    step = Distillation(tokens, losses.GraphDistillation(similarity="rbf"), 25.0, pairs)(student, *batch)
    assert step.loss.isfinite()
    with pytest.raises(ValueError, match=r"the teacher has \d+ .*blocks\.0.* the student 3 \(stage1, stage2, pool\)"):
        Distillation(tokens, losses.RelationalDistillation(), 1.0)(student, *batch)


def test_the_regularizer_takes_relus_and_names_a_layer_that_can_be_negative(batch):
    assert Robust([Regularizer(weight=1.0)])(build(**OF_RELUS).train(), *batch).parts["regularizer"] > 0
    network = build(**OF_TOKENS).train()
    with pytest.raises(SignedRepresentations, match=r"layer 'blocks\.0' has negative values"):
        Robust([Regularizer()])(network, *batch)
    assert Robust([Regularizer(similarity="rbf")])(network, *batch).loss.isfinite()


OWN_NETWORK = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes, {argument}=False):
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
        self.scaled = {argument}
"""


def test_parseval_needs_a_class_that_takes_it(tmp_path):
    defended = Robust([Parseval()]).architecture
    for architecture in (OF_RELUS, {"name": "wide_resnet", "depth": 10, "width": 1}):
        with pytest.raises(
            LggError, match=rf"parseval needs a network whose class .*'{architecture['name']}' does not"
        ):
            build(**architecture, **defended)
    for argument in ("parseval", "depth"):
        (tmp_path / f"{argument}.py").write_text(OWN_NETWORK.format(argument=argument))
    own = {"name": "file", "class": "Net", "layers": "relus"}
    network = build(**own, path=str(tmp_path / "parseval.py"), **defended)
    assert network.network.scaled
    before = network.network[0].weight.detach().clone()
    Parseval().after_step(network)
    assert not torch.equal(network.network[0].weight, before)
    with pytest.raises(LggError, match=r"depth\.py cannot be built .*'parseval'"):
        build(**own, path=str(tmp_path / "depth.py"), **defended)
