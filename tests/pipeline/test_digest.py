import ast
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lgg
from lgg import losses
from lgg.pipeline import digest
from lgg.pipeline.digest import code_digest, import_closure

ROOT = Path(__file__).resolve().parents[2]


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
    return code_digest("lgg.pipeline.stages.distill_student", "lgg.losses.relational")


@pytest.fixture(scope="module")
def before():
    forget()
    return digest_of_a_stage()


# --- what counts --------------------------------------------------------------------------------------------------


def test_a_digest_is_a_short_hexadecimal_word_that_stays_the_same(before):
    assert len(before) == 16
    assert int(before, 16) >= 0
    assert code_digest("lgg.losses.relational", "lgg.pipeline.stages.distill_student") == before


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
        ("F.smooth_l1_loss", "F.mse_loss"),
        ('else "sum"', 'else "total"'),
        ("offset=1", "offset=0"),
        ("mean > 0, mean, 1.0", "mean > 0, mean, 1"),
    ],
)
def test_code_and_messages_count(package, before, old, new):
    edit(package / "losses" / "relational.py", old, new)
    assert digest_of_a_stage() != before


@pytest.mark.parametrize(
    "file",
    [
        "losses/_pairs.py",
        "losses/__init__.py",
        "graph.py",
        "pipeline/stages/networks.py",
        "training/__init__.py",
        "_lazy.py",
    ],
)
def test_code_counts_however_deep_it_is_imported(package, before, file):
    edit(package / file, '"""\n', '"""\n\nEXTRA = 1\n')
    assert digest_of_a_stage() != before


@pytest.mark.parametrize("file", ["losses/hinton.py", "reporting/tables.py", "pipeline/recipes.py"])
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


# --- which Python reads the files ---------------------------------------------------------------------------------

TRICKY = r'''
import a.b as c
from d import e, f as g

def one(x, /, y: int = 1, *z, w=None, **v) -> "λ":
    """A docstring."""
    f"", f"{x}", f"a{x}b", "a" f"b{x}" "c", f"a" "b", u"u", f"{x}" u"q", "" f"" ""
    f"{x:}", f"{x:>{w}}", f"{x!r:>{w}.2f}", f"{x=}", f"{ x = !s:>5}", f"{x:{{w}}}", f'{x:{"a"}}', f"{x:a{w}b{w}c}"
    f"{{}}{x}}}", f"\N{GREEK SMALL LETTER LAMDA}{x}\x41", rf"\d{x}\n", f"{x:\x41}", f"{x:%Y-%m-%d}"
    f"{f'{x:{w}}':>{w}}", f"{'a' 'b'}", f"{x}" "" f"{w}", f"{x,}", f"{*[1],}", f"{(lambda y: y)(x)}", f"{x if y else w}"
    f"""{
x}
 {x:
}"""
    return None, True, 1, 1.0, 1e-300, 1e999, 2j, -0.0, b"\xff", "\u0e5c\U0001fae9", ..., 10**40, ()

class Two(one, metaclass=type):
    async def three(self): return [await i async for i in self if i]

match c:
    case {"k": [1, *_], **rest} | Two(a=None) if rest: pass
    case _: raise e from None
try:
    with one() as o, one(): global_ = {**o, 1: 2}
except* ValueError as error: print(*o, sep="", file=(walrus := error))
'''


def canonical(text):
    return digest.canonical(ast.parse(text))


def test_the_text_of_code_is_fixed():
    """The value was the same in CPython 3.11.7, 3.12.1, 3.13.0, 3.13.5 and 3.14.2; another would run everything again."""
    assert (
        hashlib.sha256(canonical(TRICKY).encode()).hexdigest()
        == "c537b13abb6e0c2c8a8859e5278d1ebacb11f4d7165a07418088634b09cc81e9"
    )


@pytest.mark.parametrize(
    "same",
    [
        ('f"{x:}"', 'f"{x}"'),
        ('u"a"', '"a"'),
        ('"a" f"{x}" u"b" "c"', 'f"a{x}bc"'),
        ('f"{x}" "" f"{y}"', 'f"{x}{y}"'),
        ('f"{x:>{y}}"', "f'''{x:>{y}}'''"),
        ("(a)\n", "a  # a\n"),
        ("1_000", "1000"),
    ],
)
def test_two_spellings_of_the_same_code_are_one(same):
    assert len({canonical(text) for text in same}) == 1


