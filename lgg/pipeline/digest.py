"""A digest of the code that a stage runs, so that editing a module reruns the stages it can affect and no others.

Comments, docstrings and layout do not count, nor does the version of Python that reads the files. Reading them imports
none of them, and this module needs the standard library alone.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from lgg.pipeline.registry import lazy_exports, parse

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT.name

# fields of a syntax tree that follow from the others, or change no result: u"a" is "a"
_SILENT = {"ctx", "kind", "type_comment"}


def code_digest(*modules: str) -> str:
    """Return a hexadecimal digest of `modules` and of everything inside the package that they import.

    A module that is chosen at run time by its name (a loss, a network) is not seen by reading imports: name it too.
    """
    digest = hashlib.sha256()
    for module in sorted(import_closure(*modules)):
        digest.update(f"{module}\n{_code(module)}\n".encode())
    return digest.hexdigest()[:16]


def import_closure(*modules: str) -> set[str]:
    """Return `modules`, all modules of the package that they import, however deep, and the packages these lie in."""
    closure: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in closure:
            closure.add(module)
            waiting += _imports(module)
            if "." in module:
                waiting.append(module.rpartition(".")[0])
    return closure


def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split(".")[1:])
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    # the exact name: where capitals do not count, losses.Triplet, a class, would be found in losses/triplet.py
    return next((path for path in candidates if path.is_file() and path in path.parent.iterdir()), None)


def canonical(node: Any) -> str:
    """Return a syntax tree as ASCII text that is the same in every version of Python, its code being what it is.

    `ast.unparse` and `ast.dump` are not: they spell f-strings and empty fields in their own ways from version to version,
    and `repr` escapes characters by the Unicode tables of its Python.
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
    """Return the parts of an f-string with adjacent texts as one, without empty ones, which some versions put in."""
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


@cache
def _tree(module: str) -> ast.Module:
    path = _path(module)
    if path is None:
        raise ValueError(f"there is no module {module}")
    return _Essence().visit(parse(path))  # type: ignore[no-any-return]


@cache
def _code(module: str) -> str:
    return canonical(_tree(module))


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Return the modules of the package that `module` imports, at its top or inside its functions."""
    found: list[str] = []
    for node in ast.walk(_tree(module)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from lgg.data import storage` names a module, `from lgg.graph import laplacian` a thing inside one
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            lazy = _lazy_exports(node.module)
            names += [node.module + lazy[alias.name] for alias in node.names if alias.name in lazy]
        found += [name for name in names if name.split(".")[0] == PACKAGE and _path(name)]
    return tuple(found)


@cache
def _lazy_exports(module: str) -> dict[str, str]:
    """Return the table `_EXPORTS` of a package: for each name the module, as ``.module``, that it is loaded from."""
    path = _path(module) if module.split(".")[0] == PACKAGE else None
    return lazy_exports(path) if path else {}


class _Essence(ast.NodeTransformer):
    """Takes away what changes no result: docstrings, imports for type checkers, and tables of lazy exports.

    A module named in `_EXPORTS` counts where it is used, not in every stage that imports the package.
    """

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        visited = self.generic_visit(node)
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse
        return visited

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return None if names and set(names) <= {"_EXPORTS", "__all__", "__version__"} else node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, documented) and isinstance(body, list) and ast.get_docstring(node, clean=False) is not None:
            node.body = body[1:] or [ast.Pass()]
        return node
