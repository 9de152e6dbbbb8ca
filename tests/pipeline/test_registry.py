import inspect

import pytest
import torch
from configurations import configured
from torch import nn

import lgg.defences
import lgg.losses
import lgg.models
from lgg import losses
from lgg.errors import ConfigError
from lgg.pipeline import registry
from lgg.pipeline.digest import import_closure
from lgg.training.objectives import Distillation, MetricLearning


def test_every_loss_is_there_with_the_arguments_of_its_class():
    assert set(registry.losses()) >= {
        "graph_distillation",
        "hinton",
        "relational",
        "label_variation",
        "regularizer",
        "triplet",
    }
    for module, name in registry.losses().items():
        loss = getattr(lgg.losses, name)
        assert loss.__module__ == f"lgg.losses.{module}"
        own = inspect.signature(loss).parameters if "__init__" in vars(loss) else {}
        expected = {key: parameter.default is parameter.empty for key, parameter in own.items()}
        assert registry.loss_arguments(module) == expected


FUNCTIONS = (
    registry.losses, registry.defences, registry.networks, registry.loss_arguments, registry.defence_arguments,
    registry.network_arguments, registry.network_layers,
)  # fmt: skip


def forget():
    for function in FUNCTIONS:
        function.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return an empty package with a loss, a network and a defence that are registered but not written yet."""
    tables = {
        "losses": '{"Toy": ".toy", "helper": ".toy"}',
        "models": '{"toy": ("toy", "Toy")}',
        "defences": '{"Toy": ".toy", "Defence": ".base"}',
    }
    for folder, table in tables.items():
        (tmp_path / "lgg" / folder).mkdir(parents=True)
        (tmp_path / "lgg" / folder / "__init__.py").write_text(f"_EXPORTS = {table}\n")
    monkeypatch.setattr(registry, "PACKAGE", tmp_path / "lgg")
    forget()
    yield tmp_path / "lgg"
    forget()


def test_arguments_of_any_kind_are_found(package):
    (package / "losses/toy.py").write_text("class Toy:\n    def __init__(self, a, /, b, c=1, *, d, e=2): ...\n")
    assert registry.losses() == {"toy": "Toy"}
    assert registry.loss_arguments("toy") == {"a": True, "b": True, "c": False, "d": True, "e": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no file lgg/losses/toy.py"),
        ("class Tay: ...\n", "lgg/losses/toy.py has no class Toy"),
        ("class Toy:\n    def forward(self:\n", r"lgg/losses/toy.py, line 2: this is not Python: "),
        ("x = 1\nclass Toy: é\udcff", r"lgg/losses/toy.py"),
        ("class Toy: \0", r"lgg/losses/toy.py"),
    ],
)
def test_registered_code_that_cannot_be_read_is_reported(package, text, message):
    if text:
        (package / "losses/toy.py").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=message):
        registry.loss_arguments("toy")


@pytest.mark.parametrize(
    ("table", "message"),
    [("{'Toy': '.toy'", "line 1: this is not Python"), ("{'Toy': toy}", "line 1: _EXPORTS may only hold quoted names")],
)
def test_a_table_that_cannot_be_read_is_reported(package, table, message):
    (package / "losses/__init__.py").write_text(f"_EXPORTS = {table}\n")
    with pytest.raises(ValueError, match=f"lgg/losses/__init__.py, {message}"):
        registry.losses()


# --- how a loss is called: what is refused is what a training cannot call ---------------------------------------------

FORWARDS = [
    "(self, student_logits)",
    "(self, student_logits, /)",
    "(self, student_logits, labels, /)",
    "(self, labels, teacher_representations, student_representations)",
    "(self, student_reps, teacher_reps)",
    "(self, student_logits, temperature)",
    "(self, student_logits, temperature=2.0)",
    "(self, student_logits, *, labels)",
    "(self, student_logits, *, epoch)",
    "(self, student_logits, *rest)",
    "(self, **given)",
    "(self, student_logits, **given)",
    "(self, epoch, **given)",
    "(*everything, labels)",
    "()",
    "(self, embeddings, labels)",
    "(self, embeddings, labels, margin=1.0)",
    "(self, embeddings, labels, margin)",
    "(self, embeddings)",
    "(self, embeddings, labels, *, margin)",
]


def written(forward, decorator=""):
    return f"from torch import nn\n\nclass Toy(nn.Module):\n    {decorator}\n    def forward{forward}:\n        return 0.0\n"


def loss_of(text):
    names = {}
    exec(text, names)
    return names["Toy"]()


class Network:
    """A stand-in for a teacher and a student of one representation."""

    layers = ("one",)

    def eval(self):
        return self

    def requires_grad_(self, _):
        return self

    def __call__(self, _, return_representations=False):
        logits = torch.zeros(2, 3)
        return (logits, [logits]) if return_representations else logits


IMAGES, LABELS = torch.zeros(2, 3, 4, 4), torch.tensor([0, 1])


def distil(loss):
    Distillation(Network(), loss, 1.0)(Network(), IMAGES, LABELS)


def embed(loss):
    MetricLearning(loss, 1.0)(Network(), IMAGES, LABELS)


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(
    ("check", "train"),
    [
        (registry.check_distillation_loss, distil),
        (registry.check_embedding_loss, embed),
    ],
    ids=["distillation", "embedding"],
)
def test_a_loss_is_refused_just_where_no_training_can_call_it(package, check, train, forward):
    (package / "losses/toy.py").write_text(written(forward))
    try:
        check("toy")
    except ValueError as error:
        assert "lgg/losses/toy.py" in str(error) and "forward" in str(error)
        with pytest.raises((TypeError, ValueError)):
            train(loss_of(written(forward)))
    else:
        train(loss_of(written(forward)))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ("(self)", "takes none of the arguments it is given"),
        ("(self, *rest)", "takes none of the arguments it is given"),
        ("(self, student_reps=None)", "takes none of the arguments it is given"),
        ("(student_logits, labels)", "line 5: forward lacks its first parameter, `self`"),
    ],
)
def test_a_loss_that_a_training_could_call_in_vain_is_refused(package, forward, message):
    (package / "losses/toy.py").write_text(written(forward))
    with pytest.raises(ValueError, match=message):
        registry.check_distillation_loss("toy")


def test_names_that_there_are_not_are_reported_with_those_that_there_are(package):
    (package / "losses/toy.py").write_text(written("(self, student_reps, labels, epoch)"))
    with pytest.raises(ValueError, match="'student_reps', 'epoch'") as caught:
        registry.check_distillation_loss("toy")
    assert all(name in str(caught.value) for name in registry.GIVEN_TO_DISTILLATION)


def test_the_names_are_those_that_distillation_gives():
    given = {}

    class Toy(nn.Module):
        def forward(self, **inputs):
            given.update(inputs)
            return torch.zeros(())

    Distillation(Network(), Toy(), 1.0)(Network(), IMAGES, LABELS)
    assert tuple(given) == registry.GIVEN_TO_DISTILLATION


@pytest.mark.parametrize(
    ("decorator", "is_refused"),
    [
        ("@staticmethod", True),
        ("@torch.no_grad()", False),
        ("@overload\n    def forward(self): ...\n\n    @final", False),
    ],
)
def test_decorators_change_no_names_but_of_a_static_forward(package, decorator, is_refused):
    (package / "losses/toy.py").write_text(written("(itself, student_logits)", decorator))
    if is_refused:
        with pytest.raises(ValueError, match="'itself'"):
            registry.check_distillation_loss("toy")
    else:
        registry.check_distillation_loss("toy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Toy(nn.Module):\n    async def forward(self, labels): ...\n", "line 2: forward is `async`"),
        ("class Toy(nn.Module):\n    x = 1\n", "Toy has no forward"),
    ],
)
def test_a_forward_that_is_none_is_reported(package, text, message):
    (package / "losses/toy.py").write_text(text)
    for check in (registry.check_distillation_loss, registry.check_embedding_loss):
        with pytest.raises(ValueError, match=message):
            check("toy")


@pytest.mark.parametrize(
    "line",
    [
        "from lgg.losses.base import Base",
        "from lgg.losses import Base",
        "from .base import Base",
        "from . import Base",
        "from lgg.losses.base import Base as Base",
    ],
)
def test_what_is_inherited_within_the_package_is_found(package, line):
    (package / "losses/__init__.py").write_text('_EXPORTS = {"Toy": ".toy", "Base": ".base"}\n')
    base = (
        "class Root(nn.Module):\n    def forward(self, who): ...\n\nclass Base(Root):\n    def __init__(self, a): ...\n"
    )
    (package / "losses/base.py").write_text(base)
    (package / "losses/toy.py").write_text(f"{line}\n\nclass Toy(Base): ...\n")
    assert registry.loss_arguments("toy") == {"a": True}
    with pytest.raises(ValueError, match="'who'"):
        registry.check_distillation_loss("toy")


@pytest.mark.parametrize("text", ["class Toy(elsewhere.Loss): ...\n", "class Toy(nn.Module):\n    forward = call\n"])
def test_code_that_the_files_do_not_show_is_accepted(package, text):
    (package / "losses/toy.py").write_text(text)
    registry.check_distillation_loss("toy")
    registry.check_embedding_loss("toy")


def test_a_network_that_is_registered_like_a_loss_is_refused(package):
    (package / "models/__init__.py").write_text('_EXPORTS = {"toy": ".toy"}\n')
    with pytest.raises(ValueError, match=r"models/__init__\.py: the entry of 'toy' .*\(\"file\", \"Class\"\)"):
        registry.networks()


def test_the_loss_that_is_checked_is_the_one_that_is_built(package, monkeypatch):
    """A function registered with the losses, as in the fixture's table, is not a loss."""
    monkeypatch.setattr(losses, "_EXPORTS", {"Toy": ".toy", "helper": ".toy"})
    built = []
    monkeypatch.setattr(losses, "__getattr__", lambda name: lambda: built.append(name))
    losses.build("toy")
    assert built == [registry.losses()["toy"]]


