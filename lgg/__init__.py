"""Latent geometry graphs of deep neural networks (Lassance, Gripon, Ortega 2021): graphs, losses, attacks, networks."""

from typing import TYPE_CHECKING

from lgg._lazy import lazy_attributes

_EXPORTS = {
    "similarity_graph": ".graph",
    "laplacian": ".graph",
    "total_variation": ".graph",
    "label_variation": ".graph",
    "cosine_label_variation": ".graph",
    "normalized_label_variation": ".graph",
    "laplacian_eigenmaps": ".graph",
    "attacks": ".attacks",
    "defences": ".defences",
    "losses": ".losses",
    "models": ".models",
    "tap": ".representations",
}
__all__ = [
    "attacks",
    "cosine_label_variation",
    "defences",
    "label_variation",
    "laplacian",
    "laplacian_eigenmaps",
    "losses",
    "models",
    "normalized_label_variation",
    "similarity_graph",
    "tap",
    "total_variation",
]
__version__ = "0.1.0"

if TYPE_CHECKING:
    from lgg import attacks, defences, losses, models
    from lgg.graph import (
        cosine_label_variation,
        label_variation,
        laplacian,
        laplacian_eigenmaps,
        normalized_label_variation,
        similarity_graph,
        total_variation,
    )
    from lgg.representations import tap

__getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)
