"""Lazy attributes of packages, so that `import lgg` does not import torch."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_attributes(package: str, exports: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for `package`, which load each name of `exports` from its module on first use.

    A name that maps to a module of the same name is that module. ``dir`` lists the public names, loaded or not.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 — the name that PEP 562 asks for
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(exports[name], package)
        return module if exports[name] == f".{name}" else getattr(module, name)

    def __dir__() -> list[str]:  # noqa: N807
        names = vars(sys.modules[package])
        return sorted({*exports, *names["__all__"], *(name for name in names if name.startswith("__"))})

    return __getattr__, __dir__
