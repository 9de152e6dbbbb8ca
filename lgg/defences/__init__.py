"""Defences of networks (Section 4.3): what the legend of Table 3 states of each."""

from typing import Any, NamedTuple


class Defence(NamedTuple):
    """A defence as tables know it."""

    sentence: str


def build(name: str, **options: Any) -> Defence:
    """Return the defence `name`, made with `options`."""
    if name == "regularizer":
        parts = [f"regularizer with γ = {options['weight']:g}", f"p = {options['power']}"]
        parts += [f"{options['reduction']} over layers"]
        parts += [f"{options['k']} neighbours"] if options["k"] is not None else []
        parts += ["normalised graphs"] if options["normalize"] else []
        if options["similarity"] != "cosine":
            parts += [f"{options['similarity']} kernel with α = {options['rbf_scale']:g}"]
        return Defence(", ".join(parts))
    if name == "parseval":
        return Defence(f"Parseval with β = {options['beta']:g}")
    start = "a random start" if options["random_start"] else "the image"
    step = f"{options['steps']} step(s) of {options['step_size']:.3g}"
    return Defence(f"PGD within ε = {options['epsilon']:.3g} from {start}, {step}")
