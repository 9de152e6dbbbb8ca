"""The losses, one a file. Each is a module that returns an unweighted scalar."""

from typing import TYPE_CHECKING

from lgg._lazy import lazy_attributes

# class: its module. A configuration names a loss by its module, `loss: relational`.
_EXPORTS = {
    "GraphDistillation": ".graph_distillation",
    "HintonDistillation": ".hinton",
    "RelationalDistillation": ".relational",
}
__all__ = ["GraphDistillation", "HintonDistillation", "RelationalDistillation", "build"]

if TYPE_CHECKING:
    from typing import Any

    from torch import nn

    from lgg.losses.graph_distillation import GraphDistillation
    from lgg.losses.hinton import HintonDistillation
    from lgg.losses.relational import RelationalDistillation

__getattr__ = lazy_attributes(__name__, _EXPORTS)


def build(name: str, **options: "Any") -> "nn.Module":
    """Return the loss whose module is `name`, made with `options`; no other loss is imported.

    Raises ValueError for a name that no loss has.
    """
    classes = {module.removeprefix("."): cls for cls, module in _EXPORTS.items()}
    if name not in classes:
        raise ValueError(f"there is no loss {name!r}; there are {', '.join(sorted(classes))}")
    loss: nn.Module = __getattr__(classes[name])(**options)
    return loss
