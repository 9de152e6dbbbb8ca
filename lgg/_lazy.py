"""Names of a package that load their module at first use, so that importing `lgg` alone imports no torch."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_attributes(package: str, exports: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module-level ``__getattr__`` for `package` that finds each name of `exports` in the module it names.

    A name whose module is called like itself is that module.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 — the name that PEP 562 asks for
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(exports[name], package)
        return module if exports[name] == f".{name}" else getattr(module, name)

    return __getattr__
