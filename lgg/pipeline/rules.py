"""What rules are made of: resources, params and wildcard constraints. Imports the standard library only."""

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def growing(minutes: int) -> Callable[[Any, int], int]:
    """Return a rule's `runtime`: `minutes`, and as many again for each attempt after the first."""
    return lambda wildcards, attempt: minutes * attempt  # noqa: ARG005  (Snakemake goes by the names)


def asks(what: Any, gpus: int) -> dict[str, Any]:
    """Return a rule's `resources`: GPUs, and of an entry of the key `resources` memory and time, more with each attempt."""
    return {"gpu": gpus, "mem_mb": what.mem_mb, "runtime": growing(what.runtime)}


def stage(recipe: Any) -> dict[str, Any]:
    """Return a rule's `params` that name the stage, its settings and its code.

    `recipe` is a `lgg.pipeline.recipes.Recipe`, or a function that returns one for the wildcards of a job.
    """

    def param(name: str) -> Any:
        if callable(recipe):
            return lambda wildcards: getattr(recipe(wildcards), name)
        return getattr(recipe, name)

    return {"stage": param("stage"), "recipe": param("settings"), "code": param("code")}


def files(wildcards: Any, input: Any, output: Any) -> str:  # noqa: A002, ARG001  (Snakemake goes by the names)
    """Return a command's options for the files of a job: ``--NAME`` for inputs and ``--out-NAME`` for outputs.

    What has no file is left out. Snakemake does not track parameters that are made of inputs and outputs.
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
    """Return a wildcard pattern that matches just these names, or nothing where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"
