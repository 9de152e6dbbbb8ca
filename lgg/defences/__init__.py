"""Defences of networks (Section 4.3)."""

from collections.abc import Mapping
from typing import Any


def sentence(name: str, options: Mapping[str, Any]) -> str:
    """Return what the legend of Table 3 states of a defence, without its full stop."""
    if name == "regularizer":
        neighbours = "" if options["k"] is None else f", {options['k']} neighbours"
        normalised = ", normalised graphs" if options["normalize"] else ""
        if options["similarity"] != "cosine":
            normalised += f", {options['similarity']} kernel with α = {options['rbf_scale']:g}"
        return (
            f"regularizer with γ = {options['weight']:g}, p = {options['power']}, {options['reduction']} over "
            f"layers{neighbours}{normalised}"
        )
    if name == "parseval":
        return f"Parseval with β = {options['beta']:g}"
    start = "a random start" if options["random_start"] else "the image"
    return f"PGD within ε = {options['epsilon']:.3g} from {start}, {options['steps']} step(s) of {options['step_size']:.3g}"
