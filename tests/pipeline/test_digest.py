import ast
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import lgg
from lgg import losses
from lgg.pipeline import definitions, digest, syntax
from lgg.pipeline.digest import code_digest, import_closure

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a copy of the package, from which digests are made."""
    copy = tmp_path / "lgg"
    shutil.copytree(syntax.ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(syntax, "ROOT", copy)
    digest.forget()
    yield copy
    digest.forget()


def module(package: Path, name: str, text: str) -> None:
    """Write a module of the package."""
    path = package.joinpath(*name.split(".")[1:]).with_suffix(".py")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    digest.forget()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    digest.forget()


STAGES = sorted(
    path.stem
    for path in (syntax.ROOT / "pipeline" / "stages").glob("[a-z]*.py")
    if path.stem != "networks"  # shared by stages
)


def digest_of_a_stage() -> str:
    return code_digest("lgg.pipeline.stages.distill_student", "lgg.losses.relational")


@pytest.fixture(scope="module")
def before():
    digest.forget()
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
        ("as F\n", "as F  # functions\n"),
        ("import torch.nn", "# a comment\n\n\nimport torch.nn"),
        ('"""Relational knowledge', '"""Other words. Relational knowledge'),
        ('(nn.Module):\n    """', '(nn.Module):\n    """Other words. '),
        ('"""Return the loss', '"""Give the loss'),
        ("return F.", "return \\\n            F."),
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
        ("[: len(layers)]", "[: len(teachers)]"),
        ("beta=beta", "beta=1.0"),
        ("1.0 / share", "1 / share"),
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
    edit(package / file, '"""\n', '"""\n\nprint(end="")\n')
    assert digest_of_a_stage() != before


@pytest.mark.parametrize("file", ["losses/hinton.py", "reporting/tables.py", "pipeline/recipes.py"])
def test_a_module_that_is_not_imported_does_not_count(package, before, file):
    edit(package / file, '"""\n', '"""\n\nprint(end="")\n')
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


# --- which Python reads the files -----------------------------------------------------------------------------------

DIGESTS = (
    "import json, sys\n"
    "sys.path.insert(0, sys.argv[1])\n"
    "from lgg.pipeline import digest, registry, syntax\n"
    "stages = sorted(path.stem for path in (syntax.ROOT / 'pipeline' / 'stages').glob('[a-z]*.py'))\n"
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


def test_on_case_insensitive_file_systems_a_class_is_not_a_module(package, monkeypatch):
    module(package, "lgg.one", "from lgg.losses import triplet, Triplet\n")
    expected = import_closure("lgg.one")
    digest.forget()
    there = {str(path).lower() for path in package.rglob("*")}
    monkeypatch.setattr(Path, "is_file", lambda path: str(path).lower() in there and path.suffix == ".py")
    assert syntax.path_of("lgg.losses.triplet")
    assert import_closure("lgg.one") == expected


# --- which definitions count ----------------------------------------------------------------------------------------

TWO = "def f():\n    return 1\n\n\ndef g():\n    return 2\n"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Return a function that computes the digest of ``lgg.one`` and chosen modules, in a package with the given sources."""
    root = tmp_path / "lgg"
    root.mkdir()
    monkeypatch.setattr(syntax, "ROOT", root)

    def digest_of(*chosen, init="", **texts):
        for name, text in {"__init__": init, **texts}.items():
            (root / f"{name}.py").write_text(text, encoding="utf-8")
        digest.forget()
        return code_digest("lgg.one", *chosen)

    yield digest_of
    digest.forget()


