"""FGSM and PGD compared with closed forms, explicit definitions and foolbox."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lgg import models
from lgg.attacks import evaluation_mode, fgsm, loss_gradient, noise_scale, pgd
from lgg.models.base import ImageClassifier

MEAN, STD = (0.5, 0.25, 0.125), (0.25, 0.5, 2.0)
SEARCH = {"epsilon": 0.03, "step_size": 0.01, "steps": 4}


class Linear(ImageClassifier):
    """Logits that are linear in the pixels, so gradients and the worst image of a ball have a closed form."""

    layers = ()

    def __init__(self, classes=3, side=4):
        super().__init__(MEAN, STD)
        self.classifier = nn.Linear(3 * side * side, classes)

    def _compute(self, x):
        return self.classifier(x.flatten(1)), []


def linear(classes=3):
    torch.manual_seed(0)
    return Linear(classes).double().eval()


def network(seed=0, base_width=2):
    """A float64 network, so that rounding flips no sign, with non-trivial batch normalisation and no dominant class."""
    torch.manual_seed(seed)
    model = models.build("preact_resnet18", num_classes=3, base_width=base_width).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    with torch.no_grad():
        model.classifier.bias -= model(draw()[0]).mean(dim=0)
    return model


def draw(count=6, side=16, lowest=0.0, highest=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = lowest + (highest - lowest) * torch.rand(count, 3, side, side, dtype=torch.float64, generator=generator)
    return images, torch.randint(3, (count,), generator=generator)


def losses_of(model, images, labels):
    with torch.no_grad():
        return F.cross_entropy(model(images), labels, reduction="none")


def is_wrong(model, images, labels):
    with torch.no_grad():
        return model(images).argmax(dim=1) != labels


def attacks():
    return [
        pytest.param(lambda *given: fgsm(*given), id="fgsm"),
        pytest.param(lambda *given: fgsm(*given, form="normalized"), id="fgsm_normalized"),
        pytest.param(lambda *given: pgd(*given, **SEARCH), id="pgd"),
        pytest.param(lambda *given: pgd(*given, **SEARCH, restarts=2, random_start=True), id="pgd_restarts"),
    ]


# Gradients


def test_gradient_of_a_linear_network_is_its_closed_form():
    """With logits W·(x − mean)/std + b and class probabilities p it is Wᵀ(p − one-hot)/std."""
    model = linear()
    images, labels = draw(side=4)
    p = model(images).softmax(dim=1)
    closed = ((p - F.one_hot(labels, 3)) @ model.classifier.weight).reshape(images.shape) / model.std
    torch.testing.assert_close(loss_gradient(model, images, labels), closed)
    scales = noise_scale(images, 33.0)
    torch.testing.assert_close(fgsm(model, images, labels), (images + scales * closed.sign()).clamp(0, 1))


def test_gradient_agrees_with_finite_differences():
    model = network()
    images, labels = draw(count=2, side=8)
    gradient = loss_gradient(model, images, labels)
    step = 1e-6
    for image in range(2):
        for channel, row, column in ((0, 0, 0), (1, 3, 5), (2, 7, 2), (0, 4, 4), (2, 1, 6)):
            moved = images.clone()
            moved[image, channel, row, column] += step
            above = losses_of(model, moved, labels)[image]
            moved[image, channel, row, column] -= 2 * step
            below = losses_of(model, moved, labels)[image]
            expected = (above - below) / (2 * step)
            torch.testing.assert_close(gradient[image, channel, row, column], expected, rtol=1e-4, atol=1e-8)


def test_gradient_of_an_image_does_not_depend_on_the_others():
    model = network()
    images, labels = draw()
    alone = torch.cat([loss_gradient(model, images[i : i + 1], labels[i : i + 1]) for i in range(len(images))])
    torch.testing.assert_close(loss_gradient(model, images, labels), alone)


# FGSM


def test_noise_scale_is_its_definition():
    x, _ = draw(count=3, side=4)
    for snr in (33.0, 0.0, -6.0):
        for image, scale in zip(x, noise_scale(x, snr), strict=True):
            squares = sum(value.item() ** 2 for value in image.flatten())
            expected = math.sqrt(squares) / (math.sqrt(3 * 4 * 4) * 10 ** (snr / 20))
            assert scale.item() == pytest.approx(expected, rel=1e-12)


def decibels(signal, noise):
    return 20 * torch.log10(signal.flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1))


@settings(max_examples=25, deadline=None)
@given(snr=st.floats(20, 60), seed=st.integers(0, 1000))
def test_signal_to_noise_ratio_is_exact(snr, seed):
    """From 20 dB the noise is at most a tenth of the root mean square, so these images are not clamped."""
    model = linear()
    images, labels = draw(side=4, lowest=0.3, highest=0.7, seed=seed)
    assert (loss_gradient(model, images, labels) != 0).all()
    expected = torch.full((len(images),), snr, dtype=torch.float64)
    torch.testing.assert_close(decibels(images, fgsm(model, images, labels, snr) - images), expected)
    attacked = fgsm(model, images, labels, snr, form="normalized")
    before, after = ((x - model.mean) / model.std for x in (images, attacked))
    torch.testing.assert_close(decibels(before, after - before), expected)


def test_ratio_of_the_paper_is_the_default():
    model = network()
    images, labels = draw(lowest=0.2, highest=0.8)
    for form in ("pixels", "normalized"):
        assert torch.equal(fgsm(model, images, labels, form=form), fgsm(model, images, labels, 33.0, form=form))
    noise = fgsm(model, images, labels) - images
    torch.testing.assert_close(decibels(images, noise), torch.full((len(images),), 33.0, dtype=torch.float64))


def test_pixels_are_clamped_and_normalized_images_are_not():
    model = network()
    images, labels = draw()
    extreme = images.round()
    attacked = fgsm(model, extreme, labels, 10.0)
    assert attacked.min() >= 0 and attacked.max() <= 1
    attacked = fgsm(model, extreme, labels, 10.0, form="normalized")
    assert attacked.min() < 0 and attacked.max() > 1


@pytest.mark.parametrize("form", ["pixels", "normalized"])
def test_infinite_ratio_does_not_change_the_images(form):
    images, labels = draw()
    assert torch.equal(fgsm(network(), images, labels, math.inf, form=form), images)


@pytest.fixture
def foolbox(monkeypatch):
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")  # it imports GitPython, which looks for git
    import foolbox

    return foolbox


def test_fgsm_is_that_of_foolbox(foolbox):
    """Foolbox takes one radius per batch, so images are passed one by one."""
    model = network()
    images, labels = draw(count=12)
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    theirs = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    ours = fgsm(model, images, labels, 33.0)
    assert 0 < is_wrong(model, ours, labels).sum() < len(images)
    for image, label, attacked, scale in zip(images, labels, ours, noise_scale(images, 33.0), strict=True):
        expected, _, fooled = foolbox.attacks.LinfFastGradientAttack(random_start=False)(
            theirs, image[None], label[None], epsilons=scale.item()
        )
        torch.testing.assert_close(attacked[None], expected, rtol=0, atol=1e-12)
        assert torch.equal(is_wrong(model, attacked[None], label[None]), fooled)


def test_unknown_form_is_refused():
    images, labels = draw()
    with pytest.raises(ValueError, match="form must be one of pixels, normalized, not 'unclamped'"):
        fgsm(network(), images, labels, form="unclamped")


def test_normalized_form_needs_the_network_s_constants():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).double()
    images, labels = draw(side=4)
    assert fgsm(model, images, labels).shape == images.shape
    with pytest.raises(ValueError, match=r"Sequential has none.*'pixels'"):
        fgsm(model, images, labels, form="normalized")


# PGD


def test_pgd_of_two_linear_classes_reaches_the_worst_image():
    """The loss increases along w_other − w_true, so the worst image of the ball is one of its corners."""
    model = linear(classes=2)
    images, _ = draw(side=4)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    weight = model.classifier.weight.detach()
    direction = (weight[1 - labels] - weight[labels]).reshape(images.shape).sign()
    worst = (images + 0.1 * direction).clamp(0, 1)
    found = pgd(model, images, labels, epsilon=0.1, step_size=0.03, steps=4)
    torch.testing.assert_close(found, worst)
    # from anywhere in the ball, its opposite side is at most 2ε away
    found = pgd(model, images, labels, epsilon=0.1, step_size=0.03, steps=7, random_start=True)
    torch.testing.assert_close(found, worst)


@pytest.mark.parametrize("steps", [1, 5])
def test_pgd_is_that_of_foolbox(foolbox, steps):
    model = network()
    images, labels = draw()
    theirs = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=0.01, steps=steps, random_start=False)
    # foolbox returns images that are already misclassified unchanged, so its search itself is compared
    expected = attack.run(theirs, images, foolbox.criteria.Misclassification(labels), epsilon=0.03)
    found = pgd(model, images, labels, epsilon=0.03, step_size=0.01, steps=steps)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(
    epsilon=st.floats(0, 0.6),
    step_size=st.floats(1e-3, 1),
    steps=st.integers(1, 3),
    random_start=st.booleans(),
    restarts=st.integers(1, 2),
)
def test_pgd_stays_in_the_ball_and_in_range(epsilon, step_size, steps, random_start, restarts):
    images, labels = draw(side=4)
    found = pgd(
        linear(),
        images,
        labels,
        epsilon=epsilon,
        step_size=step_size,
        steps=steps,
        random_start=random_start,
        restarts=restarts,
        generator=torch.Generator().manual_seed(0),
    )
    assert (found - images).abs().max() <= epsilon + 1e-15
    assert found.min() >= 0 and found.max() <= 1


def test_pgd_raises_the_loss():
    model = network()
    images, labels = draw(count=12)
    found = pgd(model, images, labels, epsilon=0.02, step_size=0.002, steps=10)
    assert losses_of(model, found, labels).mean() > losses_of(model, images, labels).mean()
    start = pgd(model, images, labels, epsilon=0.02, step_size=0.002, steps=1)
    assert losses_of(model, found, labels).mean() > losses_of(model, start, labels).mean()


@pytest.mark.parametrize("random_start", [False, True])
def test_restarts_choose_as_defined(random_start):
    """The starts draw from the generator one after another, so each can be reproduced separately."""
    model = network()
    images, labels = draw(count=24)
    # all images are classified correctly at first, and only some starts fool the network
    with torch.no_grad():
        labels = model(images).argsort(dim=1)[:, -1]
    search = {"epsilon": 0.02, "step_size": 0.004, "steps": 1}
    generator = torch.Generator().manual_seed(3)
    starts = [pgd(model, images, labels, **search, random_start=random_start, generator=generator)]
    starts += [pgd(model, images, labels, **search, random_start=True, generator=generator) for _ in range(3)]
    generator = torch.Generator().manual_seed(3)
    found = pgd(model, images, labels, **search, restarts=4, random_start=random_start, generator=generator)
    losses = [losses_of(model, start, labels) for start in starts]
    wrong = [is_wrong(model, start, labels) for start in starts]
    assert (torch.stack(wrong).any(dim=0) & ~torch.stack(wrong).all(dim=0)).any()
    chosen = []
    for image in range(len(images)):
        best = max(range(4), key=lambda start: (wrong[start][image].item(), losses[start][image].item()))
        best = next((start for start in range(4) if wrong[start][image]), best)
        assert torch.equal(found[image], starts[best][image])
        chosen.append(best)
    assert len(set(chosen)) > 1


def test_misclassification_is_preferred_to_loss():
    """Logits depend on one value: below 0.5, class 0 barely wins among three and the loss is near log 3; above it, class 0
    barely loses to class 1 while class 2 is excluded, and the loss is only near log 2.
    """

    class Valley(nn.Module):
        def forward(self, x):
            v = x[:, 0, 0, 0] - 0.5
            left = torch.stack([-0.01 * v, torch.zeros_like(v), torch.zeros_like(v)], dim=1)
            right = torch.stack([torch.zeros_like(v), 0.1 * v, torch.full_like(v, -20)], dim=1)
            return torch.where(v[:, None] < 0, left, right)

    model = Valley()
    images = torch.full((1, 3, 2, 2), 0.45, dtype=torch.float64)
    labels = torch.tensor([0])
    search = {"epsilon": 0.4, "step_size": 0.001, "steps": 1}
    first = pgd(model, images, labels, **search)
    found = pgd(model, images, labels, **search, restarts=12, generator=torch.Generator().manual_seed(0))
    assert not is_wrong(model, first, labels)
    assert is_wrong(model, found, labels)
    assert losses_of(model, found, labels) < losses_of(model, first, labels)


def test_random_starts_come_from_the_generator():
    model = network()
    images, labels = draw()

    def found(seed, **options):
        generator = torch.Generator().manual_seed(seed)
        return pgd(model, images, labels, **SEARCH, **options, generator=generator)

    for options in ({"random_start": True}, {"restarts": 2, "random_start": True}):
        before = torch.get_rng_state()
        assert torch.equal(found(0, **options), found(0, **options))
        assert not torch.equal(found(0, **options), found(1, **options))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found(0), found(1))


def test_random_starts_are_uniform_in_the_ball():
    """Observed after a negligible step, on images whose ball is inside [0, 1]."""
    images, labels = draw(count=60, side=4, lowest=0.3, highest=0.7)
    generator = torch.Generator().manual_seed(0)
    search = {"epsilon": 0.2, "step_size": 1e-12, "steps": 1}
    found = pgd(linear(), images, labels, **search, random_start=True, generator=generator)
    u = (found - images).flatten() / 0.2
    count = len(u)
    assert u.abs().max() <= 1 + 1e-9
    # mean 0, mean square 1/3 and mean fourth power 1/5, within five standard errors
    for power, mean, square in ((1, 0, 1 / 3), (2, 1 / 3, 1 / 5), (4, 1 / 5, 1 / 9)):
        assert abs((u**power).mean() - mean) < 5 * math.sqrt((square - mean**2) / count)


def test_random_starts_without_a_generator_come_from_torch():
    model = network()
    images, labels = draw()
    torch.manual_seed(0)
    one, other = (pgd(model, images, labels, **SEARCH, random_start=True) for _ in range(2))
    assert not torch.equal(one, other)
    torch.manual_seed(0)
    assert torch.equal(one, pgd(model, images, labels, **SEARCH, random_start=True))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epsilon": -0.1}, "at least 0, not -0.1"),
        ({"epsilon": math.nan}, "at least 0, not nan"),
        ({"step_size": 0}, "step_size must be positive, not 0"),
        ({"step_size": math.nan}, "step_size must be positive, not nan"),
        ({"steps": 0}, "at least 1, not 0 and 1"),
        ({"restarts": 0}, "at least 1, not 4 and 0"),
    ],
)
def test_bad_arguments_of_pgd_are_refused(wrong, message):
    images, labels = draw(side=4)
    with pytest.raises(ValueError, match=message):
        pgd(linear(), images, labels, **(SEARCH | wrong))


# What an attack leaves behind, and what it costs


@pytest.mark.parametrize("attack", attacks())
def test_the_network_is_not_changed(attack):
    model = network().train()
    # a module that stays in evaluation mode while the rest is trained
    model.blocks[0].eval()
    model.classifier.bias.requires_grad_(False)
    images, labels = draw()
    F.cross_entropy(model(images), labels).backward()
    modes = [module.training for module in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = images.clone()
    attacked = attack(model, images, labels)
    assert not attacked.requires_grad
    assert torch.equal(images, before) and not torch.equal(attacked, before)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is None if gradient is None else torch.equal(parameter.grad, gradient)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("attack", attacks())
def test_modes_are_restored_after_an_error(attack):
    model = network().train()
    images, labels = draw()
    with pytest.raises((IndexError, RuntimeError)):
        attack(model, images, labels + 3)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("attack", attacks())
def test_network_is_attacked_in_evaluation_mode(attack):
    images, labels = draw()
    evaluated, trained = network(), network().train()
    torch.manual_seed(0)
    expected = attack(evaluated, images, labels)
    torch.manual_seed(0)
    assert torch.equal(attack(trained, images, labels), expected)
    assert not evaluated.training


def test_evaluation_mode_nests():
    model = network().train()
    with evaluation_mode(model):
        with evaluation_mode(model):
            pass
        assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("attack", attacks())
def test_attacks_work_with_gradients_disabled(attack):
    model = network()
    images, labels = draw()
    torch.manual_seed(0)
    expected = attack(model, images, labels)
    torch.manual_seed(0)
    with torch.no_grad():
        assert torch.equal(attack(model, images, labels), expected)


@pytest.mark.parametrize("attack", attacks())
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_memory_format_and_type_are_kept(attack, layout):
    model = network().float().to(memory_format=torch.channels_last)
    images, labels = draw()
    attacked = attack(model, images.float().contiguous(memory_format=layout), labels)
    assert attacked.is_contiguous(memory_format=layout)
    assert attacked.dtype == torch.float32


def test_pgd_can_stop_once_an_image_is_misclassified():
    """Compared with the iterates, which are the results of fewer steps."""
    model = network()
    images, labels = draw(count=40)
    with torch.no_grad():
        labels = torch.where(
            torch.arange(40) < 35, model(images).argmax(dim=1), labels
        )  # some are wrong from the start
    iterates = [images, *(pgd(model, images, labels, **(SEARCH | {"steps": n})) for n in range(1, 5))]
    wrong = torch.stack([is_wrong(model, x, labels) for x in iterates])
    first = torch.where(wrong.any(dim=0), wrong.int().argmax(dim=0), len(iterates) - 1)
    assert len(set(first.tolist())) > 2
    expected = torch.stack([iterates[step][image] for image, step in enumerate(first.tolist())])
    found = pgd(model, images, labels, **SEARCH, stop_at_success=True)
    assert torch.equal(found, expected)
    assert torch.equal(is_wrong(model, found, labels), wrong.any(dim=0))


# Saturated networks


class Scaled(nn.Module):
    """A network with the same predictions whose logits are scaled by a factor."""

    def __init__(self, model, factor):
        super().__init__()
        self.model, self.factor = model, factor
        self.mean, self.std = model.mean, model.std

    def forward(self, x):
        return self.factor * self.model(x)


def test_gradient_of_a_difference_of_logits_is_that_of_the_two_rows():
    model = linear()
    images, labels = draw(side=4)
    logits = model(images).detach()
    for image, label in enumerate(labels.tolist()):
        other = max((j for j in range(3) if j != label), key=lambda j: logits[image, j].item())
        row = (model.classifier.weight[other] - model.classifier.weight[label]).reshape(1, *images.shape[1:])
        found = loss_gradient(model, images[image : image + 1], labels[image : image + 1], loss="logit_difference")
        torch.testing.assert_close(found, row / model.std)


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(lambda *given, loss: fgsm(*given, snr=25.0, loss=loss), id="fgsm"),
        pytest.param(lambda *given, loss: fgsm(*given, snr=25.0, form="normalized", loss=loss), id="fgsm_normalized"),
        pytest.param(lambda *given, loss: pgd(*given, **SEARCH, loss=loss), id="pgd"),
        pytest.param(lambda *given, loss: pgd(*given, **SEARCH, restarts=2, loss=loss), id="pgd_restarts"),
    ],
)
def test_scaled_logits_hide_the_gradient_of_cross_entropy_but_not_of_the_logit_difference(attack):
    model = network(base_width=4).float()
    images = draw(count=40)[0].float()
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    errors = {}
    for loss in ("cross_entropy", "logit_difference"):
        for factor in (1.0, 1e6):
            torch.manual_seed(0)
            scaled = Scaled(model, factor)
            errors[loss, factor] = is_wrong(model, attack(scaled, images, labels, loss=loss), labels).sum().item()
    assert errors["logit_difference", 1e6] == errors["logit_difference", 1.0] > 0
    assert errors["cross_entropy", 1e6] < errors["cross_entropy", 1.0]


def test_unknown_loss_is_refused():
    images, labels = draw()
    for attack in (fgsm, loss_gradient, lambda *given, **more: pgd(*given, **SEARCH, **more)):
        with pytest.raises(ValueError, match="loss must be one of cross_entropy, logit_difference, not 'hinge'"):
            attack(network(), images, labels, loss="hinge")


def test_images_that_pass_through_the_network_are_counted():
    """Further starts process only images that are still classified correctly, in 4 steps and one evaluation each."""
    model = network()
    images, _ = draw()
    with torch.no_grad():
        right = model(images).argmax(dim=1)
    seen = 0

    def count(_, given):
        nonlocal seen
        seen += len(given[0])

    model.register_forward_pre_hook(count)
    wrong = (right + 1) % 3
    half = torch.where(torch.arange(len(images)) < 2, wrong, right)
    for labels, restarts, expected in (
        (right, 1, 6 * 4),
        (right, 3, 6 * 15),
        (wrong, 3, 6 * 5),
        (half, 3, 6 * 5 + 4 * 10),
    ):
        seen = 0
        # a ball of one point, in which nothing is misclassified
        pgd(model, images, labels, **(SEARCH | {"epsilon": 0.0}), restarts=restarts)
        assert seen == expected


def test_starts_do_not_depend_on_the_success_of_other_images():
    model = network()
    images, _ = draw(count=8)
    with torch.no_grad():
        right = model(images).argmax(dim=1)

    def second_batch(first_labels):
        generator = torch.Generator().manual_seed(0)
        for part, truth in ((images[:4], first_labels), (images[4:], right[4:])):
            found = pgd(model, part, truth, **SEARCH, restarts=3, generator=generator)
        return found

    assert torch.equal(second_batch(right[:4]), second_batch((right[:4] + 1) % 3))


class Convolutions(TorchDispatchMode):
    """Records for each backward pass of a convolution whether it computes gradients of input, weight and bias."""

    def __init__(self):
        super().__init__()
        self.given = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution_backward.default:
            self.given.append(tuple(args[-1]))
        return function(*args, **(kwargs or {}))


def test_gradients_of_the_weights_are_not_computed():
    model = network()
    images, labels = draw()
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    with Convolutions() as attacked:
        pgd(model, images, labels, epsilon=0.1, step_size=0.1, steps=3)
    assert attacked.given == 3 * convolutions * [(True, False, False)]
    with Convolutions() as trained:
        F.cross_entropy(model(images), labels).backward()
    assert sum(weight for _, weight, _ in trained.given) == convolutions


@pytest.mark.parametrize("attack", attacks())
def test_training_under_autocast_works_after_an_attack(attack):
    """Autocast caches cast weights; gradients must still flow to the weights after those cached by the attack."""
    images, labels = draw()
    images = images.float()
    gradients = []
    for attacked in (False, True):
        model = network().float().train()
        with torch.autocast("cpu", torch.bfloat16):
            if attacked:
                found = attack(model, images, labels)
                assert found.dtype == torch.float32 and found.isfinite().all()
            loss = F.cross_entropy(model(images).float(), labels)
        loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_pgd_under_autocast_raises_the_loss():
    model = network(base_width=4).float()
    images, labels = draw(count=12)
    images = images.float()
    with torch.autocast("cpu", torch.bfloat16):
        found = pgd(model, images, labels, epsilon=0.03, step_size=0.005, steps=6)
    assert (found - images).abs().max() <= 0.03 + 1e-6
    assert losses_of(model, found, labels).mean() > losses_of(model, images, labels).mean()


# Within a captured step


class Elsewhere(TorchDispatchMode):
    """Records the tensors outside the meta device that operations are given or return."""

    def __init__(self):
        super().__init__()
        self.strangers, self.operations = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        self.strangers += [function.__name__ for x in tensors if x.device.type != "meta"]
        self.operations += 1
        return result


@pytest.mark.parametrize("loss", ["cross_entropy", "logit_difference"])
def test_one_start_of_pgd_neither_reads_from_nor_copies_to_the_device(loss):
    """The meta device represents a GPU whose steps are captured: reading a value from it fails."""
    model = network().to("meta").train()
    images, labels = (tensor.to("meta") for tensor in draw())
    before = torch.get_rng_state()
    with Elsewhere() as mode:
        found = pgd(model, images, labels, **SEARCH, random_start=True, loss=loss, stop_at_success=True)
    assert found.shape == images.shape and found.device.type == "meta"
    assert mode.operations and not mode.strangers
    assert torch.equal(torch.get_rng_state(), before)
    # the guard notices both
    with Elsewhere() as mode:
        images + torch.rand(images.shape).to("meta")
    assert mode.strangers
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        pgd(model, images, labels, **SEARCH, restarts=2)
