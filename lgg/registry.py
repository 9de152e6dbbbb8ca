"""Which losses there are and which arguments they take, read from their files. Imports none of them."""

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def lazy_exports(path: Path) -> dict[str, str]:
    """Return the table `_EXPORTS` of the package in `path`: for each name the module, as ``.module``, it is loaded from."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_EXPORTS" for t in node.targets):
            return {name: source for name, source in ast.literal_eval(node.value).items() if isinstance(source, str)}
    return {}


@cache
def losses() -> dict[str, str]:
    """Return the class of each loss by the module, a file of lgg/losses/, that holds it."""
    exports = lazy_exports(PACKAGE / "losses" / "__init__.py")
    # the others are functions beside the losses
    return {source.removeprefix("."): name for name, source in exports.items() if name[0].isupper()}


@cache
def arguments(module: str) -> dict[str, bool]:
    """Return the arguments that the loss in `module` is made with, and whether it needs each.

    Raises ValueError where the file, or the class that is registered for it, is not there.
    """
    path = PACKAGE / "losses" / f"{module}.py"
    name = losses()[module]
    if not path.is_file():
        raise ValueError(f"there is no file {path.relative_to(PACKAGE.parent)}, which {name} is registered to be in")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            made = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
            return _arguments(made[0].args) if made else {}
    raise ValueError(f"{path.relative_to(PACKAGE.parent)} has no class {name}, which is registered to be there")


def _arguments(given: ast.arguments) -> dict[str, bool]:
    positional = [*given.posonlyargs, *given.args][1:]  # without self
    needed = len(positional) - len(given.defaults)
    found = {one.arg: place < needed for place, one in enumerate(positional)}
    return found | {one.arg: default is None for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)}
