"""Helpers for rules: resources, params and wildcard constraints. Imports only the standard library."""

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def growing(minutes: int) -> Callable[[Any, int], int]:
    """Return a rule's `runtime`: `minutes` times the number of the attempt."""
    return lambda wildcards, attempt: minutes * attempt  # noqa: ARG005  (Snakemake matches the names)


def asks(what: Any, gpus: int) -> dict[str, Any]:
    """Return a rule's `resources`: GPUs, memory, and time that grows with each attempt, from an entry of `resources`."""
    return {"gpu": gpus, "mem_mb": what.mem_mb, "runtime": growing(what.runtime)}


def stage(recipe: Any) -> dict[str, Any]:
    """Return the `params` of a rule that hold the stage, its settings and the digest of its code.

    `recipe` is a `lgg.pipeline.recipes.Recipe`, or a function that returns one for the wildcards of a job.
    """

    def param(name: str) -> Any:
        if callable(recipe):
            return lambda wildcards: getattr(recipe(wildcards), name)
        return getattr(recipe, name)

    return {"stage": param("stage"), "recipe": param("settings"), "code": param("code")}


def files(wildcards: Any, input: Any, output: Any) -> str:  # noqa: A002, ARG001  (Snakemake matches the names)
    """Return the command-line options for the files of a job: ``--NAME`` for inputs and ``--out-NAME`` for outputs.

    Names without files are left out. Snakemake does not track params that are computed from inputs and outputs.
    """
    named = [*input.items(), *((f"out-{name}", paths) for name, paths in output.items())]
    return " ".join(
        f"--{name} {shlex.join([paths] if isinstance(paths, str) else paths)}" for name, paths in named if paths
    )


def each(methods: Iterable[str], seeds: Iterable[int]) -> dict[str, str]:
    """Return the wildcard constraints of a rule that has a job for each of `methods` and `seeds`."""
    return {"method": one_of(methods), "seed": one_of(map(str, seeds))}


def in_groups(seeds: Sequence[int], size: int) -> list[list[int]]:
    """Return `seeds` in groups of `size`, the last of which may be smaller."""
    return [list(seeds[start : start + size]) for start in range(0, len(seeds), size)]


def one_of(names: Iterable[str]) -> str:
    """Return a wildcard pattern that matches exactly these names, or nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"
