import numpy as np
import pytest
import torch

from lgg import models
from lgg.errors import DataError
from lgg.evaluation.accuracy import agreement_percent, error_percent, predict
from lgg.evaluation.geometry import DEPTHS, describe_graph, draw_images, representations_at_depths
from lgg.evaluation.size import block_shapes, count_operations, count_parameters
from lgg.graph import normalized_label_variation, similarity_graph


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


def test_block_shapes_are_those_of_the_paper_at_full_width():
    steps = dict(block_shapes(models.build("preact_resnet18", num_classes=10, base_width=64)))
    assert list(steps) == ["image", "conv", *(f"block {number}" for number in range(1, 9)), "pooling", "linear"]
    assert steps["image"] == (3, 32, 32)
    assert steps["block 4"] == (128, 16, 16)
    assert steps["pooling"] == (512,)


def test_block_4_of_figure_2_is_the_relu_of_that_blocks_output():
    torch.manual_seed(0)
    model = models.build("preact_resnet18", num_classes=4, base_width=8).eval()
    pixels = torch.randint(256, (3, 32, 32, 3), dtype=torch.uint8)
    depths = representations_at_depths(model, pixels)
    assert [name for name in depths if name in DEPTHS] == list(DEPTHS)
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
    graph = describe_graph(x, labels, k=3)
    adjacency = similarity_graph(x, k=3)
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
