"""Defences by name, what each does to a network, and what tables say of them; their objective is in tests/training."""

import inspect
import subprocess
import sys

import pytest
import torch

from lgg import attacks, defences, losses, models
from lgg.defences import Adversarial, Defence, Parseval, Regularizer
from lgg.defences.base import architecture_of
from lgg.errors import ConfigError

OPTIONS = {
    "regularizer": {"weight": 0.5, "power": 1, "reduction": "sum", "k": 3, "normalize": True, "similarity": "rbf"},
    "parseval": {"beta": 0.02},
    "adversarial": {"epsilon": 0.1, "step_size": 0.05, "steps": 3, "random_start": False},
}


def network():
    torch.manual_seed(0)
    return models.build("wide_resnet", num_classes=2, depth=10, width=0.25)


def batch():
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return images, torch.arange(6) % 2


def test_every_public_name_resolves():
    for name in defences.__all__:
        assert callable(getattr(defences, name))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_defence_is_built_by_the_name_of_its_module_with_its_options(name):
    built = defences.build(name, **OPTIONS[name])
    assert isinstance(built, Defence)
    assert type(built).__module__ == f"lgg.defences.{name}"
    assert {option: getattr(built, option) for option in OPTIONS[name]} == OPTIONS[name]


@pytest.mark.parametrize("name", ["smoothness", "base", "Parseval"])
def test_an_unknown_defence_is_refused(name):
    with pytest.raises(ValueError, match=f"no defence '{name}'; there are adversarial.*, parseval, regularizer"):
        defences.build(name)


def test_making_and_describing_them_imports_no_torch():
    code = (
        "import sys; from lgg import defences\n"
        "for name in ('regularizer', 'parseval', 'adversarial'): print(defences.build(name).sentence)\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("defence", "sentence"),
    [
        (Regularizer(), "regularizer with γ = 0.0001, p = 2, mean over layers"),
        (
            Regularizer(0.1, power=1, reduction="sum", k=5, normalize=True, similarity="rbf", rbf_scale=1.5),
            "regularizer with γ = 0.1, p = 1, sum over layers, 5 neighbours, normalised graphs, rbf kernel with α = 1.5",
        ),
        (Parseval(), "Parseval with β = 0.01"),
        (Adversarial(), "PGD within ε = 0.0314 from a random start, 7 step(s) of 0.00784"),
        (Adversarial(0.1, 0.05, 1, False), "PGD within ε = 0.1 from the image, 1 step(s) of 0.05"),
    ],
)
def test_sentences(defence, sentence):
    assert defence.sentence == sentence


def test_options_of_the_regularizer_are_those_of_its_loss_with_the_same_defaults():
    own = dict(inspect.signature(Regularizer).parameters)
    del own["weight"]
    loss = inspect.signature(losses.LabelVariationRegularizer).parameters
    assert {name: one.default for name, one in own.items()} == {name: one.default for name, one in loss.items()}


def test_options_reach_the_regularizer_s_loss():
    built = defences.build("regularizer", **OPTIONS["regularizer"], rbf_scale=0.7).loss
    options = OPTIONS["regularizer"] | {"rbf_scale": 0.7}
    assert {name: getattr(built, name) for name in options if name != "weight"} == {
        name: value for name, value in options.items() if name != "weight"
    }


def test_options_of_adversarial_training_are_those_of_pgd():
    assert set(inspect.signature(Adversarial).parameters) <= set(inspect.signature(attacks.pgd).parameters)


def test_parseval_retracts_the_weights_of_a_network_that_is_built_for_it():
    model, other = network(), network()
    Parseval(0.02).after_step(model)
    losses.parseval_retract_(other, 0.02)
    assert all(map(torch.equal, model.parameters(), other.parameters()))
    assert architecture_of([Regularizer(), Parseval()]) == {"parseval": True}
    build = models.build("preact_resnet18", num_classes=2, base_width=1, **Parseval.architecture)
    assert build.conv.scale is not None


def test_what_a_defence_leaves_out_changes_nothing():
    model, (images, labels) = network(), batch()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    defence = Defence()
    assert defence.inputs(model, images, labels) is None
    defence.after_step(model)
    assert all(map(torch.equal, model.parameters(), before))
    assert architecture_of([defence]) == {}
    assert defence.sentence == "Defence"


def test_defences_that_build_a_network_differently_are_refused():
    class Plain(Defence):
        architecture = {"parseval": False}  # noqa: RUF012

    assert architecture_of([Parseval(), Parseval()]) == {"parseval": True}
    with pytest.raises(ConfigError, match="differently: parseval = True, but False for Plain"):
        architecture_of([Parseval(), Plain()])