def counts(small, *chosen, two=TWO, **texts):
    """Return whether an edit of `f` in ``lgg.two`` counts."""
    edited = two.replace("return 1", "return 3")
    assert edited != two
    return small(*chosen, two=edited, **texts) != small(*chosen, two=two, **texts)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ("import lgg.two", False),
        ("from lgg.two import f", False),
        ("from lgg.two import f\nf()", True),
        ("from lgg.two import f as g\ng()", True),
        ("from lgg.two import g as f\nf()", False),
        ("from .two import f\nf()", True),
        ("from . import two\ntwo.f()", True),
        ("from . import two\ntwo.g()", False),
        ("import lgg.two\nlgg.two.f()", True),
        ("import lgg.two\nlgg.two.g()", False),
        ("import lgg.two as t\nt.f()", True),
        ("import lgg.two as t\nt.g()", False),
        ("from lgg import two\ntwo.g()", False),
        ("def h():\n    from lgg import two\n    return two.f()", True),
        ("def h():\n    from lgg import two\n    return two.g()", False),
        # a module that is used other than by a name of it
        ("from lgg import two\nprint(two)", True),
        ("from lgg import two\ngetattr(two, 'f')()", True),
        ("from lgg import two\nfor module in (two, 1): pass", True),
        ("from lgg import two\nt = two\nt.g()", True),
        ("from lgg import two\ntwo.h()", True),
        ("from lgg import two\ntwo.__dict__['f']()", True),
        ("from lgg.two import *", True),
        # names in other roles
        ("from lgg.two import f\ndef h(f): return f()", True),
        ("from lgg.two import f\ndef h():\n    f = 1\n    return f", True),
        ("from lgg.two import f\ndef h():\n    global f\n    f = 1", True),
        ("from lgg.two import f\ndef h(x: 'f') -> 'f': pass", False),
        ("from lgg.two import f\ndef h(x: f): pass", True),
        ("from lgg.two import f\nclass A(f): pass", True),
        ("from lgg.two import f\nclass A:\n    x: f", True),
        ("from lgg.two import f\n@f\ndef h(): pass", True),
        ("from lgg.two import f\ndef h(x=f): pass", True),
        ("from lgg import two\ntwo.f = print", True),
        ("from lgg import two\ntwo.g = print", False),
        ("from lgg.two import f\nif __name__ == '__main__':\n    f()", True),
        ("from typing import TYPE_CHECKING\nfrom lgg.two import f\nif TYPE_CHECKING:\n    f()", False),
        # what is found without being mentioned
        ("import sys, lgg.two\nsys.modules['lgg.two'].f()", True),
        ("import sys as s, lgg.two\ns.modules['lgg.two'].f()", True),
        ("import sys, lgg.two\ngetattr(sys, 'modules')", True),
        ("from sys import modules\nimport lgg.two\nmodules['lgg.two'].f()", True),
        ("import importlib, lgg.two\nimportlib.import_module('lgg.two').f()", True),
        ("from importlib import import_module as i\nimport lgg.two\ni('lgg.two').f()", True),
        ("import lgg.two\n__import__('lgg.two')", True),
        ("import lgg.two\nexec('lgg.two.f()')", True),
        ("from lgg.two import g\ng.__globals__['f']()", True),
        ("import lgg.two\nobject.__subclasses__()", True),
        ("import lgg.two, pickle\npickle.loads(b'')", True),
        ("import sys, lgg.two\nsys.exit()", False),
        ("import importlib.metadata, lgg.two\nimportlib.metadata.version('lgg')", False),
        ("import lgg.two\nmodel.eval(), model.modules()", False),
    ],
)
def test_a_definition_counts_where_the_stage_mentions_it_or_may_find_it(small, one, expected):
    assert counts(small, one=one) == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", False),
        ("def g(): return f()", True),
        ("def g(): return h()\ndef h(): return f()", True),
        ("def h(): return f()", False),
        ("def g(): return lambda: [f for _ in ()]", True),
        ("class A:\n    def m(self): f()\ndef g(): return A()", True),
        ("class A:\n    def m(self): f()", False),
        ("class A:\n    x = f()", True),
        ("X = f\ndef g(): return X", True),
        ("X = f", False),
        ("X = f()", True),
        ("X = []\nX.append(f)", True),
        ("f()", True),
        ("for x in (): f()", True),
        ("if x:\n    def h(): f()", True),
        ("def h(x=f()): pass", True),
        ("def h(x=f): pass", False),
        ("known = {}\ndef register(h): known[1] = h\n@register\ndef h(): f()", True),
        ("from functools import cache\n@cache\ndef h(): f()", False),
        ("from functools import singledispatch\n@singledispatch\ndef g(x): ...\n@g.register\ndef _(x: int): f()", True),
        ("class A:\n    def __init_subclass__(cls): print()\nclass B(A):\n    def m(self): f()", True),
        ("def __getattr__(name): return f", True),
        ("f = print", True),
        ("f.x = 1", True),
        ("def g(): return globals()['f']", True),
        ("def g(): return vars()", True),
        ("class A:\n    def m(self): return __f()\n_A__f = f\ndef g(): return A()", True),
        ("def g():\n    global f\n    f = 2", True),
        ("if __name__ == '__main__':\n    f()", False),
    ],
)
def test_a_definition_counts_if_reached_code_or_its_module_s_import_mentions_it(small, more, expected):
    assert counts(small, one="from lgg.two import g\ng()", two=f"{TWO}\n\n{more}\n") == expected


