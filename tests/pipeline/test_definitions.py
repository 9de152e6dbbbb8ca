import shutil

import pytest

from lgg.pipeline import digest, syntax
from lgg.pipeline.definitions import module_of


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Return a function that writes modules into a copy of the package and returns the first one, split into parts."""
    copy = tmp_path / "lgg"
    shutil.copytree(syntax.ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(syntax, "ROOT", copy)

    def write(text, **others):
        for name, content in {"one": text, **others}.items():
            (copy / f"{name}.py").write_text(content, encoding="utf-8")
        digest.forget()
        return module_of("lgg.one")

    yield write
    digest.forget()


QUIET = [
    "def a(x, y=1, *z, w: int | None = None, **v) -> 'B': return f()",
    "async def a(): await f()",
    "class a: pass",
    "class a(Exception):\n    x = 1\n    y: int = 2\n    def f(self, z=()): return g()",
    "from torch import nn\nclass a(nn.Module): ...",
    "from typing import Protocol, TypeVar\nT = TypeVar('T')\nclass a(Protocol[T]): ...",
    "class b: pass\nclass a(b): pass",
    "from lgg.two import b\nclass a(b): pass",
    "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass a:\n    x: list = field(default_factory=f)",
    "from functools import cache\n@cache\ndef a(): pass",
    "import functools as f\n@f.lru_cache(maxsize=3)\ndef a(): pass",
    "class a:\n    @property\n    def x(self): ...\n    @x.setter\n    def x(self, value): ...",
    "def b(f):\n    from functools import wraps\n    return f\na = 1",
    "from functools import wraps\ndef b(f):\n    @wraps(f)\n    def g(): return f()\n    return g\n@b\ndef a(): pass",
    "from lgg.two import wrapper\n@wrapper\ndef a(): pass",
    "a = 1",
    "a: int = 1",
    "a: int",
    "a = b = 1",
    "a, b = 1, 2",
    "a = {'x': [1, (2.0, *b)], **c}",
    "a = -b.c[0] * 2 + len(b)",
    "a = lambda x: f(x)",
    "a = [x for x in b if x]",
    "__all__ = a = ['b']",
]


@pytest.mark.parametrize("text", QUIET)
def test_statements_without_side_effects_count_only_if_reached(parts, text):
    found = parts(text, two="class b: pass\ndef wrapper(f):\n    def g(): return f()\n    return g\n")
    assert "a" in found.definitions
    assert "a" not in found.bound


ACTING = [
    "a = f()",
    "a = 1 if f() else 2",
    "a = [f(x) for x in b]",
    "a = lambda x=f(): x",
    "a = (b := 1)",
    "a: f() = 1",
    "def a(x=f()): pass",
    "def a(x: f()): pass",
    "def a() -> f(): pass",
    "class a:\n    x = f()",
    "class a:\n    f()",
    "class a:\n    def g(self, x=f()): pass",
    "class a:\n    if b: x = 1",
    "class a(f()): pass",
    "class a(metaclass=b): pass",
    "class a(b, c=1): pass",
    "from elsewhere import b\nclass a(b): pass",
    "class b:\n    def __init_subclass__(cls): f()\nclass a(b): pass",
    "class c:\n    def __init_subclass__(cls): f()\nclass b(c): pass\nclass a(b): pass",
    "from lgg.two import watching\nclass a(watching): pass",
    "@f\ndef a(): pass",
    "@f()\ndef a(): pass",
    "@f\nclass a: pass",
    "class a:\n    @f\n    def g(self): pass",
    "class a:\n    staticmethod = f\n    @staticmethod\n    def g(self): pass",
    "from functools import singledispatch\n@singledispatch\ndef b(x): pass\n@b.register\ndef a(x: int): pass",
    "def f(g):\n    known.append(g)\n    return g\n@f\ndef a(): pass",
    "def f(g):\n    def h(x=g()): pass\n    return h\n@f\ndef a(): pass",
    "@f\ndef b(g):\n    return g\n@b\ndef a(): pass",
    "from lgg.two import calling\n@calling\ndef a(): pass",
    "from functools import cache\nfrom other import cache\n@cache\ndef a(): pass",
    "def property(f): f()\n@property\ndef a(): pass",
    "import lgg\na = lgg.attacks",
    "if b:\n    a = 1",
    "if b:\n    def a(): pass",
    "try:\n    a = 1\nexcept f: pass",
    "for a in b: pass",
    "with b as a: pass",
    "match b:\n    case {'x': a}: pass",
    "a = 1\na = 2",
    "a = 1\na += 1",
    "def a(): pass\ndef a(): pass",
    "def a(): pass\nif b: a = 1",
    "import a\ndef a(): pass",
    "a = 1\ndel a",
    "a[0] = 1\na = []\na = 2",
]


@pytest.mark.parametrize("text", ACTING)
def test_statements_with_side_effects_run_on_import(parts, text):
    two = "class watching:\n    def __init_subclass__(cls): f()\ndef calling(f):\n    f()\n    return f\n"
    found = parts(text, two=two)
    assert "a" not in found.definitions
    assert "a" in found.bound


@pytest.mark.parametrize("text", ["def __getattr__(name): pass", "def __dir__(): pass", "__path__ = []"])
def test_names_that_python_looks_up_in_a_module_run_on_import(parts, text):
    assert not parts(text).definitions


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("import os\n", True),
        ("from typing import Any\n", True),
        ("from lgg.files import write_json\nfrom lgg.files import read_json\n", True),
        ("from lgg import files\n", True),
        ("from lgg import errors\n", False),
        ("import torch\n", False),
        ("from torch import nn\n", False),
        ("from math import *\n", False),
        ("from lgg.files import *\n", False),
        ("from __future__ import annotations\n", False),
    ],
)
def test_importing_a_module_runs_the_modules_that_it_imports(parts, text, same):
    before = parts("from lgg.files import write_text\n").always.text
    assert (parts(f"{text}from lgg.files import write_text\n").always.text == before) == same


def test_names_mean_what_imports_bind_anywhere_in_the_module(parts):
    found = parts("import lgg.files, lgg.data as d\nfrom .two import x as y\ndef f():\n    from lgg import graph\n")
    assert found.imported == {
        "lgg": ("lgg",),
        "d": ("lgg.data",),
        "y": ("lgg.two.x",),
        "graph": ("lgg.graph",),
    }
