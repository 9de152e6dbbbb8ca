"""What pyproject.toml promises and what files import, by the names of modules."""

import ast
import importlib.metadata
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: distributions that are imported under another name
IMPORTED = {
    "markdown-it-py": "markdown_it",
    "mkdocs-material": "material",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
}


def requirements(extra: str | None = None) -> dict[str, Requirement]:
    """Return the requirements of the package, or of an extra and of those that it includes, by their normalised name."""
    if extra is None:
        return {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["dependencies"])}
    found = {}
    for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
        if requirement.name == PROJECT["name"]:
            for included in requirement.extras:
                found |= requirements(included)
        else:
            found[canonicalize_name(requirement.name)] = requirement
    return requirements() | found


def promised(extra: str | None = None) -> set[str]:
    """Return the distributions that the package asks for, or an extra of it."""
    return set(requirements(extra))


def installed_with(distributions: set[str]) -> set[str]:
    """Return `distributions` and those of their dependencies that are installed here."""
    found: set[str] = set()
    waiting = list(distributions)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needs = map(Requirement, importlib.metadata.requires(name) or ())
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [canonicalize_name(r.name) for r in needs if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


def modules(distributions: set[str]) -> set[str]:
    """Return the names under which `distributions` are imported."""
    return {IMPORTED.get(name, name.replace("-", "_")) for name in distributions}


def imported(text: str) -> set[str]:
    """Return the third-party packages that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    own = {
        name
        for folder in ("tests", "benchmarks", "tools", "examples")
        for path in (ROOT / folder).rglob("*.py")
        for name in (path.stem, path.parent.name)  # a module, or a package of some
    } | {"lgg"}
    return found - set(sys.stdlib_module_names) - own
