"""The package's modules as syntax trees, and as canonical text that changes only with what the code does.

Comments, docstrings, layout and the version of Python that reads the files do not matter. The modules are not imported.
"""

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lgg.pipeline.registry import parse, read_exports

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT.name

# fields of a syntax tree that follow from others, or do not affect results: u"a" is "a"
_SILENT = {"ctx", "kind", "type_comment"}


@cache
def path_of(module: str) -> Path | None:
    """Return the file of a module, as ``lgg.losses.hinton``; None if there is none."""
    package, *parts = module.split(".")
    base = ROOT.joinpath(*parts)
    candidates = (base / "__init__.py", base.with_suffix(".py")) if package == PACKAGE else ()
    # the exact name: on a case-insensitive file system the class losses.Triplet would be found as losses/triplet.py
    return next((path for path in candidates if path.is_file() and path in path.parent.iterdir()), None)


@cache
def tree(module: str) -> ast.Module:
    """Return the syntax tree of a module, without parts that do not affect results; ValueError if there is no such module."""
    path = path_of(module)
    if path is None:
        raise ValueError(f"there is no module {module}")
    return _Essence(path.name == "__init__.py").visit(parse(path))  # type: ignore[no-any-return]


@cache
def exports_of(module: str) -> Mapping[str, str]:
    """Return the table `_EXPORTS` of a package: for each name the path, as ``lgg.graph.laplacian``, of what it loads."""
    path = path_of(module)
    table = read_exports(path) if path and path.name == "__init__.py" else {}
    found = {}
    for name, entry in table.items():
        # a network is registered with its file and class; a name that maps to a module of the same name is that module
        parts = entry if isinstance(entry, tuple) else (entry[1:],) if entry == f".{name}" else (entry[1:], name)
        found[name] = ".".join((module, *parts))
    return found


def canonical(node: Any) -> str:
    """Return a syntax tree as ASCII text that is the same in every version of Python.

    `ast.unparse` and `ast.dump` write f-strings and empty fields differently from version to version, and `repr` escapes
    characters by the Unicode tables of its Python.
    """
    if isinstance(node, list):
        return f"[{','.join(map(canonical, node))}]"
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__} {node!a}"
    fields = {name: getattr(node, name, None) for name in node._fields if name not in _SILENT}
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _joined(node)
    if isinstance(node, ast.FormattedValue) and isinstance(node.format_spec, ast.JoinedStr):
        fields["format_spec"] = node.format_spec if _joined(node.format_spec) else None
    # empty ones are left out, since new versions add fields: type_params came with 3.12
    held = sorted((name, value) for name, value in fields.items() if value is not None and value != [])
    return f"{type(node).__name__}({','.join(f'{name}={canonical(value)}' for name, value in held)})"


def _joined(string: ast.JoinedStr) -> list[ast.expr]:
    """Return the parts of an f-string with adjacent texts merged, without the empty ones that some versions add."""
    parts: list[ast.expr] = []
    for part in string.values:
        before = parts[-1] if parts else None
        if not isinstance(part, ast.Constant):
            parts.append(part)
        elif isinstance(before, ast.Constant):
            parts[-1] = ast.Constant(str(before.value) + str(part.value))
        elif part.value:
            parts.append(part)
    return parts


def _is_table(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)] == ["_EXPORTS"]


class _Essence(ast.NodeTransformer):
    """Removes what does not affect results: docstrings, imports for type checkers, and tables of lazy exports.

    What a table lists counts if it is used, not in every stage that imports the package.
    """

    def __init__(self, is_package: bool) -> None:
        self.is_package = is_package

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        visited = self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse
        return visited

    def visit_Module(self, node: ast.Module) -> ast.AST:
        if self.is_package:
            node.body = [one for one in node.body if not _is_table(one)]
        return self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, documented) and isinstance(body, list) and ast.get_docstring(node, clean=False) is not None:
            node.body = body[1:] or [ast.Pass()]
        return node
