import numpy as np
import pytest
import torch

from lgg import models
from lgg.evaluation.embeddings import features, standardizer


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return models.build("preact_resnet18", num_classes=5, base_width=2, bottleneck=2)


@pytest.fixture(scope="module")
def images():
    return torch.randint(256, (11, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("layer", "width"), [(None, 5), ("bottleneck", 2), ("final.relu", 16 * 4 * 4), ("block1.relu1", 2 * 32 * 32)]
)
def test_features_are_the_output_or_a_representation(network, images, layer, width):
    found = features(network.train(), images, layer=layer, batch_size=4)
    assert found.shape == (11, width)
    assert found.dtype == np.float32
    assert not network.training
    with torch.no_grad():
        logits, shown = network(images.permute(0, 3, 1, 2) / 255, return_representations=True)
    expected = logits if layer is None else shown[network.layers.index(layer)].flatten(1)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_unknown_layer_is_refused(network, images):
    with pytest.raises(ValueError, match=r"no layer 'pool'; it has block1\.relu1, .*, bottleneck"):
        features(network, images, layer="pool")


def test_a_standardizer_gives_each_feature_of_training_images_mean_0_and_variance_1():
    random = np.random.default_rng(0)
    train, test = (random.normal([5, -3], [0.1, 40], size=(count, 2)).astype(np.float32) for count in (500, 20))
    normalized = standardizer(train)
    np.testing.assert_allclose(normalized(train).mean(axis=0), 0, atol=1e-4)
    # the small variance is raised by 1e-5, of 0.01 in all
    np.testing.assert_allclose(normalized(train).var(axis=0), 1, rtol=2e-3)
    # others are moved and scaled by the same numbers, one for each feature
    shift, scale = train.mean(axis=0, dtype=float), train.std(axis=0, dtype=float)
    np.testing.assert_allclose(normalized(test) * scale + shift, test, rtol=1e-2, atol=1e-3)
    assert normalized(test).dtype == np.float32


def test_a_constant_feature_becomes_zero():
    features = np.full((4, 1), 7, dtype=np.float32)
    assert (standardizer(features)(features) == 0).all()
