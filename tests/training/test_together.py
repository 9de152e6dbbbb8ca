"""Networks trained together are the networks trained alone, up to rounding."""

import copy

import pytest
import torch

from lgg import losses, models
from lgg.data.batches import Batches
from lgg.errors import TrainingDiverged
from lgg.training.fit import fit
from lgg.training.objectives import CrossEntropy, Distillation
from lgg.training.optimizers import SGD, AdamW
from lgg.training.together import BatchesTogether, CrossEntropyTogether, DistillationTogether, Together

SEEDS = (0, 3, 4)
SCHEDULE = [{"epochs": 1, "learning_rate": [0.0, 0.05]}, {"epochs": 1, "learning_rate": [0.05, 0.0]}]


def network(seed, width=0.5):
    torch.manual_seed(seed)
    return models.build("wide_resnet", num_classes=3, depth=10, width=width)


def batches(seed=0):
    generator = torch.Generator().manual_seed(8)
    images = torch.randint(256, (20, 32, 32, 3), generator=generator, dtype=torch.uint8)
    labels = torch.arange(20) % 3
    return Batches(images, labels, batch_size=8, seed=seed, augmentation="crop_and_flip")


def together():
    members = [network(seed) for seed in SEEDS]
    return members, Together(members), BatchesTogether([batches().with_seed(seed) for seed in SEEDS])


def objectives(name):
    """Return what one network minimises, and what several together do."""
    if name == "cross-entropy":
        return CrossEntropy(), CrossEntropyTogether()
    criterion = {
        "gkd": losses.GraphDistillation(edges="inter"),
        "rkd_d": losses.RelationalDistillation(),
        "hinton": losses.HintonDistillation(temperature=4.0),
    }[name]
    one = Distillation(network(9, width=1).eval(), criterion, 0.5)
    return one, DistillationTogether(one)


def flat(values):
    return torch.cat([value.flatten().double() for value in values])


@pytest.mark.parametrize("name", ["cross-entropy", "gkd", "rkd_d", "hinton"])
def test_loss_and_gradient_of_a_batch_are_those_of_each_network(name):
    one, several = objectives(name)
    members, model, feed = together()
    images, labels = next(feed.epoch(0))
    step = several(model.train(), images, labels)
    step.loss.backward()
    for number, member in enumerate(members):
        alone = one(member.train(), images[number], labels[number])
        alone.loss.backward()
        torch.testing.assert_close(step.parts["loss"][number], alone.loss)
        torch.testing.assert_close(step.logits[number], alone.logits, rtol=1e-4, atol=1e-5)
        expected = flat(parameter.grad for parameter in member.parameters())
        found = flat(value.grad[number] for value in model.weights)
        # float32 gradients of ten layers, summed in another order
        assert (found - expected).norm() <= 1e-4 * expected.norm()


@pytest.mark.parametrize("name", ["cross-entropy", "gkd"])
def test_training_together_is_training_alone(name):
    one, several = objectives(name)
    members, model, feed = together()
    rows = fit(model, several, feed, schedule=SCHEDULE, optimizer=SGD(model.parameters(), nesterov=True))
    model.separate(members)
    for number, seed in enumerate(SEEDS):
        alone = network(seed)
        optimizer = SGD(alone.parameters(), nesterov=True)
        history = fit(alone, one, batches(seed), schedule=SCHEDULE, optimizer=optimizer)
        own = [row for row in rows if row["network"] == number]
        assert [row["epoch"] for row in own] == [1, 2]
        for found, expected in zip(own, history, strict=True):
            assert {*found} == {*expected, "network"}
            for key in set(expected) - {"seconds"}:
                assert found[key] == pytest.approx(expected[key], rel=1e-3)
        before, found, expected = (
            flat(model.state_dict().values()) for model in (network(seed), members[number], alone)
        )
        # as a share of what training changed
        assert (found - expected).norm() <= 1e-3 * (expected - before).norm()
        assert not members[number].training


@pytest.mark.parametrize("optimizer", [SGD, AdamW])
def test_an_optimizer_of_networks_together_is_that_of_each(optimizer):
    """From the same gradients the same bits, in several steps."""
    members, model, _ = together()
    several, alone = optimizer(model.parameters()), [optimizer(member.parameters()) for member in members]
    generator = torch.Generator().manual_seed(1)
    for rate in (0.1, 0.01, 0.03):
        for name, stacked in zip(model.weight_names, model.weights, strict=True):
            stacked.grad = torch.randn(stacked.shape, generator=generator)
            for number, member in enumerate(members):
                member.get_parameter(name).grad = stacked.grad[number].clone()
        for one in (several, *alone):
            one.step(rate)
    copies = [network(seed) for seed in SEEDS]
    model.separate(copies)
    for found, expected in zip(copies, members, strict=True):
        assert all(map(torch.equal, found.parameters(), expected.parameters()))


def test_batches_are_those_of_each_network():
    feed = BatchesTogether([batches().with_seed(seed) for seed in SEEDS])
    assert len(feed) == len(batches()) == 3
    for epoch in (0, 2):
        for number, seed in enumerate(SEEDS):
            alone = list(batches(seed).epoch(epoch))
            for (images, labels), (own_images, own_labels) in zip(feed.epoch(epoch), alone, strict=True):
                assert torch.equal(images[number], own_images)
                assert torch.equal(labels[number], own_labels)


def test_members_are_left_as_they_were_until_they_get_their_weights_back():
    members, model, feed = together()
    before = [copy.deepcopy(member.state_dict()) for member in members]
    fit(model, CrossEntropyTogether(), feed, schedule=[{"epochs": 1, "learning_rate": 0.1}])
    for member, state in zip(members, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in member.state_dict().items())
    model.separate(members)
    for number, member in enumerate(members):
        assert not torch.equal(member.conv.weight, before[number]["conv.weight"])
        assert member.bn.num_batches_tracked == 3


def test_a_network_that_diverges_is_named():
    members, _, feed = together()
    with torch.no_grad():
        members[1].classifier.bias[0] = torch.inf
    with pytest.raises(TrainingDiverged, match="of network 1 diverged in epoch 1 of 2"):
        fit(Together(members), CrossEntropyTogether(), feed, schedule=SCHEDULE)


def test_networks_of_several_architectures_are_refused():
    with pytest.raises(ValueError, match="one architecture"):
        Together([network(0), network(0, width=1)])
    with pytest.raises(ValueError, match="at least one"):
        Together([])
