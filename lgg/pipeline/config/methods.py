"""What all tables share: rows, the sections that hold them, and your own losses, defences and networks."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from lgg.pipeline import registry
from lgg.pipeline.config.messages import nearest
from lgg.pipeline.config.training import Training
from lgg.pipeline.config.types import Label, Name, Problem, Section, Seeds, repeated_words, shown_alike

#: description of the key `similarity` of losses over layers
SIMILARITY_OF_LAYERS = (
    "cosine: for non-negative representations; rbf: exp(−α·distance), distances divided by their mean over the batch; "
    "rbf_squared: the same with squared distances"
)
IN_PAPER_YAML = "the paper's figures are now in config/paper.yaml, as table, method, measure, value"


class Method(Section):
    """A row of a table."""

    former: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            *("paper_error", "paper_gain", "paper_clean_error", "paper_relative_mce"),
            *("paper_fgsm_error", "paper_epoch_seconds", "published"),
        ),
        IN_PAPER_YAML,
    )

    label: Label = Field(description="name of the row in tables and figures, plain text")


M = TypeVar("M", bound=Method)


class Comparison(Section, Generic[M]):
    """Networks of several methods, each trained with several seeds and compared in a table."""

    #: name of the table in messages
    table: ClassVar[str]

    training: Training = Field(description="training of all networks in this section")
    baseline: str = Field(default="baseline", description="method that the others are compared with")
    methods: dict[Name, M | None] = Field(
        description="rows of the table by name; a new entry adds a row, null removes one"
    )
    seeds: Seeds | None = Field(default=None, description="seeds of this section only; null: the run's `seeds`")

    @property
    def active_methods(self) -> dict[str, M]:
        """The methods without those that an overlay removed."""
        return {name: method for name, method in self.methods.items() if method is not None}

    @property
    def other_labels(self) -> list[str]:
        """Labels of rows that do not belong to a method."""
        return []

    def problems(self) -> Iterator[Problem]:
        methods = self.active_methods
        if not methods:
            yield "methods", f"it is empty; {self.table} needs at least the baseline"
        elif self.baseline not in methods:
            yield "baseline", f"{self.baseline!r} is not in `methods`{nearest(self.baseline, methods)}"
        labels = [*self.other_labels, *(method.label for method in methods.values())]
        for name, method in methods.items():
            if shown_alike(method.label) in repeated_words(labels):
                yield f"methods.{name}.label", f"two rows are labelled {method.label!r}"


def neighbour_problems(key: str, k: int | None, training: Training) -> Iterator[Problem]:
    """Yield a problem at `key` if batches are too small for `k` neighbours."""
    if k is not None and k > training.batch_size:
        yield key, f"{k} neighbours cannot be found in batches of {training.batch_size} (training.batch_size)"


class Registered(Section):
    """Your own code: a file of the package and a line in the table `_EXPORTS` of its folder."""

    #: folder in lgg/ that the file is in
    folder: ClassVar[str]

    module: str = Field(description="file name without .py; for a network, its name in the table _EXPORTS")
    arguments: dict[str, bool | int | float | str | None] = Field(default={}, description="arguments for its class")

    def problems(self) -> Iterator[Problem]:
        try:
            classes, taken = self._classes(), self._checked()
        except ValueError as error:
            yield "module", str(error)
            return
        yield from _argument_problems(classes[self.module], self.arguments, taken)

    def _classes(self) -> Mapping[str, str]:
        """Return the registered classes by name; ValueError if this entry's is not registered."""
        classes = self._registered()
        if self.module not in classes:
            raise ValueError(
                f"{self.module!r} is not registered{nearest(self.module, classes)} Register it with a line of _EXPORTS in "
                f"lgg/{self.folder}/__init__.py"
            )
        return classes

    def _registered(self) -> Mapping[str, str]:
        raise NotImplementedError

    def _checked(self) -> Mapping[str, bool] | None:
        """Return the arguments of the class and whether each is required; None if it accepts any.

        Raises ValueError if it cannot be made, or cannot be used in this section.
        """
        raise NotImplementedError


def _argument_problems(owner: str, given: Mapping[str, Any], taken: Mapping[str, bool] | None) -> Iterator[Problem]:
    """Yield arguments that the class `owner` does not take, and missing ones; `taken` is None if it takes any."""
    if taken is None:
        return
    for name in given:
        if name not in taken:
            yield f"arguments.{name}", f"{owner} takes no {name!r}{nearest(name, taken)}"
    if missing := [name for name, needed in taken.items() if needed and name not in given]:
        yield "arguments", f"{owner} needs {', '.join(missing)}"


class LossMethod(Method):
    """A row whose networks are trained with a loss of lgg/losses."""

    #: keys that are not arguments of the loss
    around_the_loss: ClassVar[frozenset[str]] = frozenset({"label", "loss", "weight", "layers", "classifier"})

    @property
    def loss_module(self) -> str:
        """Module of lgg.losses that holds the loss."""
        return str(getattr(self, "loss"))  # noqa: B009 — each kind of method has its own

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the loss's constructor."""
        return self.model_dump(mode="json", exclude=set(self.around_the_loss))


class OtherLoss(LossMethod, Registered):
    """Your own loss: a file in lgg/losses/ and a line in its __init__.py."""

    folder: ClassVar[str] = "losses"

    loss: Literal["other"]

    @property
    def loss_module(self) -> str:
        return self.module

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.arguments)

    def _registered(self) -> Mapping[str, str]:
        return registry.losses()

    def _checked(self) -> Mapping[str, bool] | None:
        taken = registry.loss_arguments(self.module)
        self._check_call()
        return taken

    def _check_call(self) -> None:
        """Raise ValueError if the loss's `forward` cannot be called as training in this section calls it."""
        raise NotImplementedError
