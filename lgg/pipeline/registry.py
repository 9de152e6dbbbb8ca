"""The registered losses, networks and defences, and how they are constructed and called, read from their files.

None of them is imported.
"""

import ast
import difflib
import importlib.util
import re
from collections.abc import Iterator, Sequence
from functools import cache
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
#: parameters that the `forward` of a distillation loss can have (`lgg.training.objectives.Distillation`)
GIVEN_TO_DISTILLATION = (
    "student_logits",
    "teacher_logits",
    "student_representations",
    "teacher_representations",
    "labels",
)
GIVEN_TO_EMBEDDING = ("the embeddings (B, d)", "the labels (B,)")  # in this order, whatever their names
#: the hooks of a defence and what they are called with (`lgg.defences.base.Defence`)
HOOKS = {
    "inputs": ("the network", "the images", "the labels"),
    "term": ("the outputs",),
    "after_step": ("the network",),
}
GIVEN_TO_NETWORKS = ("num_classes", "mean", "std")
MODULES = ("nn.Module", "torch.nn.Module", "Module")  # a base class without a forward of its own


# --- what is registered -----------------------------------------------------------------------------------------------


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file; ValueError with its name and the line if it is not valid Python."""
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise ValueError(f"{_shown(path)}, line {error.lineno}: this is not Python: {error.msg}") from None
    except ValueError as error:  # null bytes, before Python 3.12
        raise ValueError(f"{_shown(path)}: this is not Python: {error}") from None


def _shown(path: Path) -> str:
    return str(path.relative_to(PACKAGE.parent) if path.is_relative_to(PACKAGE.parent) else path)


def read_exports(path: Path) -> dict[str, Any]:
    """Return the table `_EXPORTS` of the package in `path`; ValueError if it holds anything computed."""
    for node in parse(path).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_EXPORTS" for t in node.targets):
            try:
                return dict(ast.literal_eval(node.value))
            except (ValueError, TypeError):
                raise ValueError(
                    f"{_shown(path)}, line {node.lineno}: _EXPORTS may only hold quoted names, nothing computed"
                ) from None
    return {}


def lazy_exports(path: Path) -> dict[str, str]:
    """Return the table `_EXPORTS` of the package in `path`: for each name the module, as ``.module``, it is loaded from."""
    return {name: source for name, source in read_exports(path).items() if isinstance(source, str)}


@cache
def losses() -> dict[str, str]:
    """Return the class of each loss, by its module, a file of lgg/losses/."""
    exports = lazy_exports(PACKAGE / "losses" / "__init__.py")
    # the other exports are functions
    return {source.removeprefix("."): name for name, source in exports.items() if name[0].isupper()}


@cache
def defences() -> dict[str, str]:
    """Return the class of each defence, by its module, a file of lgg/defences/."""
    exports = lazy_exports(PACKAGE / "defences" / "__init__.py")
    # the base classes of defences are exported too
    return {source.removeprefix("."): name for name, source in exports.items() if source != ".base"}


@cache
def networks() -> dict[str, tuple[str, str]]:
    """Return the module, a file of lgg/models/, and the class of each network by its name.

    Raises ValueError if the table that registers them has another form.
    """
    path = PACKAGE / "models" / "__init__.py"
    found = read_exports(path)
    for name, entry in found.items():
        if not (isinstance(entry, tuple) and len(entry) == 2 and all(isinstance(part, str) for part in entry)):
            raise ValueError(f'{_shown(path)}: the entry of {name!r} in _EXPORTS must have the form ("file", "Class")')
    return found


# --- how losses and defences are made, and how losses are called -------------------------------------------------------


@cache
def loss_arguments(module: str) -> dict[str, bool] | None:
    """Return the arguments of the loss in `module`, and whether each is required.

    None if its class takes any arguments, or inherits them from outside this package. Raises ValueError if the file or the
    class registered for it is missing, or the file is not valid Python.
    """
    return _arguments(*_loss(module))


@cache
def defence_arguments(module: str) -> dict[str, bool] | None:
    """Return what `loss_arguments` does, for the defence in `module`."""
    return _arguments(PACKAGE / "defences" / f"{module}.py", defences()[module])


def check_defence(module: str) -> None:
    """Raise ValueError where the class of the defence in `module` is no Defence, or a hook of it cannot be called.

    A method whose name is almost a hook's counts as a misspelt hook: nothing would call it.
    """
    path, name = PACKAGE / "defences" / f"{module}.py", defences()[module]
    lineage = list(_lineage(path, name))
    if None not in lineage and "Defence" not in (node.name for node in lineage if node):
        raise ValueError(f"{_shown(path)}: {name} must be a subclass of lgg.defences.Defence")
    for hook, given in HOOKS.items():
        signature = _signature(path, name, hook) if any(_has(node, hook) for node in lineage) else None
        try:
            if signature is not None:
                signature.bind(*given)
        except TypeError as error:
            raise ValueError(
                f"{_shown(path)}: {hook} of {name} is called with {', '.join(given)}, by position: {error}"
            ) from None
    for method in (one for one in lineage[0].body if isinstance(one, ast.FunctionDef)) if lineage[0] else ():
        near = difflib.get_close_matches(method.name, HOOKS, n=1, cutoff=0.8)
        if near and method.name not in HOOKS:
            raise ValueError(
                f"{_shown(path)}: {name} has {method.name!r}, which nothing calls; did you mean {near[0]!r}?"
            )


def _has(node: ast.ClassDef | None, method: str) -> bool:
    return node is not None and any(_defines(one, method) for one in node.body)


def check_distillation_loss(module: str) -> None:
    """Raise ValueError if the `forward` of the loss in `module` cannot be called with what distillation provides."""
    path, name = _loss(module)
    signature = _signature(path, name, "forward")
    if signature is None:
        return
    where, names = f"{_shown(path)}: forward of {name}", ", ".join(GIVEN_TO_DISTILLATION)
    parameters = signature.parameters.values()
    if by_place := [one.name for one in parameters if one.kind is Parameter.POSITIONAL_ONLY]:
        raise ValueError(
            f"{where} takes {by_place[0]!r} by position only, but all arguments are passed by name: remove the /"
        )
    wanted = [one for one in GIVEN_TO_DISTILLATION if _takes_anything(signature) or one in signature.parameters]
    needed = [name for name, is_needed in _named(signature).items() if is_needed]
    if unknown := [name for name in needed if name not in wanted]:
        raise ValueError(f"{where} needs {', '.join(map(repr, unknown))}, which it is not given; it is given {names}")
    if not wanted:
        raise ValueError(f"{where} takes none of the arguments it is given: {names}")


def check_embedding_loss(module: str) -> None:
    """Raise ValueError if the `forward` of the loss in `module` cannot be called with embeddings and labels."""
    path, name = _loss(module)
    signature = _signature(path, name, "forward")
    try:
        if signature is not None:
            signature.bind(*GIVEN_TO_EMBEDDING)
    except TypeError as error:
        raise ValueError(
            f"{_shown(path)}: forward of {name} is called with {' and '.join(GIVEN_TO_EMBEDDING)}, by position: {error}"
        ) from None


def _loss(module: str) -> tuple[Path, str]:
    return PACKAGE / "losses" / f"{module}.py", losses()[module]


# --- how a network is made ---------------------------------------------------------------------------------------------


@cache
def network_arguments(name: str) -> dict[str, bool] | None:
    """Return a network's arguments other than `num_classes`, `mean` and `std`, and whether each is required.

    None if its class takes any arguments, or inherits them from outside this package. Raises ValueError if it does not take
    these three, or if its file or class is missing.
    """
    path, class_name = _network(name)
    found = _arguments(path, class_name)
    if found is None:
        return None
    if missing := [one for one in GIVEN_TO_NETWORKS if one not in found]:
        raise ValueError(
            f"{_shown(path)}: __init__ of {class_name} takes no {', '.join(missing)}; every network is made with "
            f"{', '.join(GIVEN_TO_NETWORKS)}, by name"
        )
    return {one: needed for one, needed in found.items() if one not in GIVEN_TO_NETWORKS}


@cache
def network_layers(name: str) -> tuple[str, ...]:
    """Return the names of a network's representations, listed in `layers` of its class; ValueError if they are not."""
    path, class_name = _network(name)
    for node in _lineage(path, class_name):
        for one in node.body if node else []:
            if _assigns(one, "layers"):
                assert isinstance(one, ast.Assign | ast.AnnAssign)
                found = _literal(one.value)
                if isinstance(found, tuple) and found and all(isinstance(layer, str) for layer in found):
                    return found
    raise ValueError(
        f'{_shown(path)}: {class_name} needs a line `layers = ("first", "second")` with the names of its representations'
    )


