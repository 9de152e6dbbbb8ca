"""Training objectives: an objective takes the network and a batch, and returns the loss and its parts.

The factors λ, γ and T² are applied here; the losses themselves are unweighted.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgg.defences.base import Defence, Outputs, architecture_of, overrides
from lgg.errors import ConfigError
from lgg.models.base import ImageClassifier

#: columns of a history that are not losses
OTHER_COLUMNS = ("epoch", "learning_rate", "train_error", "seconds")


@dataclass(frozen=True)
class Step:
    """The outcome of an objective on a batch.

    Attributes:
        loss: the scalar to minimise.
        parts: the unweighted terms that make up the loss, for the history.
        logits: (B, C), for the training error; None if the outputs are not logits.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    logits: Tensor | None = None


class Objective(Protocol):
    """An objective for `fit`.

    One that needs random numbers also has a method ``draw_from(generator)``: it is called before each step with the
    generator of the training run, on the device of the images, whose state is in checkpoints; all must come from it.
    """

    def __call__(self, model: Any, images: Tensor, labels: Tensor) -> Step: ...


class Layered(Protocol):
    """A network that lists its representations in `layers`."""

    layers: tuple[str, ...]


#: logits (B, C) and representations, each (B, ...)
LogitsAndLayers = tuple[Tensor, list[Tensor]]

#: layers to compare: a name that both networks have, or the names of a teacher's layer and of a student's
LayerPair = str | Sequence[str]


class NamedLayers(list[Tensor]):
    """A list of representations with the names of their `layers`, as `lgg.tap` gives, for messages of the losses."""

    def __init__(self, representations: Iterable[Tensor], layers: Iterable[str]) -> None:
        super().__init__(representations)
        self.layers = tuple(layers)


class CrossEntropy:
    """L = L_task, the cross-entropy of the logits."""

    def __call__(self, model: ImageClassifier, images: Tensor, labels: Tensor) -> Step:
        return cross_entropy_step(model(images), labels)


def cross_entropy_step(logits: Tensor, labels: Tensor) -> Step:
    """Return the cross-entropy of logits (B, C) as the complete loss."""
    task = F.cross_entropy(logits.float(), labels)
    return Step(task, {"task": task}, logits)


class Distillation:
    """L = L_task + λ L_KD (Section 4.1), with a teacher that is not trained.

    The distillation loss is called, by name, with those of `student_logits`, `teacher_logits`, `student_representations`,
    `teacher_representations` and `labels` that its ``forward`` takes; with all of them if it takes ``**any``.

    Args:
        teacher: a trained network; it is set to evaluation mode.
        criterion: the distillation loss, a module that returns an unweighted scalar.
        weight: λ, including Hinton's T².
        layers: the representations to compare, each by a name that both networks have or by a pair of names, the teacher's
            and the student's; None compares all in order.

    Raises ValueError for an entry of `layers` that is neither; a call raises it for a layer that a network does not have, and
    if all representations are to be compared but one network has more than the other.
    """

    def __init__(
        self, teacher: ImageClassifier, criterion: nn.Module, weight: float, layers: Sequence[LayerPair] | None = None
    ) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.criterion = criterion
        self.weight = weight
        self.pairs = None if layers is None else [layer_pair(layer) for layer in layers]
        self.parameters = inspect.signature(criterion.forward).parameters

    def __call__(self, model: ImageClassifier, images: Tensor, labels: Tensor) -> Step:
        return self.compare(model, model(images, return_representations=True), self.teach(images), labels)

    @torch.no_grad()
    def teach(self, images: Tensor) -> LogitsAndLayers:
        """Return the teacher's logits and representations of images (B, 3, H, W)."""
        outputs: LogitsAndLayers = self.teacher(images, return_representations=True)
        return outputs

    def compare(self, model: Layered, student: LogitsAndLayers, teacher: LogitsAndLayers, labels: Tensor) -> Step:
        """Return the loss of a student's outputs for one batch, given the teacher's; `model` names the layers."""
        (logits, representations), (teacher_logits, teacher_representations) = student, teacher
        if self.pairs is None and {"student_representations", "teacher_representations"} <= self.parameters.keys():
            check_equally_many(self.teacher.layers, model.layers)
        theirs, ours = (None if self.pairs is None else [pair[side] for pair in self.pairs] for side in (0, 1))
        available = {
            "student_logits": logits,
            "teacher_logits": teacher_logits,
            "student_representations": select_layers(model, representations, ours, "student"),
            "teacher_representations": select_layers(self.teacher, teacher_representations, theirs, "teacher"),
            "labels": labels,
        }
        task = F.cross_entropy(logits.float(), labels)
        takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in self.parameters.values())
        wanted = {name: given for name, given in available.items() if takes_all or name in self.parameters}
        distillation = self.criterion(**wanted)
        return Step(task + self.weight * distillation, {"task": task, "distillation": distillation}, logits)


