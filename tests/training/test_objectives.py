import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lgg
from lgg import attacks, losses, models
from lgg.defences import Adversarial, Defence, Parseval, Regularizer, Term
from lgg.errors import ConfigError, SignedRepresentations
from lgg.training.objectives import CrossEntropy, Distillation, MetricLearning, Robust


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


@pytest.fixture
def deep_teacher():
    torch.manual_seed(2)
    return models.build("preact_resnet18", num_classes=3, base_width=2, bottleneck=5)


def test_layers_are_compared_in_pairs_of_a_teachers_and_a_students(networks, deep_teacher, batch):
    student, images = networks[0].eval(), batch[0]
    criterion = losses.RelationalDistillation()
    pairs = [("final.relu", "pool"), ["block3.relu1", "stage1"]]
    step = Distillation(deep_teacher, criterion, 1.0, pairs)(student, *batch)
    _, (stage1, _, pool) = student(images, return_representations=True)
    theirs = deep_teacher(images, return_representations=True)[1]
    expected = (criterion([pool], [theirs[16]]) + criterion([stage1], [theirs[4]])) / 2
    torch.testing.assert_close(step.parts["distillation"], expected)


def test_all_layers_are_compared_only_if_there_are_equally_many(networks, deep_teacher, batch):
    with pytest.raises(ValueError, match=r"teacher has 18 .*block1\.relu1, .* student 3 \(stage1, stage2, pool\)"):
        Distillation(deep_teacher, losses.GraphDistillation(), 1.0)(networks[0], *batch)
    # a loss on logits does not compare layers
    assert Distillation(deep_teacher, losses.HintonDistillation(4.0), 1.0)(networks[0], *batch).loss.isfinite()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["stage9"], "the student has no layer 'stage9'; it has stage1, stage2, pool"),
        ([("final.relu", "pool")], "the teacher has no layer 'final.relu'; it has stage1, stage2, pool"),
        ([("pool", "pool", "pool")], "pairs of a teacher's layer and a student's"),
        ([("pool", 3)], "pairs of a teacher's layer and a student's"),
    ],
)
def test_layers_that_cannot_be_compared_are_named(networks, batch, layers, message):
    student, teacher = networks
    with pytest.raises(ValueError, match=message):
        Distillation(teacher, losses.RelationalDistillation(), 1.0, layers)(student, *batch)


def test_layers_with_negative_outputs_are_named_where_cosines_need_others(networks, deep_teacher, batch):
    cosine = losses.GraphDistillation()
    with pytest.raises(SignedRepresentations, match="layer 'bottleneck' of the teacher has negative values"):
        Distillation(deep_teacher, cosine, 1.0, [("final.relu", "pool"), ("bottleneck", "pool")])(networks[0], *batch)
    with pytest.raises(SignedRepresentations, match="layer 'bottleneck' has negative values"):
        Robust([Regularizer()])(deep_teacher, *batch)
    Robust([Regularizer(similarity="rbf")])(deep_teacher, *batch)


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


# --- Section 4.3: with defences -----------------------------------------------------------------------------------


class Darken(Defence):
    """Halves the images and adds `light`."""

    def __init__(self, light=0.0):
        self.light, self.seen = light, []

    def inputs(self, model, images, labels):
        self.seen.append((model, images, labels))
        return 0.5 * images + self.light


class MeanOf(Defence):
    """Adds the mean of a representation."""

    def __init__(self, name, weight, layer):
        self.name, self.weight, self.layer = name, weight, layer

    def term(self, outputs):
        return Term(self.name, outputs.representations[self.layer].mean(), self.weight)


class Count(Defence):
    """Records the arguments of its hook."""

    def __init__(self, calls, name):
        self.calls, self.name = calls, name

    def after_step(self, model):
        self.calls.append((self.name, model))


def test_without_a_defence_robust_training_is_cross_entropy(networks, batch):
    student, _ = networks
    student.eval()
    plain, robust = CrossEntropy()(student, *batch), Robust()(student, *batch)
    assert torch.equal(plain.loss, robust.loss)
    assert plain.parts.keys() == robust.parts.keys() == {"task"}
    assert torch.equal(plain.logits, robust.logits)


