"""The losses, one per file, each a module that returns an unweighted scalar; and the Parseval retraction."""

from typing import TYPE_CHECKING

from lgg._lazy import lazy_attributes

# class: its module. A configuration names a loss by its module, `loss: relational`. Of two names for one class the last
# is its own.
_EXPORTS = {
    "GraphDistillation": ".graph_distillation",
    "HintonDistillation": ".hinton",
    "LabelVariation": ".label_variation",
    "LabelVariationSmoothness": ".regularizer",  # its earlier name
    "LabelVariationRegularizer": ".regularizer",
    "RelationalDistillation": ".relational",
    "Triplet": ".triplet",
    "parseval_retract_": ".parseval",
    "parseval_retraction_": ".parseval",
}
__all__ = [
    "GraphDistillation",
    "HintonDistillation",
    "LabelVariation",
    "LabelVariationRegularizer",
    "LabelVariationSmoothness",
    "RelationalDistillation",
    "Triplet",
    "build",
    "parseval_retract_",
    "parseval_retraction_",
]

if TYPE_CHECKING:
    from typing import Any

    from torch import nn

    from lgg.losses.graph_distillation import GraphDistillation
    from lgg.losses.hinton import HintonDistillation
    from lgg.losses.label_variation import LabelVariation
    from lgg.losses.parseval import parseval_retract_, parseval_retraction_
    from lgg.losses.regularizer import LabelVariationRegularizer, LabelVariationSmoothness
    from lgg.losses.relational import RelationalDistillation
    from lgg.losses.triplet import Triplet

__getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)


def build(name: str, **options: "Any") -> "nn.Module":
    """Return the loss whose module is `name`, made with `options`; no other loss is imported.

    Raises ValueError for a name that no loss has.
    """
    # the others are functions
    classes = {module.removeprefix("."): cls for cls, module in _EXPORTS.items() if cls[0].isupper()}
    if name not in classes:
        raise ValueError(f"there is no loss {name!r}; there are {', '.join(sorted(classes))}")
    loss: nn.Module = __getattr__(classes[name])(**options)
    return loss