def test_every_loss_of_the_package_goes_where_it_belongs():
    refused = {}
    for check in (registry.check_distillation_loss, registry.check_embedding_loss):
        refused[check] = set()
        for module in registry.losses():
            try:
                check(module)
            except ValueError:
                refused[check].add(module)
    assert refused[registry.check_distillation_loss] == {"label_variation", "triplet", "regularizer"}
    assert not refused[registry.check_embedding_loss] & {"label_variation", "triplet"}


def test_a_mistake_in_a_loss_is_refused_with_the_configuration():
    own = "distillation: {methods: {own: {label: Own, loss: other, module: label_variation}}}"
    message = r"distillation\.methods\.own\.module: lgg/losses/label_variation\.py: forward of Label"
    with pytest.raises(ConfigError, match=message):
        configured(own)


# --- networks ---------------------------------------------------------------------------------------------------------


def test_the_networks_are_there_with_the_arguments_of_their_classes():
    for name in SMALL:
        network = inspect.signature(type(lgg.models.build(name, num_classes=2, **SMALL[name]))).parameters
        own = {key: one.default is one.empty for key, one in network.items() if key not in registry.GIVEN_TO_NETWORKS}
        assert registry.network_arguments(name) == own
    assert registry.network_layers("wide_resnet") == ("stage1", "stage2", "pool")


