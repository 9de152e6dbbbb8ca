"""Section 4.2: embeddings."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from lgg.pipeline import registry
from lgg.pipeline.config.methods import Comparison, LossMethod, OtherLoss, neighbour_problems
from lgg.pipeline.config.networks import Network, Weighted
from lgg.pipeline.config.training import Schedule, Training
from lgg.pipeline.config.types import (
    Count,
    CountOrZero,
    Name,
    NonNegative,
    Positive,
    Problem,
    Section,
    Seed,
    repeated_words,
    shown_alike,
)

Classifier = Literal["nearest_neighbours", "svm", "logistic_regression", "nearest_centroid"]


class CrossEntropyEmbedding(LossMethod):
    """Cross-entropy; the logits are the embedding."""

    loss: Literal["cross_entropy"]
    classifier: Literal["own", Classifier] = Field(
        default="own", description="classifier whose error is in Table 2; own: the class of the largest logit"
    )


class _MetricEmbedding(LossMethod):
    weight: Positive = Field(default=1.0, description="factor of the loss")
    classifier: Classifier = Field(
        default="nearest_neighbours",
        description="classifier whose error is in Table 2; the supplement has all of them. nearest_neighbours: the 10 nearest; "
        "svm: support vector machine with an RBF kernel",
    )


class _NormalizableEmbedding(_MetricEmbedding):
    normalize_embeddings: bool | Literal["batch"] = Field(
        default=False,
        description="true: scale embeddings to unit length, in the loss and for classifiers; batch: give each dimension mean 0 "
        "and variance 1, in the loss over the batch and for classifiers over the training images",
    )


def _not_cosine(value: Any) -> Any:
    if value == "cosine":
        raise ValueError(
            "cosine needs non-negative values, and the embeddings are outputs of a linear layer: use rbf or rbf_squared "
            "(Section 3.3)"
        )
    return value


class LabelVariationEmbedding(_NormalizableEmbedding):
    """Label variation of the graph of the embeddings (the paper, Section 4.2)."""

    loss: Literal["label_variation"]
    similarity: Annotated[Literal["rbf", "rbf_squared"], BeforeValidator(_not_cosine)] = Field(
        default="rbf",
        description="rbf: exp(−α·distance); rbf_squared: exp(−α·distance²). Not cosine: the embeddings are outputs of a linear "
        "layer and can be negative",
    )
    rbf_scale: Positive = Field(default=2.0, description="α of the two kernels")
    k: Count | None = Field(default=None, description="nearest neighbours kept for each vertex; null: all edges")
    normalize: bool = Field(default=False, description="normalise the graph, D^-1/2 A D^-1/2")
    self_loops: bool = Field(
        default=False, description="with normalize: count each vertex's similarity with itself in its degree"
    )
    power: Count = Field(default=1, description="p of tr(VᵀLᵖV)")
    reduction: Literal["mean", "log_mean", "sum"] = Field(
        default="mean",
        description="sum: tr(VᵀLᵖV); mean: divided by the number of edges between classes, each counted in both directions; "
        "log_mean: the logarithm of the mean, without `k`",
    )
    attraction: NonNegative = Field(
        default=0.0,
        description="not in the paper: this share of the mean weight of all edges is taken off the mean between classes, so "
        "that classes attract their own; 0 is the paper's objective",
    )

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.self_loops and not self.normalize:
            yield "self_loops", "it only changes the degrees, which are used only if `normalize` is true"
        if self.reduction == "log_mean" and self.k is not None:
            yield (
                "reduction",
                "the logarithm needs edges between classes, of which `k` neighbours may leave none: set `k` to null",
            )
        if self.attraction and (self.reduction, self.power) != ("mean", 1):
            yield "attraction", "it is taken off the mean weight of edges: it needs `reduction: mean` and `power: 1`"


class TripletEmbedding(_NormalizableEmbedding):
    """Triplets (Hermans, Beyer, Leibe 2017)."""

    loss: Literal["triplet"]
    triplets: Literal["hard", "all"] = Field(
        default="hard",
        description="hard: the hardest triplet of each input, which can collapse all embeddings to one point; all: every "
        "triplet of the batch",
    )
    margin: Positive | Literal["soft"] = Field(
        default=0.2,
        description="how much farther negatives should be than positives; soft: a softplus, which keeps pushing them apart",
    )


class OtherEmbedding(_MetricEmbedding, OtherLoss):
    """Your own loss: a file in lgg/losses/ and a line in its __init__.py."""

    def _check_call(self) -> None:
        registry.check_embedding_loss(self.module)


EmbeddingMethod = Annotated[
    CrossEntropyEmbedding | LabelVariationEmbedding | TripletEmbedding | OtherEmbedding, Field(discriminator="loss")
]


def _rows(value: Any) -> Any:
    if isinstance(value, list):
        raise ValueError("rows are now methods by name, with their settings, as in `embedding.methods`")
    return value


class EmbeddingFigure(Section):
    """Figure A1: two-dimensional embeddings of the training images during training."""

    methods: Annotated[dict[Name, EmbeddingMethod | None], BeforeValidator(_rows)] = Field(
        description="rows of the figure by name, from the top, with settings of their own: two dimensions need others than the "
        "table's. Cross-entropy gets a layer of 2 units before its classifier, other methods 2 outputs; `classifier` has no "
        "effect here; null removes a row"
    )
    epochs: Annotated[list[CountOrZero], Field(min_length=1)] = Field(
        description="epochs after which a panel is drawn, in addition to the initialisation and the end"
    )
    schedule: Schedule | None = Field(
        default=None, description="phases of the learning rate, as in `training`; null: those of the table's networks"
    )
    seed: Seed = Field(default=0, description="seed of weights and batches")

    @property
    def active_methods(self) -> dict[str, EmbeddingMethod]:
        """The rows without those that an overlay removed."""
        return {name: method for name, method in self.methods.items() if method is not None}

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        labels = [method.label for method in self.active_methods.values()]
        if not labels:
            yield "methods", "it is empty; set the whole `figure` to null for no Figure A1"
        for name, method in self.active_methods.items():
            if shown_alike(method.label) in repeated_words(labels):
                yield f"methods.{name}.label", f"two rows are labelled {method.label!r}"


class Embedding(Comparison[EmbeddingMethod], Weighted):
    """Section 4.2: Table 2 and Figure A1."""

    table: ClassVar[str] = "Table 2"

    baseline: str = Field(default="cross_entropy", description="method that relative MCE and differences refer to")
    dimensions: Count | None = Field(
        default=None,
        description="dimension of the embeddings; null: the number of classes. Cross-entropy always has one logit per class",
    )
    figure: EmbeddingFigure | None = Field(default=None, description="null: no Figure A1")

    @property
    def network(self) -> Network:
        """The network and the weights that its training starts from."""
        return Network(self.architecture, self.weights)

    @property
    def figure_methods(self) -> dict[str, EmbeddingMethod]:
        """Rows of Figure A1; none if there is no figure."""
        return self.figure.active_methods if self.figure else {}

    @property
    def figure_training(self) -> Training:
        """Training of the networks of Figure A1."""
        own = self.figure.schedule if self.figure else None
        return self.training.model_copy(update={"schedule": own}) if own else self.training

    @property
    def figure_epochs(self) -> list[int]:
        """Epochs after which Figure A1 has a panel, 0 and the last included."""
        return sorted({0, *(self.figure.epochs if self.figure else []), self.figure_training.epochs})

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        for key, methods in (("methods", self.active_methods), ("figure.methods", self.figure_methods)):
            for name, method in methods.items():
                if isinstance(method, LabelVariationEmbedding):
                    yield from neighbour_problems(f"{key}.{name}.k", method.k, self.training)
        if self.figure:
            yield from self._figure_problems(self.figure)

    def _figure_problems(self, figure: EmbeddingFigure) -> Iterator[Problem]:
        wrong = [text for key, text in self.figure_training.problems() if key == "schedule"]
        if figure.schedule:
            yield from (("figure.schedule", text) for text in wrong)
        if not wrong and max(figure.epochs) > self.figure_training.epochs:
            yield "figure.epochs", f"{max(figure.epochs)} is after the last epoch, {self.figure_training.epochs}"
