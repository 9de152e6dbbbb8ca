import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lgg
from lgg import digest, losses
from lgg.digest import code_digest, import_closure


def forget() -> None:
    """Drop what the digest has read so far."""
    for function in (digest._tree, digest._code, digest._imports):
        function.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a copy of the package, from which digests are made."""
    copy = tmp_path / "lgg"
    shutil.copytree(digest.ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digest, "ROOT", copy)
    forget()
    yield copy
    forget()


def module(package: Path, name: str, text: str) -> None:
    """Write a module of the package."""
    path = package.joinpath(*name.split(".")[1:]).with_suffix(".py")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    forget()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    forget()


def digest_of_a_stage() -> str:
    return code_digest("lgg.stages.distill_student", "lgg.losses.relational")


@pytest.fixture(scope="module")
def before():
    forget()
    return digest_of_a_stage()


# --- what counts --------------------------------------------------------------------------------------------------


def test_a_digest_is_a_short_hexadecimal_word_that_stays_the_same(before):
    assert len(before) == 16
    assert int(before, 16) >= 0
    assert code_digest("lgg.losses.relational", "lgg.stages.distill_student") == before


def test_where_the_package_lies_does_not_matter(package, before):
    assert digest_of_a_stage() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import torch\n", "import torch  # tensors\n"),
        ("import torch\n", "# a comment\n\n\nimport torch\n"),
        ('"""Relational knowledge', '"""Other words. Relational knowledge'),
        ('(nn.Module):\n    """', '(nn.Module):\n    """Other words. '),
        ('"""Return the distances', '"""Give the distances'),
        ("return distances / ", "return distances / \\\n        "),
    ],
    ids=["comment", "lines", "docstring of the module", "of a class", "of a function", "layout"],
)
def test_comments_docstrings_and_layout_do_not_count(package, before, old, new):
    edit(package / "losses" / "relational.py", old, new)
    assert digest_of_a_stage() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size < 2", "size < 3"),
        ("distances need at least two", "distances need two or more"),
        ("offset=1", "offset=0"),
        ("mean > 0, mean, 1.0", "mean > 0, mean, 1"),
    ],
)
def test_code_and_messages_count(package, before, old, new):
    edit(package / "losses" / "relational.py", old, new)
    assert digest_of_a_stage() != before


@pytest.mark.parametrize(
    "file",
    ["losses/_pairs.py", "losses/__init__.py", "graph.py", "stages/networks.py", "training/__init__.py", "_lazy.py"],
)
def test_code_counts_however_deep_it_is_imported(package, before, file):
    edit(package / file, '"""\n', '"""\n\nEXTRA = 1\n')
    assert digest_of_a_stage() != before


@pytest.mark.parametrize("file", ["losses/hinton.py", "reporting/tables.py", "config.py"])
def test_a_module_that_is_not_imported_does_not_count(package, before, file):
    edit(package / file, '"""\n', '"""\n\nEXTRA = 1\n')
    assert digest_of_a_stage() == before


def test_a_module_that_moves_is_another(package):
    module(package, "lgg.one", "A = 1\n")
    module(package, "lgg.two", "A = 1\n")
    assert code_digest("lgg.one") != code_digest("lgg.two")


def test_removing_a_docstring_that_is_all_there_is_does_not_count(package):
    module(package, "lgg.one", 'class A(Exception):\n    """Why."""\n')
    documented = code_digest("lgg.one")
    module(package, "lgg.one", "class A(Exception):\n    pass\n")
    assert code_digest("lgg.one") == documented


def test_the_table_of_lazy_exports_and_the_version_do_not_count(package):
    first = code_digest("lgg.graph")
    edit(package / "__init__.py", '__version__ = "', '__version__ = "9')
    edit(package / "__init__.py", "_EXPORTS = {", '_EXPORTS = {\n    "x": ".x",')
    assert code_digest("lgg.graph") == first


# --- which modules count ------------------------------------------------------------------------------------------


def test_imports_are_followed_with_the_packages_they_lie_in(package):
    module(package, "lgg.one", "import lgg.data.storage\n")
    assert import_closure("lgg.one") == {
        "lgg",
        "lgg._lazy",
        "lgg.one",
        "lgg.data",
        "lgg.data.storage",
        "lgg.errors",
        "lgg.files",
    }


@pytest.mark.parametrize(
    "text",
    [
        "import lgg.files\n",
        "import lgg.files as f\n",
        "from lgg import files\n",
        "from lgg.files import write_json\n",
        "def f():\n    from lgg.files import write_json\n",
        "class A:\n    def f(self):\n        import lgg.files\n",
        "try:\n    import lgg.files\nexcept ImportError:\n    pass\n",
        "if True:\n    import lgg.files\n",
    ],
)
def test_every_form_of_import_is_followed(text, package):
    module(package, "lgg.one", text)
    assert "lgg.files" in import_closure("lgg.one")


def test_imports_for_type_checkers_are_not_followed(package):
    module(
        package,
        "lgg.one",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lgg.files import write_json\n",
    )
    assert "lgg.files" not in import_closure("lgg.one")


def test_what_replaces_imports_for_type_checkers_is_followed(package):
    module(
        package,
        "lgg.one",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import typing\nelse:\n    import lgg.files\n",
    )
    assert "lgg.files" in import_closure("lgg.one")


def test_importing_the_package_does_not_import_what_it_exports_lazily(package):
    module(package, "lgg.one", "import lgg\nfrom lgg import losses, models\n")
    assert not {"lgg.graph", "lgg.losses.hinton", "lgg.models.wide_resnet"} & import_closure("lgg.one")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from lgg import similarity_graph\n", "lgg.graph"),
        ("from lgg.losses import HintonDistillation\n", "lgg.losses.hinton"),
    ],
)
def test_a_name_that_is_exported_lazily_counts_where_it_is_used(text, found, package):
    module(package, "lgg.one", text)
    assert found in import_closure("lgg.one")


def test_imports_in_a_circle_end(package):
    module(package, "lgg.one", "import lgg.two\n")
    module(package, "lgg.two", "import lgg.one\n")
    assert {"lgg.one", "lgg.two"} <= import_closure("lgg.one")


@pytest.mark.parametrize("name", ["lgg.losses.nothing", "lgg.stages.distil", "other.module"])
def test_a_module_that_does_not_exist_is_an_error(name):
    with pytest.raises(ValueError, match=f"there is no module {name}"):
        code_digest(name)


def test_the_package_imports_itself_only_in_ways_that_the_digest_sees():
    # names of things inside modules; the modules among the lazy names are found by their path
    lazy = {
        package.__name__: {name for name in package._EXPORTS if not digest._path(f"{package.__name__}.{name}")}
        for package in (lgg, losses)
    }
    for path in digest.ROOT.rglob("*.py"):
        module = ".".join(["lgg", *path.relative_to(digest.ROOT).with_suffix("").parts]).removesuffix(".__init__")
        for node in ast.walk(digest._tree(module)):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}: a relative import"
                names = {alias.name for alias in node.names}
                assert not names & lazy.get(node.module, set()), f"{module}: import {names} from where they are defined"


STAGES = sorted(
    path.stem
    for path in (digest.ROOT / "stages").glob("[a-z]*.py")
    if path.stem not in ("command", "networks")  # shared by stages
)


def test_what_a_stage_loads_counts():
    """Every module of the package that importing a stage really loads is in the digest, in a process that has none yet."""
    code = (
        "import importlib, json, sys\n"
        "loaded = {}\n"
        "for stage in sys.argv[1:]:\n"
        "    for name in [name for name in sys.modules if name.split('.')[0] == 'lgg']:\n"
        "        del sys.modules[name]\n"
        "    importlib.import_module(f'lgg.stages.{stage}')\n"
        "    loaded[stage] = [name for name in sys.modules if name.split('.')[0] == 'lgg']\n"
        "print(json.dumps(loaded))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *STAGES], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert len(loaded) > 20
    for stage, modules in loaded.items():
        assert f"lgg.stages.{stage}" in modules
        assert set(modules) <= import_closure(f"lgg.stages.{stage}"), stage
