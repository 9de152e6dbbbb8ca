import inspect

import pytest

import lgg.losses
from lgg import registry


def test_every_loss_is_there_with_the_arguments_of_its_class():
    assert set(registry.losses()) >= {
        "graph_distillation",
        "hinton",
        "relational",
        "label_variation",
        "smoothness",
        "triplet",
    }
    for module, name in registry.losses().items():
        loss = getattr(lgg.losses, name)
        assert loss.__module__ == f"lgg.losses.{module}"
        own = inspect.signature(loss).parameters if "__init__" in vars(loss) else {}
        expected = {key: parameter.default is parameter.empty for key, parameter in own.items()}
        assert registry.arguments(module) == expected


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "lgg" / "losses").mkdir(parents=True)
    monkeypatch.setattr(registry, "PACKAGE", tmp_path / "lgg")
    for function in (registry.losses, registry.arguments):
        function.cache_clear()
    (tmp_path / "lgg/losses/__init__.py").write_text('_EXPORTS = {"Toy": ".toy", "helper": ".toy"}\n')
    yield tmp_path / "lgg" / "losses"
    for function in (registry.losses, registry.arguments):
        function.cache_clear()


def test_arguments_of_any_kind_are_found(package):
    (package / "toy.py").write_text("class Toy:\n    def __init__(self, a, /, b, c=1, *, d, e=2): ...\n")
    assert registry.losses() == {"toy": "Toy"}
    assert registry.arguments("toy") == {"a": True, "b": True, "c": False, "d": True, "e": False}


@pytest.mark.parametrize(
    ("text", "message"), [(None, "no file lgg/losses/toy.py"), ("class Tay: ...\n", "no class Toy")]
)
def test_what_is_registered_and_not_there_is_told(package, text, message):
    if text:
        (package / "toy.py").write_text(text)
    with pytest.raises(ValueError, match=message):
        registry.arguments("toy")