def _literal(node: ast.expr | None) -> Any:
    if node is None:  # a name with only a type
        return None
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def _network(name: str) -> tuple[Path, str]:
    module, class_name = networks()[name]
    return PACKAGE / "models" / f"{module}.py", class_name


def class_arguments(path: Path, name: str) -> dict[str, bool] | None:
    """Return the arguments of a network's class in a file of your own, and whether each is required.

    `num_classes`, which it is given if it takes it, is left out. None if the class takes any arguments, or if this file does
    not show them: of a class that inherits them from another file, or a function that returns a network. Raises ValueError if
    there is no such file or class, or the file is not valid Python.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}. Put it there or correct the path")
    body = parse(path).body
    classes = [node.name for node in body if isinstance(node, ast.ClassDef)]
    if name in classes:
        taken = _arguments(path, name)
        return None if taken is None else {one: needed for one, needed in taken.items() if one != "num_classes"}
    others = {alias.asname or alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    if name in others or any(_defines(node, name) for node in body):
        return None
    near = difflib.get_close_matches(name, classes, n=1)
    raise ValueError(
        f"{path} has no class {name!r}{f'; did you mean {near[0]!r}?' if near else '.'} "
        f"Its classes: {', '.join(classes) or 'none'}"
    )


@cache
def torchvision_models() -> tuple[str, ...]:
    """Return the names of torchvision's classifiers, read from its files; empty where it is not installed."""
    return _registered_models("torchvision")


