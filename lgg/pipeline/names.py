"""Names in a module: which ones it binds, what its imports make them refer to, and which ones code mentions."""

import ast
from collections.abc import Iterator
from functools import cache

from lgg.pipeline.syntax import PACKAGE, exports_of, path_of, tree

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def is_mangled(name: str) -> bool:
    """Return whether Python mangles `name` inside a class, by prefixing the name of the class."""
    return name.startswith("__") and not name.endswith("__")


@cache
def scan(node: ast.AST, module: str) -> tuple[frozenset[str], tuple[tuple[str, str], ...]]:
    """Return the names in a piece of code, each with the attributes used, and what it imports under which names."""
    mentions: set[str] = set()
    imports: list[tuple[str, str]] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        attributes: list[str] = []
        while isinstance(one, ast.Attribute):
            attributes.append(one.attr)
            one = one.value
        mentions.update(f".{attribute}" for attribute in attributes)
        if isinstance(one, ast.Name):
            mentions.add(".".join((one.id, *reversed(attributes))))
        elif isinstance(one, ast.Import | ast.ImportFrom):
            imports += imported_by(one, module)
        else:
            waiting += ast.iter_child_nodes(one)
    return frozenset(mentions), tuple(imports)


def imported_by(node: ast.AST, module: str) -> Iterator[tuple[str, str]]:
    """Yield the names that an import statement binds, and the path that each refers to."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or alias.name, alias.name
    elif isinstance(node, ast.ImportFrom):
        source = _source(node, module)
        for alias in node.names:
            yield alias.asname or alias.name, f"{source}.{alias.name}"


def _source(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    path = path_of(module)
    parts = module.split(".") + ([""] if path and path.name == "__init__.py" else [])
    return ".".join([*parts[: -node.level], *([node.module] if node.module else [])])


@cache
def names_imported(module: str) -> dict[str, tuple[str, ...]]:
    """Return, for each name that an import binds anywhere in a module, the paths that it may refer to."""
    found: dict[str, tuple[str, ...]] = {}
    for node in tree(module).body:
        for name, path in scan(node, module)[1]:
            if "." in name:  # import a.b binds a
                name = path = name.partition(".")[0]
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), path)))
    return found


@cache
def names_bound(module: str) -> dict[str, list[ast.stmt]]:
    """Return the statements at the top of a module that may bind each name, except plain imports."""
    found: dict[str, list[ast.stmt]] = {}
    for node in tree(module).body:
        for name in bound_by(node):
            found.setdefault(name, []).append(node)
    return found


def bound_by(node: ast.stmt) -> set[str]:
    """Return the names that a statement at the top of a module may bind, except a plain import."""
    if isinstance(node, Definition):
        return {node.name}
    found: set[str] = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
            found.add(one.id)
        elif isinstance(one, Definition | ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and one.name:
            found.add(one.name)
        elif isinstance(one, ast.MatchMapping) and one.rest:
            found.add(one.rest)
        elif isinstance(one, ast.alias):
            found.add(one.asname or one.name.partition(".")[0])
    # a name that is imported twice has two paths, and both are followed
    return set() if isinstance(node, ast.Import | ast.ImportFrom) else found


def path_meant(node: ast.expr, module: str) -> str | None:
    """Return what a dotted name refers to, as ``functools.cache``; None if it is ambiguous, or for other expressions."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    places = [*names_imported(module).get(node.id, ())]
    if node.id in names_bound(module):
        places.append(f"{module}.{node.id}")
    if len(places) > 1:
        return None
    return ".".join((*(places or [node.id]), *reversed(attributes)))


@cache
def loaded(path: str) -> tuple[str, ...]:
    """Return the modules of the package that importing `path`, a module or something in one, loads."""
    if path.split(".")[0] != PACKAGE:
        return ()
    if path_of(path):
        return (path,)
    module, _, name = path.rpartition(".")
    lazy = exports_of(module).get(name)
    return (*loaded(module), *(loaded(lazy) if lazy and lazy != path else ()))
