"""Which statements at the top of a module only create functions, classes or constants, and which have side effects.

Creating one has no side effects if it calls only functions known to have none (`HARMLESS`, which includes decorators that
only wrap) and has no base class that could notice its subclasses. Attributes, subscripts, operators, loops over constants and
annotations are assumed to have none.
"""

import ast
from collections.abc import Iterable

from lgg.pipeline.names import bound_by, names_bound, names_imported, path_meant
from lgg.pipeline.syntax import PACKAGE, exports_of, path_of

# modules whose unused import changes nothing
QUIET = {
    *("abc", "argparse", "ast", "collections", "collections.abc", "contextlib", "dataclasses", "enum"),
    *("fractions", "functools", "hashlib", "io", "itertools", "json", "math", "operator", "os", "pathlib", "re", "sys"),
    *("threading", "time", "typing"),
}
# modules of classes that do not react to being subclassed
_QUIET_BASES = {*QUIET, "builtins", "torch.autograd", "torch.nn"}
#: functions without side effects, which may store a function they are given but do not call it
HARMLESS = {
    *("bool", "classmethod", "dict", "float", "frozenset", "int", "len", "list", "property", "range", "set"),
    *("staticmethod", "str", "tuple"),
    *("abc.abstractmethod", "contextlib.contextmanager", "dataclasses.dataclass", "dataclasses.field"),
    *("fractions.Fraction", "functools.cache", "functools.cached_property", "functools.lru_cache", "functools.partial"),
    *("functools.wraps", "math.radians", "math.sqrt", "numpy.array", "numpy.tan", "pathlib.Path", "re.compile"),
    *("threading.Lock", "torch.no_grad", "typing.ParamSpec", "typing.TypeVar", "typing.get_args", "typing.overload"),
}
_DUNDERS = {"__all__", "__version__"}  # Python itself looks up the other names of this form


def only_makes_values(node: ast.stmt, module: str) -> bool:
    """Return whether a statement at the top of a module only creates functions, classes or constants."""
    if any(name.startswith("__") and name not in _DUNDERS for name in bound_by(node)):
        return False
    if isinstance(node, ast.ClassDef):
        return _is_quiet_class(node, module)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _is_quiet_function(node, module)
    return _is_quiet_assignment(node, module)


def _is_quiet_assignment(node: ast.stmt, module: str) -> bool:
    if isinstance(node, ast.Assign):
        targets = [each for one in node.targets for each in (one.elts if isinstance(one, ast.Tuple) else [one])]
        return all(isinstance(target, ast.Name) for target in targets) and not _acts([node.value], module)
    if isinstance(node, ast.AnnAssign):
        parts = [node.annotation, *([node.value] if node.value else [])]
        return isinstance(node.target, ast.Name) and not _acts(parts, module)
    return False


def _is_quiet_function(node: ast.FunctionDef | ast.AsyncFunctionDef, module: str) -> bool:
    return all(_only_wraps(one, module) for one in node.decorator_list) and not _acts([node.args, node.returns], module)


def _is_quiet_class(node: ast.ClassDef, module: str) -> bool:
    return (
        not node.keywords
        and not _uses_own_names(node)
        and all(_only_wraps(one, module) for one in node.decorator_list)
        and all(_is_quiet_base(one, module) for one in node.bases)
        and all(_is_quiet_in_a_class(one, module) for one in node.body)
    )


def _uses_own_names(node: ast.ClassDef) -> bool:
    """Return whether a class body uses names that it binds itself, which may hide those of the module."""
    own = {name for one in node.body for name in bound_by(one)}
    evaluated: list[ast.AST] = []
    for one in node.body:
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            evaluated += [one.args, *(each for each in one.decorator_list if not _changes_a_property(each))]
        else:
            evaluated.append(one)
    return any(
        isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load) and one.id in own
        for each in evaluated
        for one in ast.walk(each)
    )


def _changes_a_property(decorator: ast.expr) -> bool:
    return (
        isinstance(decorator, ast.Attribute)
        and decorator.attr in ("setter", "getter", "deleter")
        and isinstance(decorator.value, ast.Name)
    )


def _is_quiet_in_a_class(node: ast.stmt, module: str) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _is_quiet_function(node, module)
    if isinstance(node, ast.ClassDef):
        return _is_quiet_class(node, module)
    is_nothing = isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    return is_nothing or _is_quiet_assignment(node, module)


def _is_quiet_base(node: ast.expr, module: str) -> bool:
    """Return whether a base class does not react to being subclassed."""
    if isinstance(node, ast.Subscript):
        return _is_quiet_base(node.value, module) and not _acts([node.slice], module)
    path = path_meant(node, module)
    if path is None:
        return False
    source = path.rpartition(".")[0]
    if source.split(".")[0] != PACKAGE:
        return (source or "builtins") in _QUIET_BASES
    found = _definition(path)
    return (
        isinstance(found, ast.ClassDef)
        and not any(isinstance(one, ast.FunctionDef) and one.name == "__init_subclass__" for one in found.body)
        and _is_quiet_class(found, source)
    )


def _only_wraps(decorator: ast.expr, module: str) -> bool:
    """Return whether a decorator keeps its argument without calling it or registering it elsewhere."""
    if _changes_a_property(decorator):
        return True
    if isinstance(decorator, ast.Call):
        return not _acts([decorator], module)
    path = path_meant(decorator, module)
    if path in HARMLESS:
        return True
    found = _definition(path) if path else None
    if path is None or not isinstance(found, ast.FunctionDef) or found.decorator_list:
        return False
    source = path.rpartition(".")[0]
    return all(
        (isinstance(one, ast.Return) and isinstance(one.value, ast.Name))
        or (
            isinstance(one, ast.FunctionDef)
            and not _acts([one.args, one.returns, *one.decorator_list], source)
            and all(isinstance(each, ast.Call) for each in one.decorator_list)
        )
        for one in found.body
    )


def _definition(path: str) -> ast.stmt | None:
    """Return the one statement that binds the name at the end of `path` at the top of its module, None if unsure."""
    module, _, name = path.rpartition(".")
    if path_of(module) is None or name in names_imported(module):
        return None
    found = names_bound(module).get(name, [])
    return found[0] if len(found) == 1 else None


def _acts(nodes: Iterable[ast.AST | None], module: str) -> bool:
    """Return whether evaluating expressions may have side effects."""
    waiting = [node for node in nodes if node is not None]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
            return True
        if isinstance(node, ast.Call) and path_meant(node.func, module) not in HARMLESS:
            return True
        if isinstance(node, ast.Attribute) and _loads(node, module):
            return True
        waiting += [node.args] if isinstance(node, ast.Lambda) else ast.iter_child_nodes(node)
    return False


def _loads(node: ast.Attribute, module: str) -> bool:
    """Return whether an attribute may belong to a package, which loads its module at first use."""
    path = path_meant(node.value, module)
    return path is not None and bool(exports_of(path))