@cache
def timm_models() -> tuple[str, ...]:
    """Return the names of timm's networks, read from its files; empty where it is not installed."""
    return _registered_models("timm")


def _registered_models(library: str) -> tuple[str, ...]:
    spec = importlib.util.find_spec(library)
    folder = Path((spec.submodule_search_locations or [""])[0], "models") if spec else Path("nowhere")
    texts = (path.read_text(encoding="utf-8") for path in sorted(folder.glob("[a-z]*.py")))
    registered = re.compile(r"^@register_model\b(?:\(\))?\n(?:@.*\n)*def (\w+)", re.MULTILINE)
    return tuple(sorted({name for text in texts for name in registered.findall(text)}))


# --- reading a class ---------------------------------------------------------------------------------------------------


def _arguments(path: Path, class_name: str) -> dict[str, bool] | None:
    """Return the keyword arguments of a class, and whether each is required; None if this package's files do not show them."""
    signature = _signature(path, class_name, "__init__")
    return None if signature is None or _takes_anything(signature) else _named(signature)


def _takes_anything(signature: Signature) -> bool:
    return any(one.kind is Parameter.VAR_KEYWORD for one in signature.parameters.values())


def _named(signature: Signature) -> dict[str, bool]:
    several = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    parameters = signature.parameters.items()
    return {name: one.default is Parameter.empty for name, one in parameters if one.kind not in several}


