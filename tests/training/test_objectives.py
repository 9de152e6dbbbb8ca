from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lgg import attacks, losses, models
from lgg.training.objectives import CrossEntropy, Distillation, MetricLearning, Robust, select_layers


@pytest.fixture
def networks():
    torch.manual_seed(0)
    student = models.build("wide_resnet", num_classes=3, depth=10, width=0.5)
    teacher = models.build("wide_resnet", num_classes=3, depth=10, width=1)
    return student, teacher


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(6, 3, 32, 32, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2])


def test_cross_entropy_is_the_mean_negative_log_probability(networks, batch):
    student, _ = networks
    student.eval()
    images, labels = batch
    step = CrossEntropy()(student, images, labels)
    probabilities = student(images).softmax(dim=1)[torch.arange(6), labels]
    torch.testing.assert_close(step.loss, -probabilities.log().mean())
    assert step.logits.shape == (6, 3)


@pytest.mark.parametrize(
    ("criterion", "own_value"),
    [
        (losses.HintonDistillation(4.0), lambda c, s, t, _: c(s[0], t[0])),
        (losses.RelationalDistillation(), lambda c, s, t, _: c(s[1], t[1])),
        (losses.GraphDistillation(k=2), lambda c, s, t, y: c(s[1], t[1], y)),
    ],
)
def test_distillation_adds_the_weighted_term_to_cross_entropy(networks, batch, criterion, own_value):
    student, teacher = (network.eval() for network in networks)
    images, labels = batch
    step = Distillation(teacher, criterion, 25.0)(student, images, labels)
    outputs = student(images, return_representations=True)
    term = own_value(criterion, outputs, teacher(images, return_representations=True), labels)
    torch.testing.assert_close(step.parts["distillation"], term)
    torch.testing.assert_close(step.loss, F.cross_entropy(outputs[0], labels) + 25.0 * term)


def test_the_teacher_is_neither_trained_nor_in_training_mode(networks, batch):
    student, teacher = networks
    objective = Distillation(teacher.train(), losses.GraphDistillation(), 25.0)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    objective(student.train(), *batch).loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert any(parameter.grad.abs().sum() > 0 for parameter in student.parameters())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} changed"


def test_only_the_layers_named_are_compared(networks, batch):
    student, teacher = (network.eval() for network in networks)
    images, labels = batch
    criterion = losses.RelationalDistillation()
    step = Distillation(teacher, criterion, 1.0, layers=["pool"])(student, images, labels)
    pools = [network(images, return_representations=True)[1][2] for network in (student, teacher)]
    torch.testing.assert_close(step.parts["distillation"], criterion(pools[:1], pools[1:]))


def test_a_layer_that_does_not_exist_is_named(networks):
    with pytest.raises(ValueError, match="no layer 'stage9'; it has stage1, stage2, pool"):
        select_layers(networks[0], [], ["stage9"])


def test_a_loss_is_given_what_its_parameters_name(networks, batch):
    class LogitGap(nn.Module):
        def forward(self, teacher_logits, student_logits):
            return (teacher_logits - student_logits).square().mean()

    student, teacher = (network.eval() for network in networks)
    step = Distillation(teacher, LogitGap(), 2.0)(student, *batch)
    torch.testing.assert_close(step.parts["distillation"], (teacher(batch[0]) - student(batch[0])).square().mean())


# --- Section 4.2 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", [losses.LabelVariation(), losses.Triplet()])
def test_metric_learning_is_the_weighted_loss_of_the_outputs_alone(networks, batch, criterion):
    student, _ = networks
    student.eval()
    images, labels = batch
    step = MetricLearning(criterion, 0.01)(student, images, labels)
    expected = criterion(student(images), labels)
    assert step.parts.keys() == {"embedding"}
    torch.testing.assert_close(step.parts["embedding"], expected)
    torch.testing.assert_close(step.loss, 0.01 * expected)


def test_outputs_that_are_embeddings_are_not_taken_for_logits(networks, batch):
    assert MetricLearning(losses.LabelVariation(), 1.0)(networks[0], *batch).logits is None


def test_every_weight_of_an_embedding_is_trained(networks, batch):
    student, _ = networks
    MetricLearning(losses.LabelVariation(reduction="mean"), 1.0)(student.train(), *batch).loss.backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in student.parameters())


# --- Section 4.3 --------------------------------------------------------------------------------------------------


def test_the_regulariser_is_added_with_its_weight(networks, batch):
    student, _ = networks
    student.eval()
    images, labels = batch
    criterion = losses.LabelVariationRegularizer(power=2)
    step = Robust(criterion, 0.25)(student, images, labels)
    logits, representations = student(images, return_representations=True)
    smoothness = criterion(representations, labels)
    assert smoothness > 0
    torch.testing.assert_close(step.parts["task"], F.cross_entropy(logits, labels))
    torch.testing.assert_close(step.parts["smoothness"], smoothness)
    torch.testing.assert_close(step.loss, F.cross_entropy(logits, labels) + 0.25 * smoothness)
    torch.testing.assert_close(step.logits, logits)


def test_without_a_defence_robust_training_is_cross_entropy(networks, batch):
    student, _ = networks
    student.eval()
    plain, robust = CrossEntropy()(student, *batch), Robust()(student, *batch)
    assert torch.equal(plain.loss, robust.loss)
    assert plain.parts.keys() == robust.parts.keys() == {"task"}
    assert torch.equal(plain.logits, robust.logits)


@pytest.mark.parametrize("regularizer", [None, losses.LabelVariationRegularizer()])
def test_with_an_attack_every_term_is_on_the_attacked_images(networks, batch, regularizer):
    student, _ = networks
    student.eval()
    images, labels = batch
    seen = []

    def darken(model, images, labels):
        seen.append((model, images, labels))
        return 0.5 * images

    attacked = Robust(regularizer, 0.5, darken)(student, images, labels)
    by_hand = Robust(regularizer, 0.5)(student, 0.5 * images, labels)
    ((model, given, truth),) = seen
    assert model is student and given is images and truth is labels
    assert torch.equal(attacked.loss, by_hand.loss)
    assert torch.equal(attacked.logits, by_hand.logits)
    assert not torch.equal(attacked.loss, Robust(regularizer, 0.5)(student, images, labels).loss)


def test_an_attack_on_a_network_in_training_leaves_it_there_and_adds_no_gradient(networks, batch):
    student, _ = networks
    images, labels = batch
    student.train()
    attack = partial(attacks.pgd, epsilon=0.03, step_size=0.01, steps=2)
    before = {name: value.clone() for name, value in student.named_buffers()}
    attack(student, images, labels)
    assert student.training
    assert all(parameter.grad is None for parameter in student.parameters())
    # statistics of attacked images on the way would not be those of the images trained on
    assert all(torch.equal(value, before[name]) for name, value in student.named_buffers())
    objective = Robust(attack=attack)
    assert objective(student, images, labels).loss > Robust()(student, images, labels).loss
