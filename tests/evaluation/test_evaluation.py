import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lgg import models
from lgg.errors import DataError, SignedRepresentations
from lgg.evaluation.accuracy import agreement_percent, error_percent, predict
from lgg.evaluation.geometry import depth_graph, describe_graph, draw_images, main_depths, representations_at_depths
from lgg.evaluation.size import count_operations, count_parameters, step_shapes
from lgg.graph import normalized_label_variation, similarity_graph
from lgg.models.base import ImageClassifier


def test_predictions_do_not_depend_on_the_batch_size():
    torch.manual_seed(0)
    model = models.build("wide_resnet", num_classes=5, depth=10, width=0.5).train()
    images = torch.randint(256, (23, 32, 32, 3), dtype=torch.uint8)
    whole = predict(model, images, batch_size=23)
    assert torch.equal(whole, predict(model, images, batch_size=4))
    assert not model.training
    scores = model(images.permute(0, 3, 1, 2).float() / 255)
    assert torch.equal(whole, scores.argmax(dim=1))


def test_error_and_agreement_are_counts_in_percent():
    predictions, others = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 1, 1])
    assert error_percent(predictions, others) == 50.0
    assert agreement_percent(predictions, others) == 50.0


def test_operations_by_hand():
    """A WideResNet-10-1: stem, three blocks at 32, 16 and 8 pixels with two shortcuts, and the classifier."""
    model = models.build("wide_resnet", num_classes=10, depth=10, width=1)
    stem = 32 * 32 * 16 * 3 * 9
    stage1 = 2 * 32 * 32 * 16 * 16 * 9
    stage2 = 16 * 16 * (32 * 16 * 9 + 32 * 32 * 9 + 32 * 16)
    stage3 = 8 * 8 * (64 * 32 * 9 + 64 * 64 * 9 + 64 * 32)
    assert count_operations(model) == stem + stage1 + stage2 + stage3 + 64 * 10
    assert count_parameters(model) == sum(parameter.numel() for parameter in model.parameters())


class OfAttention(ImageClassifier):
    """Two heads on four pixels, a mean that can be negative, and a classifier."""

    layers = ("tokens", "mean")

    def __init__(self, fast):
        super().__init__([0.5] * 3, [0.25] * 3)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True) if fast else None
        self.mixed, self.classifier = nn.Linear(6, 18), nn.Linear(6, 5)

    def _compute(self, x):
        tokens = x.flatten(2).transpose(1, 2).repeat(1, 1, 2)
        if self.attention is not None:
            found, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        else:
            heads = self.mixed(tokens).unflatten(2, (3, 2, 3)).permute(2, 0, 3, 1, 4)
            found = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        mean = found.mean(dim=1)
        return self.classifier(mean), [found, mean]


@pytest.mark.parametrize("fast", [True, False])
def test_operations_of_attention_by_hand(fast):
    """Queries, keys and values of four tokens of six, scores and sums of two heads of three, in one case an output layer."""
    model = OfAttention(fast).eval()
    projections, products, output = 4 * 6 * 18, 2 * (4 * 4 * 3) * 2, (4 * 6 * 6 if fast else 0)
    assert count_operations(model, side=2) == projections + products + output + 6 * 5
    assert torch.backends.mha.get_fastpath_enabled()


def test_block_shapes_are_those_of_the_paper_at_full_width():
    steps = dict(step_shapes(models.build("preact_resnet18", num_classes=10, base_width=64).eval()))
    assert list(steps) == ["image", "conv", *(f"block {number}" for number in range(1, 9)), "pooling", "linear"]
    assert steps["image"] == (3, 32, 32)
    assert steps["block 4"] == (128, 16, 16)
    assert steps["pooling"] == (512,)


def test_steps_of_other_networks_are_their_representations():
    model = models.build("wide_resnet", num_classes=7, depth=10, width=0.5).eval()
    steps = [
        ("image", (3, 64, 64)),
        ("stage1", (8, 64, 64)),
        ("stage2", (16, 32, 32)),
        ("pool", (32,)),
        ("logits", (7,)),
    ]
    assert step_shapes(model, side=64) == steps


def test_depths_of_other_networks_are_their_representations():
    torch.manual_seed(0)
    model = models.build("wide_resnet", num_classes=4, depth=10, width=0.5).eval()
    pixels = torch.randint(256, (3, 16, 16, 3), dtype=torch.uint8)
    depths = representations_at_depths(model, pixels)
    assert list(depths) == ["image", "stage1", "stage2", "pool"]
    assert main_depths(list(depths)) == ["image", "stage1", "pool"]
    for name, x in zip(model.layers, model(depths["image"], return_representations=True)[1], strict=True):
        torch.testing.assert_close(depths[name], x)