def _signature(path: Path, class_name: str, method: str) -> Signature | None:
    """Return the signature of a method without its `self`; None if this package's files do not show it.

    A class without an `__init__` takes no arguments. Raises ValueError if there is no `forward`, or if it cannot be called
    like a function.
    """
    for node in _lineage(path, class_name):
        if node is None:
            return None
        found = [one for one in node.body if _defines(one, method)]
        if found and isinstance(found[-1], ast.FunctionDef):
            return _signature_of(found[-1], f"{_shown(path)}, line {found[-1].lineno}")
        if found and isinstance(found[-1], ast.AsyncFunctionDef):
            raise ValueError(
                f"{_shown(path)}, line {found[-1].lineno}: {method} is `async`, which training cannot call"
            )
        if found:  # an assignment
            return None
        if method == "__init__" and node.decorator_list:  # such as dataclass, which writes one
            return None
    if method == "__init__":
        return Signature()
    raise ValueError(f"{_shown(path)}: {class_name} has no {method}")


def _defines(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name == name
    return _assigns(node, name)


def _assigns(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _signature_of(function: ast.FunctionDef, where: str) -> Signature:
    given = function.args
    places = [*given.posonlyargs, *given.args]
    first_default = len(places) - len(given.defaults)
    parameters = [
        Parameter(
            one.arg,
            Parameter.POSITIONAL_ONLY if place < len(given.posonlyargs) else Parameter.POSITIONAL_OR_KEYWORD,
            default=Parameter.empty if place < first_default else None,
        )
        for place, one in enumerate(places)
    ]
    if "staticmethod" not in map(ast.unparse, function.decorator_list):
        if (not parameters and not given.vararg) or (parameters and parameters[0].name in GIVEN_TO_DISTILLATION):
            raise ValueError(f"{where}: {function.name} lacks its first parameter, `self`")
        parameters = parameters[1:]
    if given.vararg:
        parameters.append(Parameter(given.vararg.arg, Parameter.VAR_POSITIONAL))
    parameters += [
        Parameter(one.arg, Parameter.KEYWORD_ONLY, default=Parameter.empty if default is None else None)
        for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    if given.kwarg:
        parameters.append(Parameter(given.kwarg.arg, Parameter.VAR_KEYWORD))
    return Signature(parameters)


def _lineage(path: Path, name: str) -> Iterator[ast.ClassDef | None]:
    """Yield a class and the classes it inherits from; None for one outside this package.

    Raises ValueError if the file or the class is missing.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {_shown(path)}, which should define the class {name}")
    body = parse(path).body
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    if name not in classes:
        raise ValueError(f"{_shown(path)} has no class {name}, which is registered for it")
    yield classes[name]
    for base in map(ast.unparse, classes[name].bases):
        if base in MODULES:
            continue
        source = _source(path, body, base)
        if source:
            yield from _lineage(*source)
        elif base in classes and base != name:
            yield from _lineage(path, base)
        else:
            yield None


def _source(path: Path, body: Sequence[ast.stmt], name: str) -> tuple[Path, str] | None:
    """Return the file of this package that a name is imported from, and its name there."""
    for node in body:
        for alias in node.names if isinstance(node, ast.ImportFrom) else []:
            if (alias.asname or alias.name) != name:
                continue
            assert isinstance(node, ast.ImportFrom)
            parts = (node.module or "").split(".") if node.module else []
            if node.level:
                folder = path.parents[node.level - 1]
            elif parts[:1] == [PACKAGE.name]:
                folder, parts = PACKAGE, parts[1:]
            else:
                return None
            base = folder.joinpath(*parts)
            if (base / "__init__.py").is_file():  # such as lgg.losses, whose names are loaded from its modules
                module = lazy_exports(base / "__init__.py").get(alias.name)
                return (base / f"{module.removeprefix('.')}.py", alias.name) if module else None
            return base.with_suffix(".py"), alias.name
    return None