@pytest.mark.parametrize(
    ("one", "three", "expected"),
    [
        ("from lgg.three import f\nf()", "from lgg.two import f", True),
        ("import lgg.three\nlgg.three.f()", "from lgg.two import f", True),
        ("import lgg.three\nlgg.three.t.f()", "import lgg.two as t", True),
        ("import lgg.three\nlgg.three.t.g()", "import lgg.two as t", False),
        ("import lgg.three\nprint(lgg.three)", "from lgg.two import f", True),
        ("from lgg.three import *", "from lgg.two import f", True),
        ("import lgg.three", "from lgg.two import f", False),
        ("import lgg.three", "from lgg.two import f\nf()", True),
        ("import lgg.three", "import lgg.two\nlgg.two.g = print", False),
        ("from lgg.three import h\nh()", "def h():\n    from lgg.two import f\n    f()", True),
        ("from lgg.three import h\nh()", "from lgg.three import h", False),
    ],
)
def test_a_definition_counts_through_other_modules(small, one, three, expected):
    assert counts(small, one=one, three=three) == expected


def test_an_import_inside_a_function_counts_where_the_function_is_reached(small):
    three = "def h():\n    import lgg.two\n\n\ndef i():\n    pass\n"
    for name, expected in (("h", True), ("i", False)):
        small(one=f"from lgg.three import {name}\n{name}()", two=TWO, three=three)
        assert ("lgg.two" in import_closure("lgg.one")) == expected


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ("import lgg", False),
        ("from lgg import f", False),
        ("from lgg import f\nf()", True),
        ("import lgg\nlgg.f()", True),
        ("import lgg\nlgg.i()", False),
        ("import lgg\nlgg.two.g()", False),
        ("import lgg\nlgg.nothing()", True),
        ("import lgg\nprint(lgg)", True),
    ],
)
def test_a_name_that_a_package_exports_lazily_reaches_what_it_loads(small, one, expected):
    init = "_EXPORTS = {'f': '.two', 'i': '.three', 'two': '.two'}\ndef __getattr__(name): return vars()[name]"
    assert counts(small, one=one, init=init, three="def i(): pass") == expected


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("", True),
        ("_EXPORTS = {'two': '.two'}", True),
        ("_EXPORTS = {'g': '.two'}", False),
        ("_EXPORTS = {'f': '.two', 'g': '.two'}", True),
        ("_EXPORTS = {'name': ('two', 'g')}", False),
        ("_EXPORTS = {'name': ('two', 'f')}", True),
        ("_EXPORTS = {'h': '.two'}", True),
    ],
)
def test_a_chosen_module_counts_by_what_its_package_lists_of_it(small, init, expected):
    assert counts(small, "lgg.two", one="", init=init) == expected


def test_what_an_imported_name_refers_to_counts(small):
    two = "import {} as n\nfrom {} import d\ndef g(): return n, d\ndef h(): pass\n"
    for name, expected in (("g", True), ("h", False)):
        one = f"from lgg.two import {name}\n{name}()"
        digests = {small(one=one, two=two.format(first, "math")) for first in ("os", "sys")}
        assert (len(digests) == 2) == expected


def test_the_order_of_definitions_counts_only_for_what_importing_runs(small):
    one = "from lgg.two import A, B, f\nA, B, f"
    parts = ["A = [0]", "B = A + [1]", "def f(): pass"]
    assert small(one=one, two="\n".join(parts)) == small(one=one, two="\n".join(reversed(parts)))
    orders = (["A = [0]", "B = A + [1]", "A.append(2)"], ["A = [0]", "A.append(2)", "B = A + [1]"])
    assert small(one=one, two="\n".join(orders[0])) != small(one=one, two="\n".join(orders[1]))


MODULES = ("a", "b", "c")
KINDS = {
    "function": "def {name}(x):\n    return {number}, {uses}\n",
    "class": "class {name}(Exception):\n    y = {number}\n    def m(self):\n        return {uses}\n",
    "constant": "{name} = [lambda: ({uses}), {number}]\n",
}
#: forms of a mention of `name` in the module `place`: a line at the top, and the expression
MENTIONS = {
    "from": ("from lgg.{place} import {name}\n", "{name}"),
    "as": ("from lgg.{place} import {name} as {name}_here\n", "{name}_here"),
    "path": ("import lgg.{place}\n", "lgg.{place}.{name}"),
    "module": ("from lgg import {place}\n", "{place}.{name}"),
    "renamed": ("import lgg.{place} as {place}_here\n", "{place}_here.{name}"),
}


@st.composite
def packages(draw):
    """Draw the places and kinds of definitions, which mentions which and how, and which ones ``lgg.one`` mentions."""
    size = draw(st.integers(2, 7))
    of_each = {"place": st.sampled_from(MODULES), "kind": st.sampled_from(sorted(KINDS))}
    form, number = st.sampled_from(sorted(MENTIONS)), st.integers(0, size - 1)
    definitions = [
        {key: draw(one) for key, one in of_each.items()} | {"uses": draw(st.dictionaries(number, form, max_size=2))}
        for _ in range(size)
    ]
    return definitions, draw(st.dictionaries(number, form, max_size=2))


