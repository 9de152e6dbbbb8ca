"""Options that losses share, and their checks."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from torch import Tensor

from lgg.graph import flatten_rows, standardize_columns, unit_rows

#: what is done to embeddings before a loss: nothing, unit length, or mean 0 and variance 1 of each dimension over the batch
Normalization = bool | Literal["batch"]


def check_normalization(normalize_embeddings: Normalization) -> None:
    """Raise ValueError unless `normalize_embeddings` is True, False or "batch"."""
    if normalize_embeddings not in (True, False, "batch"):
        raise ValueError(f"normalize_embeddings must be True, False or 'batch', not {normalize_embeddings!r}")


def normalize_rows(embeddings: Tensor, normalize_embeddings: Normalization) -> Tensor:
    """Return embeddings (B, ...) as rows (B, d), normalised as an option says, in at least float32."""
    if normalize_embeddings == "batch":
        return standardize_columns(embeddings)
    return unit_rows(embeddings) if normalize_embeddings else flatten_rows(embeddings)


def check_options(choices: Mapping[str, tuple[str, Any]], *, k: int | None, power: int, rbf_scale: float) -> None:
    """Raise ValueError for an invalid choice (`choices` maps its name to value and Literal), k, power or α."""
    for name, (value, literal) in choices.items():
        if value not in get_args(literal):
            raise ValueError(f"{name} must be one of {', '.join(get_args(literal))}, not {value!r}")
    for name, number in (("k", 1 if k is None else k), ("power", power)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, not {number}")
    if not rbf_scale > 0:
        raise ValueError(f"rbf_scale, the α of exp(−α·distance), must be positive, not {rbf_scale}")
