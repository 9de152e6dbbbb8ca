import pytest
import torch

import lgg
from lgg import models
from lgg.data.batches import to_model_input
from lgg.evaluation.geometry import label_variation_of_layers


def test_label_variation_of_layers_is_that_of_each_graph_and_leaves_the_network_alone():
    torch.manual_seed(0)
    model = models.build("preact_resnet18", num_classes=3, base_width=4).train()
    images = torch.randint(256, (12, 16, 16, 3), dtype=torch.uint8)
    labels = torch.arange(12) % 3
    state, random = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    found = label_variation_of_layers(model, images, labels)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        _, representations = model.eval()(to_model_input(images), return_representations=True)
    assert found.shape == (17, 2)
    for (squared, share), x in zip(found, representations, strict=True):
        graph = lgg.similarity_graph(x)
        assert squared.item() == pytest.approx(lgg.label_variation(graph, labels, power=2).item(), rel=1e-4)
        between = graph[labels[:, None] != labels[None, :]].sum() / graph.sum()
        assert share.item() == pytest.approx(between.item(), rel=1e-4)


def test_with_negative_values_in_a_layer_all_graphs_are_of_distances():
    torch.manual_seed(0)
    model = models.build("preact_resnet18", num_classes=3, base_width=4, bottleneck=5)
    images, labels = torch.randint(256, (12, 16, 16, 3), dtype=torch.uint8), torch.arange(12) % 3
    found = label_variation_of_layers(model, images, labels)
    with torch.no_grad():
        _, representations = model(to_model_input(images), return_representations=True)
    assert found.shape == (18, 2)
    for (squared, share), x in zip(found, representations, strict=True):
        distances = torch.cdist(x.flatten(1).double(), x.flatten(1).double())
        graph = torch.exp(-2 * distances / (distances.sum() / 132)) * (1 - torch.eye(12))
        laplacian, classes = graph.sum(dim=1).diag() - graph, torch.eye(3).double()[labels]
        assert squared.item() == pytest.approx((classes.T @ laplacian @ laplacian @ classes).trace().item(), rel=1e-3)
        between = graph[labels[:, None] != labels[None, :]].sum() / graph.sum()
        assert share.item() == pytest.approx(between.item(), rel=1e-3)
