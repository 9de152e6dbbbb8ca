"""The last batch of an epoch may be small: all losses are defined for a single input, and for two of one class."""

import pytest
import torch
from torch import nn

from lgg import losses

REPRESENTATIONS = {
    "relational": [{}],
    "graph_distillation": [
        {"k": k, "edges": edges, "power": power, "normalize": normalize, "order": order}
        for k, power, order in ((None, 1, "threshold_first"), (3, 1, "normalize_first"), (3, 2, "threshold_first"))
        for edges in ("all", "inter", "intra")
        for normalize in (True, False)
    ],
}
EMBEDDINGS = {
    "label_variation": [
        {"similarity": similarity, "k": k, "normalize": normalize, "power": power, "reduction": reduction}
        for similarity in ("rbf", "rbf_squared", "cosine")
        for k, power in ((None, 1), (None, 2), (3, 1))
        for normalize in (True, False)
        for reduction in ("sum", "mean")
    ],
    "triplet": [
        {"triplets": triplets, "margin": margin, "normalize_embeddings": normalize}
        for triplets in ("hard", "all")
        for margin in (0.2, "soft")
        for normalize in (True, False)
    ],
}
REGULARIZERS = [{"power": power, "k": k, "normalize": normalize}
                for power in (1, 2) for k in (None, 3) for normalize in (True, False)]  # fmt: skip
SIZES = pytest.mark.parametrize("size", [1, 2])


def cases(table):
    return [
        pytest.param(name, options, id=f"{name} {' '.join(map(str, options.values()))}")
        for name, variants in table.items()
        for options in variants
    ]


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU())


def layers_of(model, inputs):
    return [model[:2](inputs), model(inputs)]


def check_zero(loss, model):
    """Check that a loss without pairs of classes, or of inputs, is zero with zero gradient."""
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert all(weight.grad is not None and not weight.grad.any() for weight in model.parameters())


@SIZES
@pytest.mark.parametrize(("name", "options"), cases(REPRESENTATIONS))
def test_distillation_of_a_small_batch(name, options, size):
    model, inputs = network(0), torch.rand(size, 6)
    given = {
        "student_representations": layers_of(model, inputs),
        "teacher_representations": layers_of(network(1), inputs),
    }
    if name == "graph_distillation":
        given["labels"] = torch.zeros(size, dtype=torch.long)
    loss = losses.build(name, **options)(**given)
    if size == 1:
        check_zero(loss, model)
    else:
        loss.backward()
        assert all(weight.grad.isfinite().all() for weight in model.parameters())


@SIZES
@pytest.mark.parametrize(("name", "options"), cases(EMBEDDINGS))
def test_embedding_of_a_small_batch(name, options, size):
    model = network(0)
    check_zero(losses.build(name, **options)(model(torch.rand(size, 6)), torch.zeros(size, dtype=torch.long)), model)


@SIZES
@pytest.mark.parametrize("options", REGULARIZERS, ids=str)
def test_regularizer_of_a_small_batch(options, size):
    model = network(0)
    regularizer = losses.LabelVariationRegularizer(**options)
    check_zero(
        regularizer(layers_of(model, torch.rand(size, 6)), torch.zeros(size, dtype=torch.long), num_classes=3), model
    )
