"""Names of a package that load their module on first use, so that importing `lgg` alone imports no torch."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_attributes(package: str, exports: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for `package`: each name of `exports` is loaded from the module it maps to.

    A name that maps to a module of the same name is that module. Names that are not loaded yet are listed as well.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 — the name that PEP 562 asks for
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(exports[name], package)
        return module if exports[name] == f".{name}" else getattr(module, name)

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(sys.modules[package]), *exports})

    return __getattr__, __dir__