@pytest.mark.parametrize("attacked", [False, True])
def test_the_objective_of_the_paper_s_defences_is_its_formula(networks, batch, attacked):
    """L_task + γ L_reg, on PGD's images where there is an attack, in the same bits; Parseval adds nothing to it."""
    student, _ = networks
    student.eval()
    images, labels = batch
    defences = [Adversarial(0.03, 0.01, 2, random_start=False)] if attacked else []
    step = Robust([*defences, Parseval(0.01), Regularizer(0.25, power=2)])(student, images, labels)
    if attacked:
        images = attacks.pgd(student, images, labels, epsilon=0.03, step_size=0.01, steps=2)
    logits, representations = student(images, return_representations=True)
    task = F.cross_entropy(logits, labels)
    variations = torch.stack([lgg.cosine_label_variation(one, labels, power=2) for one in representations])
    change = (variations[1:] - variations[:-1]).abs().mean()
    assert list(step.parts) == ["task", "regularizer"]
    assert torch.equal(step.parts["task"], task)
    assert torch.equal(step.logits, logits)
    torch.testing.assert_close(step.parts["regularizer"], change)
    assert torch.equal(step.loss, task + 0.25 * step.parts["regularizer"])


def test_random_starts_come_from_the_generator_that_is_given(networks, batch):
    student, _ = networks
    objective = Robust([Parseval(), Adversarial(0.1, 0.01, 1)])
    losses_of = []
    for seed in (0, 0, 1):
        objective.draw_from(torch.Generator().manual_seed(seed))
        before = torch.get_rng_state()
        losses_of.append(objective(student.eval(), *batch).loss.item())
        assert torch.equal(torch.get_rng_state(), before)
    assert losses_of[0] == losses_of[1] != losses_of[2]


def test_each_defence_gets_the_images_of_the_one_before_and_terms_those_of_the_last(networks, batch):
    student, _ = networks
    student.eval()
    images, labels = batch
    first, second = Darken(0.1), Darken()
    step = Robust([first, MeanOf("bright", 2.0, 0), second])(student, images, labels)
    assert first.seen[0][1] is images
    assert torch.equal(second.seen[0][1], 0.5 * images + 0.1)
    assert second.seen[0][0] is student and second.seen[0][2] is labels
    _, representations = student(0.25 * images + 0.05, return_representations=True)
    torch.testing.assert_close(step.parts["bright"], representations[0].mean())


def test_terms_add_up_with_their_weights(networks, batch):
    student, _ = networks
    student.eval()
    images, labels = batch
    step = Robust([MeanOf("one", 2.0, 0), MeanOf("other", -0.5, 2)])(student, images, labels)
    logits, representations = student(images, return_representations=True)
    assert list(step.parts) == ["task", "one", "other"]
    expected = F.cross_entropy(logits, labels) + 2.0 * representations[0].mean() - 0.5 * representations[2].mean()
    torch.testing.assert_close(step.loss, expected)


@pytest.mark.parametrize("name", ["task", "loss", "train_error", "one"])
def test_a_term_whose_column_is_taken_is_refused(networks, batch, name):
    with pytest.raises(ConfigError, match=f"'{name}', but the history has another such column: rename the term"):
        Robust([MeanOf("one", 1.0, 0), MeanOf(name, 1.0, 0)])(networks[0], *batch)


def test_every_defence_is_called_after_a_step(networks):
    calls = []
    Robust([Count(calls, "a"), Darken(), Count(calls, "b")]).after_step(networks[0])
    assert calls == [("a", networks[0]), ("b", networks[0])]


def test_representations_are_asked_for_only_where_a_term_may_need_them(batch):
    asked = []

    def network(images, return_representations=False):
        asked.append(return_representations)
        logits = images.mean(dim=(2, 3))
        return (logits, [images]) if return_representations else logits

    network.layers = ("images",)
    for defences in ([], [Darken(), Parseval()], [MeanOf("one", 1.0, 0)]):
        Robust(defences)(network, *batch)
    assert asked == [False, False, True]


def test_adversarial_training_leaves_the_network_in_training_and_adds_no_gradient(networks, batch):
    student, _ = networks
    images, labels = batch
    student.train()
    defence = Adversarial(epsilon=0.03, step_size=0.01, steps=2)
    before = {name: value.clone() for name, value in student.named_buffers()}
    defence.inputs(student, images, labels)
    assert student.training
    assert all(parameter.grad is None for parameter in student.parameters())
    # statistics of attacked images on the way would not be those of the images trained on
    assert all(torch.equal(value, before[name]) for name, value in student.named_buffers())
    assert Robust([defence])(student, images, labels).loss > Robust()(student, images, labels).loss
