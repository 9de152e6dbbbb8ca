"""Checks of the options that the losses on graphs share."""

from collections.abc import Mapping
from typing import Any, get_args


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
