"""What the rows of all tables share: how they are checked together, and losses of your own."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import Field

from lgg.pipeline import registry
from lgg.pipeline.config.messages import nearest
from lgg.pipeline.config.training import Training
from lgg.pipeline.config.types import Problem, Section, repeated_words, shown_alike


def method_problems(methods: Mapping[str, Any], baseline: str, table: str, **others: str) -> Iterator[Problem]:
    """Yield what is wrong with the rows of a table: none, no baseline, or labels that `others` or two of them share."""
    if not methods:
        yield "methods", f"there is none; {table} needs at least the baseline"
    elif baseline not in methods:
        yield "baseline", f"{baseline!r} is no entry of `methods`{nearest(baseline, methods)}"
    labels = [*others.values(), *(method.label for method in methods.values())]
    for name, method in methods.items():
        if shown_alike(method.label) in repeated_words(labels):
            yield f"methods.{name}.label", f"two rows are labelled {method.label!r}"


def neighbour_problems(key: str, k: int | None, training: Training) -> Iterator[Problem]:
    if k is not None and k > training.batch_size:
        yield key, f"{k} neighbours cannot be found in batches of {training.batch_size} (training.batch_size)"


def unregistered(module: str, registered: Iterable[str], table: str) -> str:
    return f"{module!r} is not registered{nearest(module, list(registered))} A line of _EXPORTS in {table} registers it"


def argument_problems(owner: str, given: Mapping[str, Any], taken: Mapping[str, bool] | None) -> Iterator[Problem]:
    """Yield arguments that the class `owner` does not take, and those that it needs; `taken` is None where any may be right."""
    if taken is None:
        return
    for name in given:
        if name not in taken:
            yield f"arguments.{name}", f"{owner} takes no {name!r}{nearest(name, taken)}"
    if missing := [name for name, needed in taken.items() if needed and name not in given]:
        yield "arguments", f"{owner} needs {', '.join(missing)}"


class Registered(Section):
    """A loss of your own, a file of lgg/losses/ that is registered in its __init__.py."""

    module: str = Field(
        description="the file of lgg/losses/ without .py; its class is registered in lgg/losses/__init__.py"
    )
    arguments: dict[str, bool | int | float | str | None] = Field(
        default={}, description="what the loss is made with: arguments of its class"
    )

    def problems(self) -> Iterator[Problem]:
        try:
            if self.module not in registry.losses():
                raise ValueError(unregistered(self.module, registry.losses(), "lgg/losses/__init__.py"))
            taken = registry.arguments(self.module)
            self._check_call()
        except ValueError as error:
            yield "module", str(error)
            return
        yield from argument_problems(registry.losses()[self.module], self.arguments, taken)

    def _check_call(self) -> None:
        """Raise ValueError where the loss's `forward` cannot be called as the section's training calls it."""
        raise NotImplementedError


#: of losses over layers
SIMILARITY_OF_LAYERS = (
    "cosine: for representations that cannot be negative; rbf: exp(−α·distance), distances divided by their mean over the "
    "batch; rbf_squared: the same with squares"
)
