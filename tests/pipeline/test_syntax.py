import ast
import hashlib

import pytest

from lgg.pipeline import syntax

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
    return syntax.canonical(ast.parse(text))


def test_the_text_of_code_is_fixed():
    """The value was the same in CPython 3.11.7, 3.12.1, 3.13.0, 3.13.5 and 3.14.2; a different one would rerun everything."""
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


def test_fields_that_other_versions_add_do_not_count():
    tree = ast.parse('def f(x, y):\n    return f"{x:>{y}}", f"{x}"')
    before = syntax.canonical(tree)
    function = tree.body[0]
    first, second = function.body[0].value.elts
    # 3.12 ends a format with an empty text, and has parameters of types
    first.values[0].format_spec.values.append(ast.Constant(""))
    second.values.insert(0, ast.Constant(""))
    second.values[1].format_spec = ast.JoinedStr([ast.Constant("")])
    function.type_params, function._fields = [], (*function._fields, "type_params")
    assert syntax.canonical(tree) == before
    function.type_params = [ast.Name("T", ast.Load())]
    assert syntax.canonical(tree) != before