def written(definitions, first, numbers):
    """Return the texts of the modules."""
    bodies = dict.fromkeys((*MODULES, "one"), "")
    tops = {name: [] for name in bodies}

    def mention(user, use, form):
        names = {"place": definitions[use]["place"], "name": f"d{use}"}
        if names["place"] == user:
            return names["name"]
        top, expression = (text.format(**names) for text in MENTIONS[form])
        tops[user].append(top)
        return expression

    for number, one in enumerate(definitions):
        uses = ", ".join(mention(one["place"], *use) for use in one["uses"].items()) or "0"
        bodies[one["place"]] += KINDS[one["kind"]].format(name=f"d{number}", number=numbers[number], uses=uses)
    bodies["one"] = "".join(f"{mention('one', *use)}\n" for use in first.items())
    return {name: "".join(dict.fromkeys(tops[name])) + body for name, body in bodies.items()}


@settings(max_examples=40, deadline=None)
@given(packages())
def test_an_edit_of_a_definition_counts_exactly_where_it_is_reached(package):
    definitions, first = package
    expected, waiting = set(), list(first)
    while waiting:
        number = waiting.pop()
        if number not in expected:
            expected.add(number)
            waiting += definitions[number]["uses"]

    def digest_of(numbers):
        for name, text in written(definitions, first, numbers).items():
            (syntax.ROOT / f"{name}.py").write_text(text)
        digest.forget()
        return code_digest("lgg.one")

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(syntax, "ROOT", Path(folder) / "lgg")
        syntax.ROOT.mkdir()
        (syntax.ROOT / "__init__.py").touch()
        plain = [100] * len(definitions)
        before = digest_of(plain)
        counting = {
            number
            for number in range(len(definitions))
            if digest_of([*plain[:number], 200, *plain[number + 1 :]]) != before
        }
    digest.forget()
    assert counting == expected


def test_an_edit_for_one_loss_alone_reruns_no_other_training(package):
    stages = {
        "gkd": ("lgg.pipeline.stages.distill_student", "lgg.losses.graph_distillation"),
        "rkd": ("lgg.pipeline.stages.distill_student", "lgg.losses.relational"),
        "baseline": ("lgg.pipeline.stages.train_robust_network", "lgg.models.preact_resnet"),
    }
    edit(package / "losses/graph_distillation.py", "import Similarity,", "import sharpened, Similarity,")
    edit(package / "losses/graph_distillation.py", "symmetric_normalization(", "sharpened(symmetric_normalization)(")
    with (package / "graph.py").open("a") as file:
        file.write("\n\ndef sharpened(x):\n    return x\n")
    digest.forget()
    before = {name: code_digest(*modules) for name, modules in stages.items()}
    edit(package / "graph.py", "def sharpened(x):\n    return x", "def sharpened(x):\n    return 2 * x")
    assert {name for name, modules in stages.items() if code_digest(*modules) != before[name]} == {"gkd"}


def test_code_that_finds_definitions_unseen_is_known():
    """Otherwise it would make every module of a stage count completely."""
    found = {
        (module, name)
        for stage in STAGES
        for module in import_closure(f"lgg.pipeline.stages.{stage}")
        for code in (definitions.module_of(module).always, *definitions.module_of(module).definitions.values())
        for name in code.mentions
        if name in definitions.FINDERS
    }
    assert found <= digest._KNOWN


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
        package.__name__: {name for name in package._EXPORTS if not syntax.path_of(f"{package.__name__}.{name}")}
        for package in (lgg, losses)
    }
    for path in syntax.ROOT.rglob("*.py"):
        module = ".".join(["lgg", *path.relative_to(syntax.ROOT).with_suffix("").parts]).removesuffix(".__init__")
        for node in ast.walk(syntax.tree(module)):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}: a relative import"
                names = {alias.name for alias in node.names}
                assert not names & lazy.get(node.module, set()), f"{module}: import {names} from where they are defined"


def test_what_a_stage_loads_counts():
    """Every module of the package that importing a stage loads is in the digest, checked in a fresh process."""
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


@pytest.mark.parametrize(
    "use",
    [
        "from lgg import p\ndef main(name): getattr(p, name).f()\n",
        "from lgg import p\ndef main(): return p\n",
        "import lgg\ndef main(): return getattr(lgg, 'p').a.f()\n",
    ],
)
def test_of_a_package_that_is_used_as_a_value_all_loaded_modules_count(use, package):
    (package / "p").mkdir()
    (package / "p/__init__.py").write_text("")
    module(package, "lgg.p.a", "def f():\n    return 1\n")
    module(package, "lgg.one", f"import lgg.p.a\n{use}")
    before = code_digest("lgg.one")
    module(package, "lgg.p.a", "def f():\n    return 2\n")
    digest.forget()
    assert code_digest("lgg.one") != before