class MetricLearning:
    """L = w L_embedding (Section 4.2): a loss on the network's outputs and the labels, without cross-entropy.

    Args:
        criterion: a module, called with outputs (B, d) and labels (B,), that returns an unweighted scalar.
        weight: w.
    """

    def __init__(self, criterion: nn.Module, weight: float) -> None:
        self.criterion = criterion
        self.weight = weight

    def __call__(self, model: ImageClassifier, images: Tensor, labels: Tensor) -> Step:
        loss = self.criterion(model(images), labels)
        return Step(self.weight * loss, {"embedding": loss})


class Robust:
    """L = L_task plus the terms of the defences, all on the images that the defences provide (Section 4.3).

    Args:
        defences: each receives the images of the previous one. Without any this is cross-entropy.
    """

    def __init__(self, defences: Sequence[Defence] = ()) -> None:
        self.defences = list(defences)
        # request representations only if a term may need them
        self.with_terms = [defence for defence in self.defences if overrides(defence, "term")]

    def __call__(self, model: ImageClassifier, images: Tensor, labels: Tensor) -> Step:
        for defence in self.defences:
            given = defence.inputs(model, images, labels)
            images = images if given is None else given
        if not self.with_terms:
            return CrossEntropy()(model, images, labels)
        logits, representations = model(images, return_representations=True)
        task = F.cross_entropy(logits.float(), labels)
        loss, parts = task, {"task": task}
        outputs = Outputs(model, images, labels, logits, NamedLayers(representations, model.layers))
        for defence in self.with_terms:
            term = defence.term(outputs)
            if term is not None:
                _check_name(term.name, parts)
                loss = loss + term.weight * term.value
                parts[term.name] = term.value
        return Step(loss, parts, logits)

    def draw_from(self, generator: torch.Generator) -> None:
        """Let the defences take their random numbers from `generator`."""
        for defence in self.defences:
            defence.generator = generator

    @property
    def architecture(self) -> dict[str, Any]:
        """The network arguments that the defences set; ConfigError if two set one differently."""
        return architecture_of(self.defences)

    def after_step(self, model: ImageClassifier) -> None:
        """Let each defence change the weights of `model`, after an optimiser step."""
        for defence in self.defences:
            defence.after_step(model)


def _check_name(name: str, parts: Mapping[str, Tensor]) -> None:
    if name in (*parts, "loss", "wrong", *OTHER_COLUMNS):
        raise ConfigError(
            f"a defence adds a term named {name!r}, but the history has another such column: rename the term"
        )


def layer_pair(layer: LayerPair) -> tuple[str, str]:
    """Return the names of a teacher's layer and of a student's; ValueError unless `layer` is a name or two of them."""
    if isinstance(layer, str):
        return layer, layer
    if len(layer) != 2 or not all(isinstance(name, str) for name in layer):
        raise ValueError(f"layers are names, or pairs of a teacher's layer and a student's, not {layer!r}")
    return layer[0], layer[1]


def check_equally_many(teacher: Sequence[str], student: Sequence[str]) -> None:
    """Raise ValueError if a teacher and a student list different numbers of layers, which cannot be compared in order."""
    if len(teacher) != len(student):
        raise ValueError(
            f"the teacher has {len(teacher)} representations ({', '.join(teacher)}), the student {len(student)} "
            f"({', '.join(student)}): name pairs of layers to compare, the teacher's and the student's"
        )


def select_layers(
    model: Layered, representations: Sequence[Tensor], layers: Sequence[str] | None, role: str = "network"
) -> NamedLayers:
    """Return the representations of `layers`, in that order; all if `layers` is None. `role` is for messages.

    Raises ValueError for a layer that the model does not have.
    """
    if layers is None:
        return NamedLayers(representations, model.layers)
    unknown = [layer for layer in layers if layer not in model.layers]
    if unknown:
        raise ValueError(f"the {role} has no layer {unknown[0]!r}; it has {', '.join(model.layers)}")
    return NamedLayers((representations[model.layers.index(layer)] for layer in layers), layers)
