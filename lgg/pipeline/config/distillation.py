"""Section 4.1: distillation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from lgg.pipeline import registry
from lgg.pipeline.config.messages import nearest
from lgg.pipeline.config.methods import SIMILARITY_OF_LAYERS, Registered, method_problems, neighbour_problems
from lgg.pipeline.config.networks import Architecture
from lgg.pipeline.config.training import Training
from lgg.pipeline.config.types import (
    OWN_SEEDS,
    Count,
    Label,
    Name,
    NonNegative,
    Percent,
    Positive,
    Problem,
    Section,
    Seed,
    Seeds,
)


class _Method(Section):
    """A row of Table 1."""

    label: Label = Field(description="name of the row, plain text")
    paper_error: Percent | None = Field(default=None, description="test error that the paper gives, in percent")
    paper_gain: Percent | None = Field(
        default=None, description="gain over its baseline that the paper gives, in points"
    )

    #: representations that are compared; None: all
    @property
    def compared_layers(self) -> Sequence[str] | None:
        return None

    @property
    def loss_module(self) -> str:
        """Module of lgg.losses that holds the loss."""
        return str(getattr(self, "loss"))  # noqa: B009 — each kind of method has its own

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the loss's constructor."""
        shared = {*_LayerMethod.model_fields, "loss"}
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in shared}


class _LayerMethod(_Method):
    weight: NonNegative = Field(default=25.0, description="λ, the weight of the distillation term beside cross-entropy")
    layers: Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None, description="names of the representations compared; null: all of the network's"
    )

    @property
    def compared_layers(self) -> Sequence[str] | None:
        return self.layers


class NoDistillation(_Method):
    """Cross-entropy alone."""

    loss: Literal["none"]


class Hinton(_Method):
    """Softened class probabilities (Hinton et al. 2015)."""

    loss: Literal["hinton"]
    weight: NonNegative = Field(default=1.0, description="λ; the term is multiplied by λT²")
    temperature: Positive = Field(default=4.0, description="T, divides both networks' logits")


class Relational(_LayerMethod):
    """RKD-D: relative pairwise distances (Park et al. 2019)."""

    loss: Literal["relational"]


class GraphMethod(_LayerMethod):
    """GKD: latent geometry graphs (the paper, Section 4.1)."""

    loss: Literal["graph_distillation"]
    k: Count | None = Field(default=None, description="nearest neighbours kept for each vertex; null: every edge")
    edges: Literal["all", "inter", "intra"] = Field(
        default="all", description="compare all edges, those between classes, or those within one"
    )
    power: Count = Field(default=1, description="p: compare the matrix power Aᵖ")
    normalize: bool = Field(default=True, description="normalise the graphs, D^-1/2 A D^-1/2")
    neighbours: Literal["teacher", "own"] = Field(
        default="teacher", description="with k: keep the teacher's edges in the student's graph too, or let each choose"
    )
    order: Literal["threshold_first", "normalize_first", "published"] = Field(
        default="threshold_first",
        description="with k, or with edges and power above 1: threshold_first (paper): neighbours, normalisation, power, "
        "edges; normalize_first: normalisation, neighbours, power, edges; published (code): normalisation, edges, "
        "neighbours among these, power",
    )
    similarity: Literal["cosine", "rbf", "rbf_squared"] = Field(default="cosine", description=SIMILARITY_OF_LAYERS)
    rbf_scale: Positive = Field(default=2.0, description="α of the two kernels, without unit")


class OtherDistillation(_LayerMethod, Registered):
    """A loss of your own: a file of lgg/losses/ and a line in its __init__.py."""

    loss: Literal["other"]

    def _check_call(self) -> None:
        registry.check_distillation_loss(self.module)

    @property
    def loss_module(self) -> str:
        return self.module

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.arguments)


Method = Annotated[NoDistillation | Hinton | Relational | GraphMethod | OtherDistillation, Field(discriminator="loss")]


class Teacher(Section):
    """The network that students learn from."""

    architecture: Architecture
    seed: Seed = Field(default=0, description="of its weights and batches; one teacher serves all students")
    label: Label = Field(default="Teacher", description="name of its row")
    paper_error: Percent | None = Field(default=None, description="test error that the paper gives, in percent")


class Student(Section):
    """The small network."""

    architecture: Architecture


class Distillation(Section):
    """Section 4.1: Table 1."""

    teacher: Teacher | None = Field(description="null: no teacher, and no method that needs one")
    student: Student
    training: Training = Field(description="of teacher and students alike")
    baseline: str = Field(default="baseline", description="the method that gains are measured against")
    methods: dict[Name, Method | None] = Field(
        description="rows of Table 1 by name; a new entry is a new row, null takes one away"
    )
    seeds: Seeds | None = Field(default=None, description=OWN_SEEDS)
    seeds_per_job: Count = Field(
        default=1,
        description="students of one method that a job trains at once; more than 1 is for GPUs, which one small student "
        "does not fill. Results differ by rounding",
    )

    @property
    def active_methods(self) -> "dict[str, NoDistillation | Hinton | Relational | GraphMethod | OtherDistillation]":
        """The methods without those that an overlay took away."""
        return {name: method for name, method in self.methods.items() if method is not None}

    def problems(self) -> Iterator[Problem]:
        methods, teacher = self.active_methods, self.teacher
        networks = {"teacher": teacher.architecture, "student": self.student.architecture} if teacher else {}
        if any(True for network in networks.values() for _ in network.problems()):
            networks = {}  # whose layers cannot be told
        if "teacher" in methods:
            yield "methods.teacher", "that name is taken by the teacher itself; take another"
        yield from method_problems(methods, self.baseline, "Table 1", **({"teacher": teacher.label} if teacher else {}))
        for name, method in methods.items():
            if method.loss != "none" and teacher is None:
                yield (
                    f"methods.{name}",
                    f"it learns from a teacher, but `teacher` is null: give one, or set methods.{name} to null",
                )
            if isinstance(method, _LayerMethod) and networks:
                yield from ((f"methods.{name}.layers", text) for text in _layer_problems(method.layers, networks))
            if isinstance(method, GraphMethod):
                yield from neighbour_problems(f"methods.{name}.k", method.k, self.training)


def _layer_problems(layers: Sequence[str] | None, networks: "Mapping[str, Architecture]") -> Iterator[str]:
    """Yield why the representations `layers`, or all, of the two networks cannot be compared."""
    if layers is None:
        if len({network.layers for network in networks.values()}) > 1:
            yield "teacher and student have different layers; name those that both have"
        return
    for role, network in networks.items():
        for layer in dict.fromkeys(layers):
            if layer not in network.layers:
                yield (
                    f"the {role}, a {network.built_with['name']}, has no layer {layer!r}{nearest(layer, network.layers)} "
                    f"Its layers: {', '.join(network.layers)}"
                )
    if len(set(layers)) != len(layers):
        yield "a layer is there twice"
