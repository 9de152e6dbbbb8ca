"""The defences of Section 4.3, one per file; any of them can be combined."""

from typing import TYPE_CHECKING

from lgg._lazy import lazy_attributes

# class: its module. A configuration names a defence by its module, `name: parseval`.
_EXPORTS = {
    "Adversarial": ".adversarial",
    "Defence": ".base",
    "Outputs": ".base",
    "Parseval": ".parseval",
    "Regularizer": ".regularizer",
    "Term": ".base",
}
__all__ = ["Adversarial", "Defence", "Outputs", "Parseval", "Regularizer", "Term", "build"]

if TYPE_CHECKING:
    from typing import Any

    from lgg.defences.adversarial import Adversarial
    from lgg.defences.base import Defence, Outputs, Term
    from lgg.defences.parseval import Parseval
    from lgg.defences.regularizer import Regularizer

__getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)


def build(name: str, **options: "Any") -> "Defence":
    """Return the defence whose module is `name`, made with `options`; imports neither other defences nor PyTorch.

    Raises ValueError if there is no such defence.
    """
    classes = {module.removeprefix("."): cls for cls, module in _EXPORTS.items() if module != ".base"}
    if name not in classes:
        raise ValueError(f"there is no defence {name!r}; there are {', '.join(sorted(classes))}")
    defence: Defence = __getattr__(classes[name])(**options)
    return defence