def test_different_code_is_different():
    different = [
        *("None", "True", "1", "1.0", "1j", "'1'", "b'1'", "'None'", "...", "''", "b''", "()", "[]", "{}", "x", "'x'"),
        *('f"{x}"', 'f"{x!r}"', 'f"{x!s}"', 'f"{x:>}"', 'f"{x}>"', 'f"{x:{y}}"', 'f"{x}{y}"', 'f"{x=}"', 'f"x"', 'f""'),
        *('f"{x:a{y}}"', 'f"{x:{y}a}"', 'f"{{x}}"', "f\"{'x'}\"", 'f"{x:{y}{z}}"', 'f"{x:{y}}{z}"'),
        *("f(a, b)", "f((a, b))", "f(a=b)", "f(*a)", "f(**a)", "[a, b]", "[b, a]", "{a: b}", "{**b}", "{None: b}"),
        *(
            "def f(a, *, b): 1",
            "def f(a, b): 1",
            "def f(*, a, b=None): 1",
            "def f(*, a=None, b): 1",
            "def f(a, /, b): 1",
        ),
        *("return", "return None", "x = y", "x == y", "x: y", "x: y = None", "x += y", "import x", "from . import x"),
    ]
    assert len({canonical(text) for text in different}) == len(different)


def test_what_other_versions_add_to_a_tree_does_not_count():
    tree = ast.parse('def f(x, y):\n    return f"{x:>{y}}", f"{x}"')
    before = digest.canonical(tree)
    function = tree.body[0]
    first, second = function.body[0].value.elts
    # 3.12 ends a format with an empty text, and has parameters of types
    first.values[0].format_spec.values.append(ast.Constant(""))
    second.values.insert(0, ast.Constant(""))
    second.values[1].format_spec = ast.JoinedStr([ast.Constant("")])
    function.type_params, function._fields = [], (*function._fields, "type_params")
    assert digest.canonical(tree) == before
    function.type_params = [ast.Name("T", ast.Load())]
    assert digest.canonical(tree) != before


DIGESTS = (
    "import json, sys\n"
    "sys.path.insert(0, sys.argv[1])\n"
    "from lgg.pipeline import digest, registry\n"
    "stages = sorted(path.stem for path in (digest.ROOT / 'pipeline' / 'stages').glob('[a-z]*.py'))\n"
    "modules = [f'lgg.pipeline.stages.{name}' for name in stages] + [f'lgg.losses.{name}' for name in registry.losses()]\n"
    "print(json.dumps({name: digest.code_digest(name) for name in modules}))\n"
)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_every_python_gives_the_same_digests_and_needs_the_standard_library_alone(version):
    own = version == f"{sys.version_info.major}.{sys.version_info.minor}"
    python = sys.executable if own else shutil.which(f"python{version}")
    # a shim may stand for a version that is not there
    if python is None or subprocess.run([python, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"there is no python{version}")
    # -S leaves out all installed packages; the order of a set is another in each process
    done = subprocess.run([python, "-I", "-S", "-c", DIGESTS, ROOT], capture_output=True, text=True, check=True)
    digests = json.loads(done.stdout)
    assert len(digests) > 30
    assert digests == {name: code_digest(name) for name in digests}


def test_where_capitals_do_not_count_in_names_of_files_a_class_is_no_module(package, monkeypatch):
    module(package, "lgg.one", "from lgg.losses import triplet, Triplet\n")
    expected = import_closure("lgg.one")
    forget()
    there = {str(path).lower() for path in package.rglob("*")}
    monkeypatch.setattr(Path, "is_file", lambda path: str(path).lower() in there and path.suffix == ".py")
    assert digest._path("lgg.losses.triplet")
    assert import_closure("lgg.one") == expected


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


@pytest.mark.parametrize("name", ["lgg.losses.nothing", "lgg.pipeline.stages.distil", "other.module"])
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
    for path in (digest.ROOT / "pipeline" / "stages").glob("[a-z]*.py")
    if path.stem != "networks"  # shared by stages
)


def test_what_a_stage_loads_counts():
    """Every module of the package that importing a stage really loads is in the digest, in a process that has none yet."""
    code = (
        "import importlib, json, sys\n"
        "loaded = {}\n"
        "for stage in sys.argv[1:]:\n"
        "    for name in [name for name in sys.modules if name.split('.')[0] == 'lgg']:\n"
        "        del sys.modules[name]\n"
        "    importlib.import_module(f'lgg.pipeline.stages.{stage}')\n"
        "    loaded[stage] = [name for name in sys.modules if name.split('.')[0] == 'lgg']\n"
        "print(json.dumps(loaded))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *STAGES], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert len(loaded) > 20
    for stage, modules in loaded.items():
        assert f"lgg.pipeline.stages.{stage}" in modules
        assert set(modules) <= import_closure(f"lgg.pipeline.stages.{stage}"), stage