SMALL = {"wide_resnet": {"depth": 10, "width": 0.0625}, "preact_resnet18": {"base_width": 1}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def __init__(self, num_classes, mean): ...", "takes no std"),
        ("def __init__(self, **given): ...", "needs a line `layers = "),
        ("layers = names()", "needs a line `layers = "),
    ],
)
def test_a_network_that_cannot_be_made_is_reported(package, body, message):
    (package / "models/toy.py").write_text(f"class Toy(Base):\n    {body}\n")
    with pytest.raises(ValueError, match=f"lgg/models/toy.py: .*{message}"):
        registry.network_arguments("toy")
        registry.network_layers("toy")


@pytest.mark.parametrize("line", ['layers = ("a", "b")', 'layers: tuple[str, ...] = ("a", "b")'])
def test_layers_are_read_with_and_without_a_type(package, line):
    (package / "models/base.py").write_text("class Base:\n    layers: tuple[str, ...]\n")
    (package / "models/toy.py").write_text(f"from lgg.models.base import Base\n\nclass Toy(Base):\n    {line}\n")
    assert registry.network_layers("toy") == ("a", "b")


# --- defences ---------------------------------------------------------------------------------------------------------


def test_every_defence_is_there_with_the_arguments_of_its_class():
    assert set(registry.defences()) >= {"regularizer", "parseval", "adversarial"}
    for module, name in registry.defences().items():
        defence = getattr(lgg.defences, name)
        assert defence.__module__ == f"lgg.defences.{module}"
        own = inspect.signature(defence).parameters
        expected = {key: parameter.default is parameter.empty for key, parameter in own.items()}
        assert registry.defence_arguments(module) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("class Toy(Defence):\n    def __init__(self, strength, steps=1): ...\n", {"strength": True, "steps": False}),
        ("class Toy(Defence): ...\n", {}),
        ("@dataclass\nclass Toy(Defence):\n    strength: float\n", None),  # whose __init__ is written by its decorator
        ("class Toy(Defence):\n    def __init__(self, **given): ...\n", None),
    ],
)
def test_arguments_of_a_defence_are_those_of_its_class(package, text, expected):
    (package / "defences/base.py").write_text("class Defence: ...\n")
    (package / "defences/toy.py").write_text(f"from lgg.defences.base import Defence\n\n{text}")
    assert registry.defences() == {"toy": "Toy"}
    assert registry.defence_arguments("toy") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "no file lgg/defences/toy.py"), ("x = 1\n", "lgg/defences/toy.py has no class Toy")],
)
def test_a_defence_that_cannot_be_read_is_reported(package, text, message):
    if text:
        (package / "defences/toy.py").write_text(text)
    with pytest.raises(ValueError, match=message):
        registry.defence_arguments("toy")


def test_a_digest_names_a_file_that_is_not_python(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("x = (\n")
    monkeypatch.setattr("lgg.pipeline.syntax.ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"broken\.py, line 1: this is not Python"):
        import_closure("lgg.broken")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Toy:\n    def term(self, outputs): ...\n", "Toy must be a subclass of lgg.defences.Defence"),
        (
            "class Toy(Defence):\n    def inputs(self, images): ...\n",
            "inputs of Toy is called with the network, the images",
        ),
        ("class Toy(Defence):\n    def after_step(self): ...\n", "after_step of Toy is called with the network"),
        ("class Toy(Defence):\n    def atfer_step(self, model): ...\n", "did you mean 'after_step'"),
    ],
)
def test_a_defence_that_training_could_not_use_is_refused(package, text, message):
    (package / "defences/base.py").write_text("class Defence:\n    def inputs(self, model, images, labels): ...\n")
    (package / "defences/toy.py").write_text(f"from lgg.defences.base import Defence\n\n{text}")
    with pytest.raises(ValueError, match=message):
        registry.check_defence("toy")


@pytest.mark.parametrize("module", ["adversarial", "parseval", "regularizer"])
def test_the_defences_of_the_paper_pass(module):
    registry.check_defence(module)
