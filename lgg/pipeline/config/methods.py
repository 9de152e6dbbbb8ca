"""What all tables share: rows, and the sections that hold them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from lgg.pipeline import registry
from lgg.pipeline.config.messages import nearest
from lgg.pipeline.config.networks import Architecture, pattern_problems
from lgg.pipeline.config.registered import Registered
from lgg.pipeline.config.training import Training
from lgg.pipeline.config.types import FilePattern, Label, Name, Problem, Section, Seeds, repeated_words, shown_alike

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


class TrainableMethod(Method):
    """A row whose networks are trained here, or were trained elsewhere."""

    trained: FilePattern | None = Field(
        default=None,
        description="the row's networks were trained elsewhere: the files of their weights, {seed} in place of the seed; they "
        "are evaluated as the others, and in no figure of training or Table A1. null: they are trained here",
    )
    architecture: Architecture | None = Field(
        default=None, description="with `trained`: the architecture of this row; null: that of the section"
    )

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.architecture is not None and self.trained is None:
            yield "architecture", "only a row that was trained elsewhere (`trained`) has an architecture of its own"
        if self.architecture is not None and self.architecture.published:
            yield "architecture.pretrained", "the row's weights are those in `trained`: remove this key"


M = TypeVar("M", bound=Method)
T = TypeVar("T", bound=TrainableMethod)


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
        yield from super().problems()
        methods = self.active_methods
        if not methods:
            yield "methods", f"it is empty; {self.table} needs at least the baseline"
        elif self.baseline not in methods:
            yield "baseline", f"{self.baseline!r} is not in `methods`{nearest(self.baseline, methods)}"
        labels = [*self.other_labels, *(method.label for method in methods.values())]
        for name, method in methods.items():
            if shown_alike(method.label) in repeated_words(labels):
                yield f"methods.{name}.label", f"two rows are labelled {method.label!r}"


class TrainableComparison(Comparison[T]):
    """A comparison some of whose rows may have been trained elsewhere."""

    @property
    def trained_here(self) -> dict[str, T]:
        """The methods whose networks are trained by the run."""
        return {name: method for name, method in self.active_methods.items() if method.trained is None}

    @property
    def trained_elsewhere(self) -> dict[str, T]:
        """The methods whose networks are loaded from files."""
        return {name: method for name, method in self.active_methods.items() if method.trained is not None}

    def seeds_needed(self, name: str, seeds: Sequence[int]) -> list[int]:  # noqa: ARG002  (of a method)
        """Return the seeds of the networks of a method, given those of the section."""
        return list(seeds)

    def pattern_problems(self, seeds: Sequence[int], folder: Path) -> Iterator[Problem]:
        """Yield which files of networks that were trained elsewhere are missing in `folder`."""
        for name, method in self.trained_elsewhere.items():
            assert method.trained is not None
            needed = self.seeds_needed(name, seeds)
            yield from ((f"methods.{name}.trained", text) for text in pattern_problems(method.trained, needed, folder))


def neighbour_problems(key: str, k: int | None, training: Training) -> Iterator[Problem]:
    """Yield a problem at `key` if batches are too small for `k` neighbours."""
    if k is not None and k > training.batch_size:
        yield key, f"{k} neighbours cannot be found in batches of {training.batch_size} (training.batch_size)"


class LossMethod(Method):
    """A row whose networks are trained with a loss of lgg/losses."""

    #: keys that are not arguments of the loss
    around_the_loss: ClassVar[frozenset[str]] = frozenset(
        {"label", "loss", "weight", "layers", "classifier", "trained", "architecture"}
    )

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
