"""Helpers for rules: resources, params, wildcard constraints, and groups of networks. Imports only the standard library."""

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

AWAITED = ("checked",)  # names of inputs that a job does not read
LONGEST_GROUP = 60  # letters of a group of seeds in a name


def growing(minutes: int) -> Callable[[Any, int], int]:
    """Return a rule's `runtime`: `minutes` times the number of the attempt."""
    return lambda wildcards, attempt: minutes * attempt  # noqa: ARG005  (Snakemake matches the names)


def asks(what: Any, gpus: int, networks: int = 1) -> dict[str, Any]:
    """Return a rule's `resources`: GPUs, memory, and time that grows with each attempt, from an entry of `resources`.

    Side by side, `networks` need at most as many times the memory and time of one.
    """
    return {"gpu": gpus, "mem_mb": what.mem_mb * networks, "runtime": growing(what.runtime * networks)}


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

    Names without files are left out, and inputs that a job only waits for. Snakemake does not track params that are computed
    from inputs and outputs.
    """
    read = [(name, paths) for name, paths in input.items() if name not in AWAITED]
    named = [*read, *((f"out-{name}", paths) for name, paths in output.items())]
    return " ".join(
        f"--{name} {shlex.join([paths] if isinstance(paths, str) else paths)}" for name, paths in named if paths
    )


def with_options(**options: Any) -> Callable[[Any, Any, Any], str]:
    """Return what `files` is, with further options, which Snakemake does not track: none where the value is None.

    Each value, or what it returns for the wildcards of a job if it is a function, is a text or a list of texts.
    """

    def params(wildcards: Any, input: Any, output: Any) -> str:  # noqa: A002  (Snakemake matches the names)
        given = {name: value(wildcards) if callable(value) else value for name, value in options.items()}
        words = [
            f"--{name} {shlex.join([value] if isinstance(value, str) else value)}"
            for name, value in given.items()
            if value
        ]
        return " ".join([*words, files(wildcards, input, output)])

    return params


def each(methods: Iterable[str], seeds: Iterable[int]) -> dict[str, str]:
    """Return the wildcard constraints of a rule that has a job for each of `methods` and `seeds`."""
    return {"method": one_of(methods), "seed": one_of(map(str, seeds))}


def one_of(names: Iterable[str]) -> str:
    """Return a wildcard pattern that matches exactly these names, or nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


# --- a network for each method and seed -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """A network for each of several methods and seeds.

    Attributes:
        name: of the rule.
        methods: their names.
        seeds: of each method's networks.
        recipe: returns the `lgg.pipeline.recipes.Recipe` of a method.
        inputs: files by name.
        outputs: files by name, with the wildcards method and seed.
        start: file of the weights that their training starts from, whose digest is in the recipe.
        lone_seeds: further seeds, which few methods need, so that no others train with them.
        priority: of the jobs.
    """

    name: str
    methods: Collection[str]
    seeds: Sequence[int]
    recipe: Callable[[str], Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    start: str | None = None
    lone_seeds: Sequence[int] = ()
    priority: int = 0

    def rules(self, size: int) -> "Iterator[TrainingRule]":
        """Yield what each rule trains: of groups of `size` seeds each one its own, of all other seeds one by wildcard.

        Outputs cannot list a group by wildcards. A rule's name, log and benchmark tell of its group.
        """
        groups = [self.seeds[start : start + size] for start in range(0, len(self.seeds), size)]
        alone = [*(seed for group in groups if len(group) == 1 for seed in group), *self.lone_seeds]
        yield from ([TrainingRule(self, alone)] if alone else [])
        yield from (TrainingRule(self, group, together=True) for group in groups if len(group) > 1)


@dataclass(frozen=True)
class TrainingRule:
    """A rule whose jobs each train one method: a network from one of `seeds`, the wildcard, or from all of them together.

    What Snakemake compares is the same for a network that is trained alone or with others: the set of inputs, the recipe, and
    the digest of the code. The seeds of a job are in the option ``--seeds``, a param that is computed from outputs.
    """

    training: Training
    seeds: Sequence[int]
    together: bool = False

    @property
    def networks(self) -> int:
        """The number of networks that a job trains."""
        return len(self.seeds) if self.together else 1

    @property
    def name(self) -> str:
        return f"{self.training.name}_{self._group}" if self.together else self.training.name

    @property
    def job(self) -> str:
        """The name of a job in logs/ and benchmarks/."""
        return f"{self.training.name}/{{method}}_" + (f"seeds{self._group}" if self.together else "seed{seed}")

    @property
    def _group(self) -> str:
        every = "_".join(map(str, self.seeds))
        # file systems limit the length of a name; no other group begins and ends with the same seeds
        return every if len(every) <= LONGEST_GROUP else f"{self.seeds[0]}_to_{self.seeds[-1]}"

    @property
    def outputs(self) -> dict[str, str | list[str]]:
        found = self.training.outputs
        if not self.together:
            return dict(found)
        return {name: [path.replace("{seed}", str(seed)) for seed in self.seeds] for name, path in found.items()}

    @property
    def wildcards(self) -> dict[str, str]:
        """Constraints of the wildcards."""
        patterns = each(self.training.methods, self.seeds)
        return {"method": patterns["method"]} if self.together else patterns

    @property
    def params(self) -> dict[str, Any]:
        return {**stage(lambda wildcards: self.training.recipe(wildcards.method)), "files": self.options}

    def options(self, wildcards: Any, input: Any, output: Any) -> str:  # noqa: A002  (Snakemake matches the names)
        """Return the command-line options for the seeds and files of a job."""
        seeds = self.seeds if self.together else [wildcards.seed]
        options = with_options(seeds=list(map(str, seeds)), start=self.training.start)
        return options(wildcards, input, output)