class OfManyLayers(ImageClassifier):
    layers = tuple(f"layer{number}" for number in range(50))

    def _compute(self, x):
        maps = [x.abs() * number for number in range(50)]
        return x.mean(dim=(2, 3)), maps


class WithChannelsLast(OfManyLayers):
    layers = ("tokens",)

    def _compute(self, x):
        return x.mean(dim=(2, 3)), [0.4 * torch.ones_like(x).permute(0, 2, 3, 1)]


def test_of_many_layers_some_are_depths_and_the_last_is_pooled():
    depths = representations_at_depths(
        OfManyLayers([0.5] * 3, [0.25] * 3), torch.zeros((2, 4, 4, 3), dtype=torch.uint8)
    )
    names = list(depths)
    assert (len(names), names[:2], names[-2:]) == (22, ["image", "layer0"], ["layer49", "pooling"])
    torch.testing.assert_close(depths["pooling"], depths["layer49"].mean(dim=(2, 3)))
    last = representations_at_depths(
        WithChannelsLast([0.5] * 3, [0.25] * 3), torch.full((2, 4, 4, 3), 51, dtype=torch.uint8)
    )
    torch.testing.assert_close(last["pooling"], torch.full((2, 3), 0.4))
    assert main_depths(names) == ["image", names[10], "pooling"]
    assert main_depths(["image", "only"]) == ["image", "only"]


def test_a_cosine_graph_of_negative_values_is_refused_and_a_kernel_s_is_not():
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(SignedRepresentations, match=r"'tokens' has negative values.*geometry.similarity to rbf"):
        depth_graph(x, "tokens", k=3)
    graph = depth_graph(x, "tokens", k=5, similarity="rbf")
    distances = torch.cdist(x, x)
    mean = distances.sum() / 30
    torch.testing.assert_close(graph, torch.exp(-2 * distances / mean) * (1 - torch.eye(6)), rtol=1e-4, atol=1e-5)


def test_block_4_of_figure_2_is_the_relu_of_that_blocks_output():
    torch.manual_seed(0)
    model = models.build("preact_resnet18", num_classes=4, base_width=8).eval()
    pixels = torch.randint(256, (3, 32, 32, 3), dtype=torch.uint8)
    depths = representations_at_depths(model, pixels)
    assert main_depths(list(depths)) == ["image", "block 4", "pooling"]
    assert list(depths) == ["image", *(f"block {block}" for block in range(1, 9)), "pooling"]
    images = pixels.permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(depths["image"], images)
    with torch.no_grad():
        x = model.conv((images - model.mean) / model.std)
        for block in model.blocks[:4]:
            x, _ = block(x)
        torch.testing.assert_close(depths["block 4"], torch.relu(model.blocks[4].bn1(x)))
        torch.testing.assert_close(model.classifier(depths["pooling"]), model(images))


def test_draws_contain_the_requested_images():
    labels = np.repeat(np.arange(6), 30)
    draws = list(draw_images(labels, classes=4, images_per_class=5, draws=20, seed=0))
    assert len(draws) == 20
    for draw in draws:
        assert len(set(draw.images.tolist())) == 20
        assert (labels[draw.images] == draw.labels).all()
        assert np.unique(draw.labels, return_counts=True)[1].tolist() == [5, 5, 5, 5]
    assert len({tuple(draw.images) for draw in draws}) == 20
    again = list(draw_images(labels, classes=4, images_per_class=5, draws=20, seed=0))
    assert all((one.images == other.images).all() for one, other in zip(draws, again, strict=True))


@pytest.mark.parametrize(("classes", "images_per_class"), [(7, 5), (4, 31)])
def test_impossible_draws_are_refused(classes, images_per_class):
    with pytest.raises(DataError, match=r"6 classes, the smallest with 30 images; reduce geometry.classes"):
        next(
            draw_images(
                np.repeat(np.arange(6), 30), classes=classes, images_per_class=images_per_class, draws=1, seed=0
            )
        )


def test_the_description_of_a_graph_matches_it():
    x = torch.rand(12, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 3
    adjacency = similarity_graph(x, k=3)
    graph = describe_graph(x, adjacency, labels)
    edges = {(i, j): weight for i, j, weight in graph["edges"]}
    for i in range(12):
        for j in range(i + 1, 12):
            joined = adjacency[i, j] > 0 and labels[i] != labels[j]
            assert ((i, j) in edges) == joined
            if joined:
                assert edges[i, j] == pytest.approx(adjacency[i, j].item())
    assert graph["label_variation"] == pytest.approx(normalized_label_variation(adjacency, labels).item())
    assert graph["dimensions"] == 7
    assert np.shape(graph["coordinates"]) == (12, 2)
