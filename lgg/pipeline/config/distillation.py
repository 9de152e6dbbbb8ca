"""Section 4.1: distillation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from lgg.pipeline import registry
from lgg.pipeline.config.messages import nearest
from lgg.pipeline.config.methods import (
    IN_PAPER_YAML,
    SIMILARITY_OF_LAYERS,
    LossMethod,
    OtherLoss,
    TrainableComparison,
    TrainableMethod,
    neighbour_problems,
)
from lgg.pipeline.config.networks import Architecture, Network, Role, Weighted
from lgg.pipeline.config.types import Count, Label, NonNegative, Positive, Problem, Section, Seed

#: name of the teacher's row in Table 1 and of its folder in results/RUN/distillation/
TEACHER = "teacher"


class LayerPair(Section):
    """A representation of each network, to be compared with each other."""

    teacher: str = Field(description="name of the teacher's representation")
    student: str = Field(description="name of the student's representation")


class _DistillationMethod(TrainableMethod, LossMethod):
    @property
    def learns_from_teacher(self) -> bool:
        """Whether its students are trained here, with a teacher."""
        return self.trained is None and self.loss_module != "none"

    @property
    def compared_layers(self) -> list[str | list[str]] | None:
        """The representations to compare: names in both networks, or one in the teacher and one in the student; None: all."""
        return None


class _LayerMethod(_DistillationMethod):
    weight: NonNegative = Field(
        default=25.0, description="λ, the weight of the distillation term relative to cross-entropy"
    )
    layers: Annotated[list[str | LayerPair], Field(min_length=1)] | None = Field(
        default=None,
        description="representations to compare: names that both networks have, or {teacher: NAME, student: NAME}; null: all, "
        "in their order",
    )

    @property
    def compared_layers(self) -> list[str | list[str]] | None:
        if self.layers is None:
            return None
        return [one if isinstance(one, str) else [one.teacher, one.student] for one in self.layers]


class NoDistillation(_DistillationMethod):
    """Cross-entropy alone."""

    loss: Literal["none"]


class Hinton(_DistillationMethod):
    """Softened class probabilities (Hinton et al. 2015)."""

    loss: Literal["hinton"]
    weight: NonNegative = Field(default=1.0, description="λ; the term is multiplied by λT²")
    temperature: Positive = Field(default=4.0, description="T, by which the logits of both networks are divided")


class Relational(_LayerMethod):
    """RKD-D: relative pairwise distances (Park et al. 2019)."""

    loss: Literal["relational"]


class GraphMethod(_LayerMethod):
    """GKD: latent geometry graphs (the paper, Section 4.1)."""

    loss: Literal["graph_distillation"]
    k: Count | None = Field(default=None, description="nearest neighbours kept for each vertex; null: all edges")
    edges: Literal["all", "inter", "intra"] = Field(
        default="all",
        description="edges to compare: all, those between classes (inter), or those within a class (intra)",
    )
    power: Count = Field(default=1, description="p: compare the matrix power Aᵖ")
    normalize: bool = Field(default=True, description="normalise the graphs, D^-1/2 A D^-1/2")
    neighbours: Literal["teacher", "own"] = Field(
        default="teacher", description="with k: keep the teacher's edges in both graphs, or choose them in each graph"
    )
    order: Literal["threshold_first", "normalize_first", "published"] = Field(
        default="threshold_first",
        description="with k, or with edges and power above 1: threshold_first (paper): neighbours, normalisation, power, "
        "edges; normalize_first: normalisation, neighbours, power, edges; published (code): normalisation, edges, "
        "neighbours among these, power",
    )
    similarity: Literal["cosine", "rbf", "rbf_squared"] = Field(default="cosine", description=SIMILARITY_OF_LAYERS)
    rbf_scale: Positive = Field(default=2.0, description="α of the two kernels, dimensionless")


class OtherDistillation(_LayerMethod, OtherLoss):
    """Your own loss: a file in lgg/losses/ and a line in its __init__.py."""

    def _check_call(self) -> None:
        registry.check_distillation_loss(self.module)


def _without_loss(entry: Any) -> Any:
    """Return a row that was trained elsewhere with a loss, which it need not state."""
    if isinstance(entry, Mapping) and entry.get("trained") is not None and "loss" not in entry:
        return {**entry, "loss": "none"}
    return entry


DistillationMethod = Annotated[
    NoDistillation | Hinton | Relational | GraphMethod | OtherDistillation,
    Field(discriminator="loss"),
    BeforeValidator(_without_loss),
]


class Teacher(Role):
    """The network that students learn from: trained here, or `weights` of a network of your own."""

    former: ClassVar[Mapping[str, str]] = {"paper_error": IN_PAPER_YAML}

    seed: Seed = Field(default=0, description="seed of its weights and batches; one teacher serves all students")
    label: Label = Field(default="Teacher", description="name of its row in the table")


class Student(Weighted):
    """The small network."""

    @property
    def network(self) -> Network:
        """The network and the weights that its training starts from."""
        return Network(self.architecture, self.weights)


class Distillation(TrainableComparison[DistillationMethod]):
    """Section 4.1: Table 1."""

    table: ClassVar[str] = "Table 1"
    former: ClassVar[Mapping[str, str]] = {
        "seeds_per_job": "this is now `resources: {networks_per_job: …}`, for all sections; it no longer changes results"
    }

    teacher: Teacher | None = Field(description="null: no teacher, and no method that needs one")
    student: Student

    @property
    def other_labels(self) -> list[str]:
        return [self.teacher.label] if self.teacher else []

    def network_of(self, name: str) -> Network:
        """Return the network of a method's row, with the weights that it has before any training here."""
        method = self.active_methods[name]
        if method.trained is None:
            return self.student.network
        return Network(method.architecture or self.student.architecture, method.trained)

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        methods, teacher = self.active_methods, self.teacher
        networks = {TEACHER: teacher.architecture, "student": self.student.architecture} if teacher else {}
        if any(True for network in networks.values() for _ in network.problems()):
            networks = {}  # their layers are unknown
        if TEACHER in methods:
            yield f"methods.{TEACHER}", "this name is taken by the teacher; choose another"
        for name, method in methods.items():
            if method.learns_from_teacher and teacher is None:
                yield (
                    f"methods.{name}",
                    f"it learns from a teacher, but `teacher` is null: configure one, or set methods.{name} to null",
                )
            if isinstance(method, _LayerMethod) and networks and method.trained is None:
                yield from (
                    (f"methods.{name}.layers", text) for text in _layer_problems(method.compared_layers, networks)
                )
            if isinstance(method, GraphMethod):
                yield from neighbour_problems(f"methods.{name}.k", method.k, self.training)


def _layer_problems(pairs: Sequence[str | list[str]] | None, networks: "Mapping[str, Architecture]") -> Iterator[str]:
    """Yield why the representations `pairs` (None: all) of the two networks cannot be compared, as far as they are known."""
    known = {role: network.layers_known for role, network in networks.items()}
    if pairs is None:
        counts = {layers and len(layers) for layers in known.values()}
        if None not in counts and len(set(known.values())) > 1:
            yield "teacher and student have different layers; list those that both have, or pairs {teacher: …, student: …}"
        return
    for place, (role, layers) in enumerate(known.items()):
        named = [pair if isinstance(pair, str) else pair[place] for pair in pairs]
        for layer in dict.fromkeys(named):
            if layers is not None and layer not in layers:
                yield (
                    f"the {role}, a {networks[role].built_with['name']}, has no layer {layer!r}{nearest(layer, layers)} "
                    f"Its layers: {', '.join(layers)}"
                )
    if len({str(pair) for pair in pairs}) != len(pairs):
        yield "a layer is listed twice"
