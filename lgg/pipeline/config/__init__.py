"""Every key of the configuration: its type, default, unit and bounds, declared here and nowhere else.

``python -m lgg.pipeline.config config`` writes what is generated from it: the JSON schema for editors and the tables of keys in
``config/README.md``. This module imports neither torch nor torchvision, so that reading the Snakefile stays fast.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
)

from lgg.data import own_files
from lgg.errors import ConfigError, DataError
from lgg.files import write_text
from lgg.pipeline import registry
from lgg.pipeline.config.overlays import as_declared, branches, child, is_model, lay_over, nearest, tags
from lgg.training.schedule import boundaries, total_epochs

TABLES_BELOW = "<!-- The tables below are generated: make format -->"

CLASSES_OF_SOURCE = {"photo_patches": 10, "digits": 10, "cifar10": 10, "cifar100": 100}
IMAGES_OF_SOURCE = {"digits": (1438, 359), "cifar10": (50_000, 10_000), "cifar100": (50_000, 10_000)}
CorruptionName = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
    "speckle_noise",
    "gaussian_blur",
    "spatter",
    "saturate",
]
#: the folder of results/ that is committed
PUBLISHED = "published"
BENCHMARK_CORRUPTIONS: tuple[CorruptionName, ...] = get_args(CorruptionName)[:15]
WIDE_RESNET_LAYERS = ("stage1", "stage2", "pool")
PREACT_RESNET18_LAYERS = (*(f"block{block}.relu{relu}" for block in range(1, 9) for relu in (1, 2)), "final.relu")


def _path(value: str) -> str:
    """Refuse what no file of Snakemake's can be called: it takes braces for wildcards."""
    if not value or not value.isprintable() or set("{}") & set(value):
        raise ValueError(
            f"{_shown(value)} is no path that can be used here; take one without braces and control characters"
        )
    return value


TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # Unicode's signs of direction


def _label(value: str) -> str:
    """Return a label without blanks around it; refuse one that shows nothing, or that no table or figure can show on a line."""
    if not any(letter.isprintable() and not letter.isspace() for letter in value):
        raise ValueError(f"{_shown(value)} shows nothing; write what is to be read in tables and figures")
    for character in value:
        # what breaks the line, has no shape, or turns the text after it around
        is_turning = unicodedata.bidirectional(character) in TURNING
        if is_turning or unicodedata.category(character) in ("Cc", "Cs", "Co", "Zl", "Zp"):
            raise ValueError(
                f"{_shown(value)} has {character!a} in it; take text of one line without control characters"
            )
    return value.strip()


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
StepSize = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Severity = Annotated[int, Field(ge=1, le=5)]
Decibels = Annotated[float, Field(ge=-100, le=200, allow_inf_nan=False)]
AtLeast2 = Annotated[int, Field(ge=2)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Label = Annotated[str, AfterValidator(_label)]
FilePath = Annotated[str, AfterValidator(_path)]


def _each_once(seeds: list[int]) -> list[int]:
    """Refuse a seed that stands there twice."""
    if repeated := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        raise ValueError(f"{', '.join(map(str, repeated))} stands there twice; every seed counts once")
    return seeds


Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_each_once)]
OWN_SEEDS = "in place of the run's `seeds`, for this section alone; null: those"


#: the key of what is wrong, from its section on, and what is wrong
Problem = tuple[str, str]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())

    #: keys that sections of some `source` do not have; they go when an overlay chooses that source
    not_of: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def problems(self) -> Iterator[Problem]:
        """Yield what does not go together, though each key for itself may be so; sections below it speak for themselves."""
        yield from ()


# --- data ---------------------------------------------------------------------------------------------------------


class Data(_Section):
    """The images. All sources give RGB images of 32 × 32 pixels, 8 bits a channel."""

    not_of: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "photo_patches": ("path", "cifar10", "class_names"),
        "digits": ("path", "cifar10", "class_names"),
        "cifar10": ("class_names",),
        "cifar100": ("cifar10", "class_names"),
    }

    source: Literal["photo_patches", "digits", "cifar10", "cifar100", "arrays", "image_folder"] = Field(
        description="photo_patches: crops of ten photographs that ship with Python packages; digits: scikit-learn's; "
        "cifar10, cifar100: downloaded; arrays: your .npz files; image_folder: your pictures in train/CLASS/ and test/CLASS/"
    )
    path: FilePath | None = Field(
        default=None,
        description="arrays: folder with one *train*.npz and one *test*.npz; image_folder: folder with train/ and test/ (or "
        "val/, valid/, validation/ for want of test/); "
        "cifar10, cifar100: where the archive is or will be downloaded, `downloads` by default; no other source has one",
    )
    train_images: Count | None = Field(
        default=None,
        description="number of training images, drawn evenly from all classes; null: all there are (photo_patches: 2,000)",
    )
    test_images: Count | None = Field(
        default=None,
        description="number of test images, drawn evenly from all classes; null: all there are (photo_patches: 1,000)",
    )
    validation_images: Count | None = Field(
        default=None,
        description="number of training images, drawn evenly from all classes, that are held out and take the place of the "
        "test images: to choose settings without looking at the test images; null: none",
    )
    cifar10: bool = Field(
        default=False,
        description="arrays, image_folder: whether the files hold CIFAR-10's images; the paper's figures, which are of "
        "CIFAR-10, are shown beside your results only then",
    )
    seed: Seed = Field(default=0, description="decides which images are drawn, and which crops photo_patches cuts")
    class_names: list[Label] | None = Field(
        default=None,
        description="names of the classes in the order of their labels, for instance of arrays that give none; null: those "
        "that the source gives",
    )
    mean: list[Share] | None = Field(
        default=None,
        description="per-channel mean in [0, 1] that networks subtract; null: that of the training images",
    )
    std: list[Positive] | None = Field(
        default=None,
        description="per-channel standard deviation that networks divide by; null: that of the training images",
    )

    def problems(self) -> Iterator[Problem]:
        if self.source in ("arrays", "image_folder") and self.path is None:
            yield "path", f"source {self.source} reads files of yours: set `path` to their folder"
        if self.path is not None and "path" in self.not_of.get(self.source, ()):
            yield "path", f"source {self.source} comes with Python packages: leave `path` at null"
        if self.cifar10 and "cifar10" in self.not_of.get(self.source, ()):
            yield "cifar10", f"it says that files of yours hold CIFAR-10, but source {self.source} reads others"
        if (self.mean is None) != (self.std is None):
            missing = "mean" if self.mean is None else "std"
            yield missing, "`mean` and `std` go together: give both, or neither to have them measured"
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != 3:
                yield key, f"three numbers are needed, for red, green and blue, not {len(values)}"
        for key, count in (("train_images", self.train_images), ("test_images", self.test_images)):
            if count is not None:
                yield from self._count_problems(key, count)
        if self.validation_images is not None:
            yield from self._validation_problems(self.validation_images)
        if self.class_names is not None:
            yield from self._name_problems(self.class_names)

    def _count_problems(self, key: str, count: int) -> Iterator[Problem]:
        most = self.available(key)
        if count < self.classes_at_least:
            yield key, f"{count} is fewer than the {self.classes_at_least} classes"
        if most is not None and count > most:
            yield key, f"{count} is more than {self.source} has, {most:,}"
        if self.source == "photo_patches" and count % 10:
            yield key, f"{count}: photo_patches has 10 classes of equal size, take a multiple of 10"

    def _validation_problems(self, count: int) -> Iterator[Problem]:
        key = "validation_images"
        if self.test_images is not None:
            yield key, "they take the place of the test images: leave `test_images` at null"
        if count < self.classes_at_least:
            yield key, f"{count} is fewer than the {self.classes_at_least} classes"
        if self.training_images is not None and self.training_images < self.classes_at_least:
            most = self.training_images + count - self.classes_at_least
            yield key, f"{count} is too many: at most {most:,} training images can be spared"

    def _name_problems(self, names: Sequence[str]) -> Iterator[Problem]:
        if repeated := _repeated(names):
            yield "class_names", f"{', '.join(map(repr, repeated))} is there twice"
        if self.known_classes is not None and len(names) != self.known_classes:
            yield "class_names", f"{len(names)} names are given, {self.source} has {self.known_classes} classes"

    @property
    def beside_the_paper(self) -> bool:
        """Whether the paper's figures are shown beside ours: on its data set, and in the demonstration."""
        return self.cifar10 or self.source in ("cifar10", "photo_patches", "digits")

    #: of your own images, once they were counted
    _counted: dict[str, int] = PrivateAttr(default_factory=dict)
    _notices: list[str] = PrivateAttr(default_factory=list)

    @property
    def notices(self) -> list[str]:
        """Lines for the user: which files in the folders of pictures are not read."""
        return self._notices

    @property
    def known_classes(self) -> int | None:
        """Number of classes; None where only the files tell."""
        return self._counted.get("classes") or CLASSES_OF_SOURCE.get(self.source)

    @property
    def classes_at_least(self) -> int:
        """Number of classes where it is known, else the two that any task has."""
        return self.known_classes or 2

    def available(self, split: str) -> int | None:
        """Number of images of ``train_images`` or ``test_images`` that the source has; None where only its files tell."""
        if self.source == "photo_patches":
            return {"train_images": 20_000, "test_images": 5_000}[split]
        counts = IMAGES_OF_SOURCE.get(self.source)
        return self._counted.get(split) if counts is None else counts[0 if split == "train_images" else 1]

    def take_survey(self, found: own_files.Survey) -> None:
        """Take the numbers of images of each class, for the checks that need them, and the lines for the user."""
        self._notices = found.notices
        if found.counts is None:
            return
        train, test = found.counts
        self._counted = {
            "train_images": sum(train),
            "test_images": sum(test),
            "classes": len(train),
            "smallest_class": min(train),
        }

    @property
    def images_of_smallest_class(self) -> int | None:
        """Most training images that the smallest class can have; None where only the files tell."""
        if self.training_images is None or self.known_classes is None:
            return None
        even = self.training_images // self.known_classes
        held_out = -(-(self.validation_images or 0) // self.known_classes)
        return min(even, self._counted.get("smallest_class", even + held_out) - held_out)

    @property
    def training_images(self) -> int | None:
        """Number of training images; None where only the files tell."""
        photo_patches = 2000 if self.source == "photo_patches" else None
        images = self.train_images or photo_patches or self.available("train_images")
        return images and images - (self.validation_images or 0)

    @property
    def testing_images(self) -> int | None:
        """Number of test images; None where only the files tell."""
        photo_patches = 1000 if self.source == "photo_patches" else None
        return self.validation_images or self.test_images or photo_patches or self.available("test_images")


# --- networks and training ----------------------------------------------------------------------------------------


class _Architecture(_Section):
    @property
    def built_with(self) -> dict[str, Any]:
        """What `lgg.models.build` is given."""
        return self.model_dump(mode="json")


class WideResNet(_Architecture):
    """WideResNet-depth-width; its representations are stage1, stage2 and pool."""

    name: Literal["wide_resnet"]
    depth: Annotated[int, Field(ge=10)] = Field(description="number of layers, 6n + 4")
    width: Annotated[float, Field(gt=0, le=1000)] = Field(description="stages have 16, 32 and 64 channels times this")

    def problems(self) -> Iterator[Problem]:
        if (self.depth - 4) % 6:
            yield "depth", f"{self.depth} is not of the form 6n + 4 (10, 16, 22, 28 …)"
        if int(16 * self.width) < 1:
            yield "width", f"{self.width} leaves the first stage without channels; take at least 0.0625"

    @property
    def layers(self) -> tuple[str, ...]:
        return WIDE_RESNET_LAYERS


class PreActResNet18(_Architecture):
    """Pre-activation ResNet18; its representations are the outputs of its 17 ReLUs, block1.relu1 to final.relu."""

    name: Literal["preact_resnet18"]
    base_width: Count = Field(default=64, description="channels of the first two blocks; the paper's network has 64")

    @property
    def layers(self) -> tuple[str, ...]:
        return PREACT_RESNET18_LAYERS


class OtherNetwork(_Architecture):
    """A network of your own: a file of lgg/models/ and a line in its __init__.py."""

    name: Literal["other"]
    module: str = Field(description="its name in the table _EXPORTS of lgg/models/__init__.py")
    arguments: dict[str, bool | int | float | str | None] = Field(
        default={}, description="what the network is made with: arguments of its class"
    )

    def problems(self) -> Iterator[Problem]:
        try:
            if self.module not in registry.networks():
                raise ValueError(_unregistered(self.module, registry.networks(), "lgg/models/__init__.py"))
            taken = registry.network_arguments(self.module)
            registry.network_layers(self.module)
        except ValueError as error:
            yield "module", str(error)
            return
        yield from _argument_problems(registry.networks()[self.module][1], self.arguments, taken)

    @property
    def layers(self) -> tuple[str, ...]:
        return registry.network_layers(self.module)

    @property
    def built_with(self) -> dict[str, Any]:
        return {"name": self.module, **self.arguments}


Architecture = Annotated[WideResNet | PreActResNet18 | OtherNetwork, Field(discriminator="name")]


def _unregistered(module: str, registered: Iterable[str], table: str) -> str:
    return f"{module!r} is not registered{nearest(module, list(registered))} A line of _EXPORTS in {table} registers it"


def _argument_problems(owner: str, given: Mapping[str, Any], taken: Mapping[str, bool] | None) -> Iterator[Problem]:
    """Yield arguments that the class `owner` does not take, and those that it needs; `taken` is None where any may be right."""
    if taken is None:
        return
    for name in given:
        if name not in taken:
            yield f"arguments.{name}", f"{owner} takes no {name!r}{nearest(name, taken)}"
    if missing := [name for name, needed in taken.items() if needed and name not in given]:
        yield "arguments", f"{owner} needs {', '.join(missing)}"


class Phase(_Section):
    """A stretch of training. Phases follow one another; together they are the learning-rate schedule."""

    epochs: Annotated[float, Field(gt=0, le=1e6)] = Field(
        description="length, in passes over the training images; parts of an epoch are allowed, from a step on. Phases "
        "begin with the step that is nearest to the sum of the lengths before them"
    )
    learning_rate: NonNegative | list[NonNegative] = Field(
        description="one value, or [first, last] to change it at every step"
    )
    shape: Literal["linear", "cosine"] = Field(
        default="linear", description="how it goes from the first to the last value"
    )
    fresh_optimizer: bool = Field(default=False, description="forget the momentum when the phase begins")

    def problems(self) -> Iterator[Problem]:
        if isinstance(self.learning_rate, list) and len(self.learning_rate) != 2:
            yield "learning_rate", f"one number or [first, last] is needed, not {self.learning_rate}"


class Training(_Section):
    """Stochastic gradient descent."""

    schedule: Annotated[list[Phase], Field(min_length=1)] = Field(
        description="the phases: constant ones are a multi-step schedule, [0, peak] then [peak, 0] is a one-cycle schedule"
    )
    batch_size: AtLeast2 = Field(default=128, description="images a step")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.9, description="of SGD")
    nesterov: bool = Field(default=False, description="Nesterov's form of the momentum")
    weight_decay: NonNegative = Field(default=5e-4, description="L2 penalty on every parameter")
    augmentation: Literal["crop_and_flip", "none"] = Field(
        default="crop_and_flip", description="crop_and_flip: random crops after a padding of 4 pixels, and mirroring"
    )
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        default="float32",
        description="bfloat16: mixed precision; fast on GPUs and on CPUs with AMX or AVX-512 BF16, very slow on others; "
        "auto: bfloat16 where it is fast, float32 elsewhere",
    )
    compilation: Literal["none", "default", "reduce-overhead", "max-autotune"] = Field(
        default="none",
        description="mode of torch.compile for the network; reduce-overhead and max-autotune replay CUDA graphs on a GPU. "
        "Needs a C++ compiler on the CPU, and takes a minute before the first step",
    )

    @property
    def epochs(self) -> int:
        """Number of epochs that the phases make together."""
        return total_epochs(self._phases)

    @property
    def _phases(self) -> list[dict[str, Any]]:
        return [{"epochs": phase.epochs} for phase in self.schedule]

    def problems(self) -> Iterator[Problem]:
        try:
            total_epochs(self._phases)
        except ConfigError as error:
            yield "schedule", str(error)
        if self.nesterov and self.momentum == 0:
            yield "nesterov", "it needs a `momentum` above 0"

    def count_problems(self, images: int) -> Iterator[Problem]:
        """Yield what does not go together with a number of training images."""
        if self.batch_size > images:
            yield "batch_size", f"{self.batch_size} is more than the {images} training images"
        try:
            boundaries(self._phases, -(-images // self.batch_size))
        except ConfigError as error:
            if not any(key == "schedule" for key, _ in self.problems()):
                yield "schedule", str(error)


def _method_problems(methods: Mapping[str, Any], baseline: str, table: str, **others: str) -> Iterator[Problem]:
    """Yield what is wrong with the rows of a table: none, no baseline, or labels that `others` or two of them share."""
    if not methods:
        yield "methods", f"there is none; {table} needs at least the baseline"
    elif baseline not in methods:
        yield "baseline", f"{baseline!r} is no entry of `methods`{nearest(baseline, methods)}"
    labels = [*others.values(), *(method.label for method in methods.values())]
    for name, method in methods.items():
        if _shown_alike(method.label) in _repeated(labels):
            yield f"methods.{name}.label", f"two rows are labelled {method.label!r}"


def _repeated(words: Iterable[str]) -> list[str]:
    """Return the words that are there more than once, blanks within them not counted."""
    alike = list(map(_shown_alike, words))
    return sorted({word for word in alike if alike.count(word) > 1})


def _shown_alike(word: str) -> str:
    return " ".join(word.split())


def _neighbour_problems(key: str, k: int | None, training: Training) -> Iterator[Problem]:
    if k is not None and k > training.batch_size:
        yield key, f"{k} neighbours cannot be found in batches of {training.batch_size} (training.batch_size)"


# --- Section 4.1: distillation --------------------------------------------------------------------------------------


class _Method(_Section):
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


class _Registered(_Section):
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
                raise ValueError(_unregistered(self.module, registry.losses(), "lgg/losses/__init__.py"))
            taken = registry.arguments(self.module)
            self._check_call()
        except ValueError as error:
            yield "module", str(error)
            return
        yield from _argument_problems(registry.losses()[self.module], self.arguments, taken)

    def _check_call(self) -> None:
        """Raise ValueError where the loss's `forward` cannot be called as the section's training calls it."""
        raise NotImplementedError


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


#: of losses over layers
SIMILARITY_OF_LAYERS = (
    "cosine: for representations that cannot be negative; rbf: exp(−α·distance), distances divided by their mean over the "
    "batch; rbf_squared: the same with squares"
)


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


class OtherDistillation(_LayerMethod, _Registered):
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


class Teacher(_Section):
    """The network that students learn from."""

    architecture: Architecture
    seed: Seed = Field(default=0, description="of its weights and batches; one teacher serves all students")
    label: Label = Field(default="Teacher", description="name of its row")
    paper_error: Percent | None = Field(default=None, description="test error that the paper gives, in percent")


class Student(_Section):
    """The small network."""

    architecture: Architecture


class Distillation(_Section):
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
        yield from _method_problems(
            methods, self.baseline, "Table 1", **({"teacher": teacher.label} if teacher else {})
        )
        for name, method in methods.items():
            if method.loss != "none" and teacher is None:
                yield (
                    f"methods.{name}",
                    f"it learns from a teacher, but `teacher` is null: give one, or set methods.{name} to null",
                )
            if isinstance(method, _LayerMethod) and networks:
                yield from ((f"methods.{name}.layers", text) for text in _layer_problems(method.layers, networks))
            if isinstance(method, GraphMethod):
                yield from _neighbour_problems(f"methods.{name}.k", method.k, self.training)


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


# --- Section 4.2: embeddings ----------------------------------------------------------------------------------------

Classifier = Literal["nearest_neighbours", "svm", "logistic_regression", "nearest_centroid"]


class _EmbeddingMethod(_Section):
    """A row of Table 2."""

    label: Label = Field(description="name of the row, plain text")
    paper_clean_error: Percent | None = Field(default=None, description="test error that the paper gives, in percent")
    paper_relative_mce: NonNegative | None = Field(default=None, description="relative MCE that the paper gives")

    @property
    def loss_module(self) -> str:
        """Module of lgg.losses that holds the loss."""
        return str(getattr(self, "loss"))  # noqa: B009 — each kind of method has its own

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the loss's constructor."""
        shared = {*_EmbeddingMethod.model_fields, "loss", "weight", "classifier"}
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in shared}


class CrossEntropyEmbedding(_EmbeddingMethod):
    """Cross-entropy; the logits are the embedding."""

    loss: Literal["cross_entropy"]
    classifier: Literal["own", "nearest_neighbours", "svm", "logistic_regression", "nearest_centroid"] = Field(
        default="own", description="whose error stands in Table 2; own: the class of the largest logit"
    )


class _MetricEmbedding(_EmbeddingMethod):
    weight: Positive = Field(default=1.0, description="factor of the loss")
    classifier: Classifier = Field(
        default="nearest_neighbours",
        description="whose error stands in Table 2; all of them stand in its supplement. nearest_neighbours: 10 of them; "
        "svm: support vector machine with an RBF kernel",
    )


class _NormalizableEmbedding(_MetricEmbedding):
    normalize_embeddings: bool = Field(
        default=False, description="scale embeddings to length one, in the loss and for classifiers"
    )


def _not_cosine(value: Any) -> Any:
    if value == "cosine":
        raise ValueError(
            "cosine is for values that cannot be negative, and the embeddings are outputs of a linear layer: take rbf or "
            "rbf_squared (Section 3.3)"
        )
    return value


class LabelVariationEmbedding(_NormalizableEmbedding):
    """Label variation of the graph of the embeddings (the paper, Section 4.2)."""

    loss: Literal["label_variation"]
    similarity: Annotated[Literal["rbf", "rbf_squared"], BeforeValidator(_not_cosine)] = Field(
        default="rbf",
        description="rbf: exp(−α·distance); rbf_squared: exp(−α·distance²). Not cosine: the embeddings, outputs of a linear "
        "layer, can be negative",
    )
    rbf_scale: Positive = Field(default=2.0, description="α of the two kernels")
    k: Count | None = Field(default=None, description="nearest neighbours kept for each vertex; null: every edge")
    normalize: bool = Field(default=False, description="normalise the graph, D^-1/2 A D^-1/2")
    self_loops: bool = Field(default=False, description="with normalize: count each vertex's similarity with itself")
    power: Count = Field(default=1, description="p of tr(VᵀLᵖV)")
    reduction: Literal["mean", "sum"] = Field(
        default="mean",
        description="sum: tr(VᵀLᵖV); mean: divided by the edges between classes, each counted in both directions",
    )


class TripletEmbedding(_NormalizableEmbedding):
    """Triplets (Hermans, Beyer, Leibe 2017)."""

    loss: Literal["triplet"]
    triplets: Literal["hard", "all"] = Field(
        default="hard",
        description="hard: the hardest of each input, which may draw all embeddings into one point; all: all of a batch",
    )
    margin: Positive | Literal["soft"] = Field(
        default=0.2,
        description="by which other classes should be farther away than the own one; soft: as far as they can, by a softplus",
    )


class OtherEmbedding(_MetricEmbedding, _Registered):
    """A loss of your own: a file of lgg/losses/ and a line in its __init__.py."""

    loss: Literal["other"]

    def _check_call(self) -> None:
        registry.check_embedding_loss(self.module)

    @property
    def loss_module(self) -> str:
        return self.module

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.arguments)


EmbeddingMethod = Annotated[
    CrossEntropyEmbedding | LabelVariationEmbedding | TripletEmbedding | OtherEmbedding, Field(discriminator="loss")
]


class EmbeddingFigure(_Section):
    """Figure A1: embeddings of the training images in the plane while networks learn."""

    methods: Annotated[list[str], Field(min_length=1)] = Field(
        description="rows of the figure, from the top; cross-entropy gets a layer of 2 units before its classifier, "
        "others 2 outputs. A row goes with its method where an overlay takes that away"
    )
    epochs: Annotated[list[CountOrNone], Field(min_length=1)] = Field(
        description="panels between the initialisation and the end, which are always drawn: numbers of epochs trained"
    )
    seed: Seed = Field(default=0, description="of weights and batches")


class Embedding(_Section):
    """Section 4.2: Table 2 and Figure A1."""

    architecture: PreActResNet18
    dimensions: Count | None = Field(
        default=None,
        description="of the embeddings; null: the number of classes. Cross-entropy always has a logit a class",
    )
    training: Training = Field(description="of all methods alike")
    baseline: str = Field(default="cross_entropy", description="the method that relative MCE and differences refer to")
    methods: dict[Name, EmbeddingMethod | None] = Field(
        description="rows of Table 2 by name; a new entry is a new row, null takes one away"
    )
    seeds: Seeds | None = Field(default=None, description=OWN_SEEDS)
    figure: EmbeddingFigure | None = Field(default=None, description="null: no Figure A1")

    @property
    def active_methods(
        self,
    ) -> "dict[str, CrossEntropyEmbedding | LabelVariationEmbedding | TripletEmbedding | OtherEmbedding]":
        """The methods without those that an overlay took away."""
        return {name: method for name, method in self.methods.items() if method is not None}

    @property
    def figure_methods(self) -> list[str]:
        """Rows of Figure A1: a row goes with its method; where there is none, there is no figure."""
        return [name for name in (self.figure.methods if self.figure else []) if name in self.active_methods]

    @property
    def figure_epochs(self) -> list[int]:
        """Epochs after which Figure A1 is drawn, 0 and the last included."""
        return sorted({0, *(self.figure.epochs if self.figure else []), self.training.epochs})

    def problems(self) -> Iterator[Problem]:
        methods = self.active_methods
        yield from _method_problems(methods, self.baseline, "Table 2")
        for name, method in methods.items():
            if isinstance(method, LabelVariationEmbedding):
                yield from _neighbour_problems(f"methods.{name}.k", method.k, self.training)
                if method.self_loops and not method.normalize:
                    yield (
                        f"methods.{name}.self_loops",
                        "it changes degrees only, which nothing divides by unless `normalize` is true",
                    )
        if self.figure:
            yield from self._figure_problems(self.figure)

    def _figure_problems(self, figure: EmbeddingFigure) -> Iterator[Problem]:
        for name in dict.fromkeys(figure.methods):
            if name not in self.methods:
                yield "figure.methods", f"{name!r} is no entry of `methods`{nearest(name, self.active_methods)}"
        if len(set(figure.methods)) != len(figure.methods):
            yield "figure.methods", "a method is there twice"
        trained = not any(key == "schedule" for key, _ in self.training.problems())
        if trained and max(figure.epochs) > self.training.epochs:
            yield "figure.epochs", f"{max(figure.epochs)} is after the last epoch, {self.training.epochs}"


# --- Section 4.3: robustness ------------------------------------------------------------------------------------------


class Smoothness(_Section):
    """The label variation regulariser (the paper, Section 4.3, Eq. 9)."""

    weight: NonNegative = Field(
        default=1e-4, description="γ, beside cross-entropy; the published code's γᵖ is 0.01² = 1e-4 for batches of 100"
    )
    power: Count = Field(default=2, description="p of tr(VᵀLᵖV)")
    reduction: Literal["mean", "sum"] = Field(
        default="mean", description="over pairs of consecutive layers: mean (published code) or sum (the paper's text)"
    )
    k: Count | None = Field(
        default=None,
        description="nearest neighbours kept for each vertex, itself not counted (the published code counts it); null: every "
        "edge",
    )
    normalize: bool = Field(default=False, description="normalise the graphs, D^-1/2 A D^-1/2")
    similarity: Literal["cosine", "rbf", "rbf_squared"] = Field(default="cosine", description=SIMILARITY_OF_LAYERS)
    rbf_scale: Positive = Field(default=2.0, description="α of the two kernels, without unit")


class Parseval(_Section):
    """Parseval networks (Cisse et al. 2017): orthonormal weights, scaled convolutions, averaged residuals."""

    beta: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = Field(
        default=0.01, description="β of the retraction after every step"
    )


class AdversarialTraining(_Section):
    """Training on PGD's images (Madry et al. 2018)."""

    epsilon: Share = Field(default=8 / 255, description="largest change of a value in [0, 1]")
    step_size: StepSize = Field(default=2 / 255, description="change of a value in one step")
    steps: Count = Field(default=7, description="steps of the attack on every batch")
    random_start: bool = Field(default=True, description="start at a random point within epsilon")


class PublishedAccuracy(_Section):
    """Accuracies of the published networks, in percent."""

    clean: Percent | None = Field(default=None, description="test images as they are")
    fgsm_pixels: Percent | None = Field(default=None, description="FGSM on pixels")
    fgsm_normalized: Percent | None = Field(default=None, description="FGSM on normalised inputs")
    gaussian_noise: Percent | None = Field(default=None, description="Gaussian noise")
    dropout: Percent | None = Field(default=None, description="dropout after each block")
    quantized_weights: Percent | None = Field(default=None, description="weights cut to few bits")
    pgd: Percent | None = Field(default=None, description="PGD")


class RobustMethod(_Section):
    """A row of Table 3: cross-entropy with none, one or several of three defences."""

    label: Label = Field(description="name of the row, plain text")
    smoothness: Smoothness | None = Field(default=None, description="null: without the label variation regulariser")
    parseval: Parseval | None = Field(default=None, description="null: an ordinary network")
    adversarial: AdversarialTraining | None = Field(default=None, description="null: trained on the images as they are")
    supplement: bool = Field(
        default=False, description="true: only in Table 3's supplement, without corruptions; for sweeps"
    )
    paper_clean_error: Percent | None = Field(default=None, description="test error that the paper gives, in percent")
    paper_fgsm_error: Percent | None = Field(
        default=None, description="error under FGSM that the paper gives, in percent"
    )
    paper_relative_mce: NonNegative | None = Field(default=None, description="relative MCE that the paper gives")
    paper_epoch_seconds: Positive | None = Field(
        default=None, description="time of an epoch that the paper gives, in seconds (Table A1)"
    )
    published: PublishedAccuracy | None = Field(default=None, description="for the second robustness table")


class PgdTest(_Section):
    """Projected gradient descent within an L∞ ball."""

    epsilon: Share = Field(default=0.01, description="largest change of a value in [0, 1]")
    step_size: StepSize = Field(default=0.002, description="change of a value in one step")
    steps: Count = Field(default=20, description="steps of a start")
    restarts: Count = Field(default=1, description="starts; the first at the image, others at random; the worst counts")
    loss: Literal["cross_entropy", "logit_difference"] = Field(
        default="cross_entropy",
        description="what the attack raises; the gradient of logit_difference, the largest other logit minus the true "
        "class's, does not vanish where a network is very sure",
    )
    stop_at_success: bool = Field(
        default=False,
        description="leave an image as it is once it is misclassified (published code); false: the last step counts",
    )


class RobustnessTests(_Section):
    """What networks are put to beside corruptions."""

    images: Count | None = Field(
        default=None, description="test images under attack, drawn evenly from all classes; null: all"
    )
    seed: Seed = Field(default=0, description="of noise, dropout, random starts and the choice of images")
    transfer_seed: Seed = Field(
        default=1000,
        description="of one more baseline network, none of those evaluated: transferred attacks are crafted on it",
    )
    fgsm_snr: Decibels = Field(default=33.0, description="signal-to-noise ratio of FGSM, in dB")
    curve_snrs: Annotated[list[Decibels], Field(min_length=1)] = Field(
        default=[60.0, 50.0, 45.0, 40.0, 36.0, 33.0, 30.0, 25.0, 20.0],
        description="signal-to-noise ratios of the curve of accuracy under FGSM, in dB",
    )
    noise_std: NonNegative = Field(default=0.1, description="standard deviation of Gaussian noise on values in [0, 1]")
    dropout_rate: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.25, description="of dropout after each block")
    weight_bits: Annotated[int, Field(ge=2, le=16)] = Field(default=5, description="to which weights are cut")
    pgd: PgdTest = Field(
        default=PgdTest(), description="with the published code's constants; for all of it set `stop_at_success` too"
    )
    strong_pgd: PgdTest = Field(
        default=PgdTest(steps=50, restarts=3), description="more steps and restarts: a check for gradient masking"
    )
    deepfool_images: CountOrNone = Field(
        default=100, description="images for DeepFool, one at a time slow; 0: without DeepFool"
    )

    def strength_problems(self) -> Iterator[Problem]:
        """Yield why `strong_pgd` does not check `pgd`; of a run that is to come, since one that was may have had it so."""
        keys = ("epsilon", "steps", "restarts")
        plain, strong = ([getattr(attack, key) for key in keys] for attack in (self.pgd, self.strong_pgd))
        if plain == strong or any(one > other for one, other in zip(plain, strong, strict=True)):
            yield (
                "robustness.tests.strong_pgd",
                "it is not stronger than `pgd`, which it is to check: give it more steps or restarts, and no less of "
                f"{', '.join(keys)} ({', '.join(map(str, plain))}; found {', '.join(map(str, strong))})",
            )


class Robustness(_Section):
    """Section 4.3: Table 3 and the second robustness table."""

    architecture: PreActResNet18
    training: Training = Field(description="of all methods alike")
    baseline: str = Field(default="baseline", description="the method that relative MCE and differences refer to")
    methods: dict[Name, RobustMethod | None] = Field(
        description="rows of Table 3 by name; a new entry is a new row, null takes one away"
    )
    seeds: Seeds | None = Field(default=None, description=OWN_SEEDS)
    tests: RobustnessTests = Field(default=RobustnessTests(), description="attacks and other tests")

    @property
    def active_methods(self) -> dict[str, RobustMethod]:
        """The methods without those that an overlay took away."""
        return {name: method for name, method in self.methods.items() if method is not None}

    @property
    def table_methods(self) -> dict[str, RobustMethod]:
        """The methods that stand in Table 3 itself."""
        return {name: method for name, method in self.active_methods.items() if not method.supplement}

    @property
    def watched_methods(self) -> dict[str, RobustMethod]:
        """The baseline, and the methods of Table 3 with the regulariser: whose label variation is drawn."""
        return {
            name: method
            for name, method in self.active_methods.items()
            if name == self.baseline or (method.smoothness and not method.supplement)
        }

    @property
    def sweep(self) -> dict[str, float]:
        """γ of the baseline, zero, and of methods that are the regulariser alone and alike but for γ; one method a γ."""
        alone = {
            name: method.smoothness
            for name, method in self.active_methods.items()
            if name != self.baseline and method.smoothness and not method.parseval and not method.adversarial
        }
        kinds = [smoothness.model_copy(update={"weight": 0.0}) for smoothness in alone.values()]
        by_weight: dict[float, str] = {}
        for (name, smoothness), kind in zip(alone.items(), kinds, strict=True):
            if kind == kinds[0] and smoothness.weight > 0:
                by_weight.setdefault(smoothness.weight, name)
        return {self.baseline: 0.0} | {name: weight for weight, name in by_weight.items()}

    def problems(self) -> Iterator[Problem]:
        methods = self.active_methods
        yield from _method_problems(methods, self.baseline, "Table 3")
        if self.baseline in methods and methods[self.baseline].supplement:
            yield f"methods.{self.baseline}.supplement", "the baseline must be in Table 3 itself"
        for name, method in methods.items():
            if method.smoothness:
                yield from _neighbour_problems(f"methods.{name}.smoothness.k", method.smoothness.k, self.training)


class Corruptions(_Section):
    """The corrupted test images of Tables 2 and 3 (Hendrycks and Dietterich 2019)."""

    not_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"generated": ("path",), "cifar10_c": ("keep",)}

    source: Literal["generated", "cifar10_c"] = Field(
        default="generated",
        description="generated: made here from the published definitions; cifar10_c: the official archive (2.9 GB)",
    )
    path: FilePath | None = Field(
        default=None,
        description="cifar10_c: where CIFAR-10-C.tar is or will be downloaded, `downloads/CIFAR-10-C.tar` by default",
    )
    names: Annotated[list[CorruptionName], Field(min_length=1)] = Field(
        default=list(BENCHMARK_CORRUPTIONS), description="which corruptions; by default the 15 of the benchmark"
    )
    severities: Annotated[list[Severity], Field(min_length=1)] = Field(
        default=[1, 2, 3, 4, 5], description="which severities"
    )
    images: Count | None = Field(
        default=None, description="number of test images corrupted, drawn evenly from all classes; null: all"
    )
    seed: Seed = Field(default=0, description="of the generated corruptions and of the choice of images")
    keep: bool = Field(
        default=False,
        description="generated: keep them all in results/RUN/data/corruptions.tar (2.3 GB for 10,000 images) instead of "
        "making them anew for each method",
    )

    def problems(self) -> Iterator[Problem]:
        if self.source == "generated" and self.path is not None:
            yield "path", "source generated reads no archive: leave `path` at null"
        if self.source == "cifar10_c" and self.keep:
            yield "keep", "`keep` is for generated corruptions; the archive is kept anyway"
        for key, values in (("names", self.names), ("severities", self.severities)):
            if len(set(values)) != len(values):
                yield key, "an entry is there twice"


# --- Section 3.3: geometry ------------------------------------------------------------------------------------------


class Geometry(_Section):
    """Section 3 and Appendix C: Figures 1 and 2."""

    architecture: PreActResNet18 = Field(description="the reference network, whose eight blocks Figure 1 draws")
    seed: Seed = Field(default=0, description="of the reference network's weights and batches")
    training: Training
    classes: AtLeast2 = Field(default=4, description="classes in a draw")
    images_per_class: Count = Field(default=5, description="training images of each class in a draw")
    k: Count = Field(default=5, description="nearest neighbours of each vertex")
    draws: Count = Field(default=100, description="independent draws behind the distribution; the first is Figure 2's")
    draw_seed: Seed = Field(default=0, description="of the draws")

    def problems(self) -> Iterator[Problem]:
        images = self.classes * self.images_per_class
        if self.k >= images:
            yield "k", f"{self.k} is too many: a graph of {images} images leaves {images - 1} neighbours to choose from"


# --- Appendix D: time ---------------------------------------------------------------------------------------------------


class Timing(_Section):
    """Appendix D: Table A1."""

    methods: Annotated[list[str], Field(min_length=1)] = Field(
        description="rows, as SECTION.METHOD, e.g. robustness.parseval; those of a section are compared with its "
        "baseline, which is timed too. A row goes with its method or section where an overlay takes that away"
    )
    rounds: AtLeast2 = Field(default=5, description="rounds, each method once in each; medians are over rounds")
    steps: Count = Field(default=10, description="steps of training timed together, in each round")
    adversarial: AdversarialTraining | None = Field(
        default=None, description="attack in place of that of methods with adversarial training; null: their own"
    )


# --- resources ------------------------------------------------------------------------------------------------------


class JobResources(_Section):
    """What one job of a kind asks for. Never a reason to run it again."""

    threads: Count = Field(description="CPU threads")
    mem_mb: Count = Field(description="memory, in MB")
    runtime: Count = Field(description="time limit on a cluster, in minutes")


class Checkpoints(_Section):
    """How often a training writes a checkpoint, from which it goes on after it was killed. No result depends on it."""

    minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=10.0, description="what is lost at most when a machine dies; null: no checkpoint by the clock"
    )
    epochs: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="one after each of so many epochs; null: none by their number"
    )


def _device(value: Any) -> Any:
    """Refuse what people call devices elsewhere with what it is called here."""
    word = str(value).lower()
    said = f"{value!r} is not a valid choice"
    if value not in get_args(Device) and re.fullmatch(r"(cuda|gpu|nvidia|hip|rocm|amd)s?", word):
        raise ValueError(f"{said}; did you mean 'cuda'? Valid: auto, cpu, cuda")
    if re.fullmatch(r"(cuda|gpu)?:?[0-9]+", word):
        raise ValueError(f"{said}; say 'cuda', and which GPUs in the environment variable CUDA_VISIBLE_DEVICES")
    if re.fullmatch(r"(mps|metal|xpu|tpu|npu|hpu|xla|mlx)(:[0-9]+)?", word):
        raise ValueError(f"{said}: jobs work on CPUs, or on GPUs by PyTorch's device cuda. Valid: auto, cpu, cuda")
    return value


Device = Literal["auto", "cpu", "cuda"]


class Resources(_Section):
    """What jobs ask for: `train` with a GPU, `evaluate` with a GPU, `light` (data, tables, figures) without."""

    device: Annotated[Device, BeforeValidator(_device)] = Field(
        default="auto",
        description="cuda: jobs of `train` and `evaluate` ask for one GPU each; cpu: none does; auto: cuda where this "
        "machine has a GPU that PyTorch can use (on a cluster's login node without one, say cuda)",
    )
    jobs_per_gpu: Count = Field(
        default=1,
        description="how many jobs share a GPU of this machine, for networks that do not fill one; `--resources gpu=N` then "
        "counts these places",
    )
    train: JobResources
    evaluate: JobResources
    light: JobResources
    checkpoints: Checkpoints = Checkpoints()


# --- the whole ------------------------------------------------------------------------------------------------------


class Config(_Section):
    """A run of the pipeline."""

    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)] = Field(
        description="name of the run; everything it writes lies below results/RUN/"
    )
    seeds: Seeds = Field(
        description="one network of every method is trained from each; adding one trains only the new networks"
    )
    data: Data
    geometry: Geometry | None = Field(default=None, description="null: no Figures 1 and 2")
    corruptions: Corruptions | None = Field(
        default=Corruptions(), description="null: no corrupted test images, and no errors on them in Tables 2 and 3"
    )
    distillation: Distillation | None = Field(default=None, description="null: no Table 1")
    embedding: Embedding | None = Field(default=None, description="null: no Table 2 and no Figure A1")
    robustness: Robustness | None = Field(default=None, description="null: no Table 3")
    timing: Timing | None = Field(default=None, description="null: no Table A1")
    resources: Resources

    def seeds_of(self, section: Literal["distillation", "embedding", "robustness"]) -> list[int]:
        """The seeds of a section that has networks of several: its own, or the run's."""
        part = getattr(self, section)
        return self.seeds if part is None or part.seeds is None else part.seeds

    @property
    def timed_methods(self) -> list[tuple[str, str]]:
        """Section and method of the rows of Table A1: those that are there, each section's baseline among them."""
        rows: dict[tuple[str, str], None] = {}  # a set that keeps its order
        for row in self.timing.methods if self.timing else []:
            section, _, name = row.partition(".")
            part = getattr(self, section)
            if part is None or name not in part.active_methods:
                continue
            rows |= dict.fromkeys([(section, part.baseline), (section, name)])
        return list(rows)

    def problems(self) -> Iterator[Problem]:
        yield from self._timing_problems()
        if self.robustness and self.seeds and self.robustness.tests.transfer_seed in self.seeds_of("robustness"):
            yield (
                "robustness.tests.transfer_seed",
                f"{self.robustness.tests.transfer_seed} is among `seeds`; the network that attacks are crafted on is none of "
                "those evaluated: take another",
            )
        if self.data:  # None where it could not be read
            yield from self._training_problems()
            yield from self._test_problems()
            yield from self._class_problems()

    def _timing_problems(self) -> Iterator[Problem]:
        sections = ("distillation", "embedding", "robustness")
        for row in self.timing.methods if self.timing else []:
            section, dot, name = row.partition(".")
            if not dot or section not in sections:
                yield "timing.methods", f"{row!r} is not SECTION.METHOD with one of the sections {', '.join(sections)}"
                continue
            part = getattr(self, section)
            if part is not None and name not in part.methods:
                yield "timing.methods", f"{name!r} is no entry of {section}.methods{nearest(name, part.methods)}"

    def _training_problems(self) -> Iterator[Problem]:
        images = self.data.training_images
        for name in ("geometry", "distillation", "embedding", "robustness"):
            if (section := getattr(self, name)) is not None and images is not None:
                for key, text in section.training.count_problems(images):
                    yield f"{name}.training.{key}", text

    def _test_problems(self) -> Iterator[Problem]:
        """Yield what the test images are too few for, or others than the archive's."""
        counts = {}
        if self.corruptions and (self.embedding or self.robustness):  # else nothing is corrupted
            counts["corruptions.images"] = self.corruptions.images
            if self.corruptions.source == "cifar10_c":
                yield from self._archive_problems()
        if self.robustness:
            tests = self.robustness.tests
            counts |= {f"robustness.tests.{key}": getattr(tests, key) for key in ("images", "deepfool_images")}
        available, classes = self.data.testing_images, self.data.classes_at_least
        for key, count in counts.items():
            if count and available and count > available:
                yield key, f"{count} is more than the {available} test images"
            if count and count < classes:
                yield key, f"{count} images cannot show all {classes} classes"

    def _archive_problems(self) -> Iterator[Problem]:
        if self.data.source not in ("cifar10", "arrays"):
            yield (
                "corruptions.source",
                f"cifar10_c holds CIFAR-10's test images, the data are {self.data.source}; take generated",
            )
        elif self.data.validation_images is not None:
            yield (
                "corruptions.source",
                "the archive cifar10_c holds test images, data.validation_images asks for others; take generated",
            )
        elif self.data.test_images is not None:
            yield (
                "data.test_images",
                "the archive cifar10_c follows CIFAR-10's 10,000 test images: leave it at null, and set corruptions.images "
                "to take fewer of them",
            )

    def _class_problems(self) -> Iterator[Problem]:
        known, smallest = self.data.known_classes, self.data.images_of_smallest_class
        if self.geometry is None or known is None:
            return
        if self.geometry.classes > known:
            yield "geometry.classes", f"{self.geometry.classes} is more than the {known} classes of {self.data.source}"
        if smallest is not None and self.geometry.images_per_class > smallest:
            yield (
                "geometry.images_per_class",
                f"{self.geometry.images_per_class} is more than the {smallest} training images of a class",
            )


# --- reading ----------------------------------------------------------------------------------------------------------


def load(*layers: Mapping[str, Any]) -> Config:
    """Return the validated configuration: the first of `layers` with the others laid over it, one after the other.

    Raises ConfigError with one message for all mistakes: each with the path of its key and, where a word is unknown,
    the nearest valid one.
    """
    config, mistakes = _read(layers)
    return _without(mistakes, config)


def plan(*layers: Mapping[str, Any], folder: Path) -> Config:
    """Return what `load` does, of a configuration that is to be run in `folder`, whose files are looked at too.

    Raises ConfigError as `load` does, also for data that are not there or too few for what is asked of them, for a run
    that has no place, and for a test that tests nothing.
    """
    config, mistakes = _read(layers, folder)
    return _without(mistakes, config)


def _without(mistakes: Sequence[str], config: Config) -> Config:
    if not mistakes:
        return config if config.data.beside_the_paper else _without_the_paper_s_figures(config)
    count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    raise ConfigError(
        f"The configuration has {count}:\n"
        + "\n".join(f"  {line}" for line in mistakes)
        + "\nconfig/README.md lists every key. Nothing was run."
    )


def _without_the_paper_s_figures(config: Config) -> Config:
    def taken_away(row: Any) -> Any:
        names = type(row).model_fields if row else ()
        figures = [name for name in names if name.startswith("paper_") or name == "published"]
        return row.model_copy(update=dict.fromkeys(figures)) if figures else row

    sections = {}
    for name in ("distillation", "embedding", "robustness"):
        if section := getattr(config, name):
            rows = {"methods": {method: taken_away(row) for method, row in section.methods.items()}}
            if getattr(section, "teacher", None):
                rows["teacher"] = taken_away(section.teacher)
            sections[name] = section.model_copy(update=rows)
    return config.model_copy(update=sections)


def _read(layers: Sequence[Mapping[str, Any]], folder: Path | None = None) -> tuple[Config, list[str]]:
    """Return the configuration, without what cannot be read of it, and a line for each mistake."""
    raw, mistakes = as_declared(layers[0], Config), []
    for layer in layers[1:]:
        raw, lines = lay_over(raw, as_declared(layer, Config), Config)
        mistakes += lines
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        mistakes += _merge(_describe(item, raw) for item in errors)
        config = _readable(raw, unreadable={item["loc"][0] for item in errors if item["loc"]})
    if folder is not None:
        mistakes += [_line(path, text) for path, text in _file_problems(config, folder)]
    return config, [*mistakes, *(_line(path, text) for path, text in _all_problems(config))]


def _readable(raw: Mapping[str, Any], unreadable: set[Any]) -> Config:
    """Return the sections of `raw` without those in which a key alone is wrong already; None in their place.

    So that what is wrong with the others is told too.
    """
    fields = set(Config.model_fields)
    read = {name: _reader(name).validate_python(raw[name]) for name in fields.intersection(raw) - unreadable}
    return Config.model_construct(**(dict.fromkeys(unreadable & fields) | read))


@cache
def _reader(name: str) -> TypeAdapter[Any]:
    annotation = Config.model_fields[name].annotation
    return TypeAdapter(Any if annotation is None else annotation)


def _all_problems(section: _Section) -> Iterator[Problem]:
    """Yield the problems of a section and of all below it."""
    yield from section.problems()
    for name, value in section:
        for path, part in _parts(value, name):
            yield from ((f"{path}.{key}", text) for key, text in _all_problems(part))


def _parts(value: Any, path: str) -> Iterator[tuple[str, _Section]]:
    """Yield the sections in the value of a key, and where each is."""
    if isinstance(value, _Section):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _parts(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _parts(item, f"{path}[{number}]")


def _line(path: str, text: str) -> str:
    return f"{path}: {text}"


def _merge(lines: Iterable[str]) -> Iterator[str]:
    """Join what the branches of a union expect at one key into one line; a mistake deeper inside it says more."""
    expected: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        match = re.fullmatch(r"(.*?)(: expected )(.*)(, found .*)", line, re.DOTALL)
        if match is None:
            yield line
        else:
            expected.setdefault((match[1], match[4]), []).append(match[3])
    places = {place for place, _ in expected}
    for (place, found), wanted in expected.items():
        if not any(other.startswith(f"{place}[") for other in places):
            yield f"{place}: expected {' or '.join(dict.fromkeys(wanted))}{found}"


def _describe(error: Any, raw: Mapping[str, Any]) -> str:
    """Return one line for one of pydantic's errors: where, what is wrong, what would be right."""
    path, annotation = _locate(error["loc"], raw)
    # a key with a line break or the like would tear the message apart
    where = ".".join(part if part.isprintable() and part else repr(part) for part in path) if path else "configuration"
    where = re.sub(r"\.(\d+)", r"[\1]", where)
    kind = error["type"]
    if kind == "extra_forbidden":
        valid = _fields(annotation)
        return f"{where}: there is no such key{nearest(path[-1], valid)} Valid keys here: {', '.join(valid)}"
    if kind == "missing":
        return f"{where}: this key is needed and missing"
    if kind == "union_tag_not_found":
        return f"{where}: the key {error['ctx']['discriminator']} is needed and missing{_entry_meant(path, raw)}"
    if kind in ("literal_error", "union_tag_invalid"):
        context = error["ctx"]
        valid = re.findall(r"'([^']*)'", context.get("expected") or context["expected_tags"])
        if str(error["loc"][-1]).startswith("literal["):  # a branch of a union: the others have a line each too
            return f"{where}: expected {' or '.join(map(repr, valid))}, found {_shown(error['input'])}"
        given = context.get("tag", error["input"])
        suffix = f".{context['discriminator'].strip(chr(39))}" if kind == "union_tag_invalid" else ""
        question = nearest(given, valid) if isinstance(given, str) else "."
        return f"{where}{suffix}: {_shown(given)} is not a valid choice{question} Valid: {', '.join(valid)}"
    if kind == "value_error":
        return f"{where}: {error['ctx']['error']}"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"{where}: expected a section of keys and values, found {_shown(error['input'])}"
    if kind == "string_pattern_mismatch":
        return f"{where}: {_shown(error['input'])} is not allowed: {_pattern_in_words(error['ctx']['pattern'])}"
    if kind == "too_short":
        return f"{where}: the list needs at least {error['ctx']['min_length']} entry"
    if kind == "string_too_long":
        return f"{where}: the text is longer than {error['ctx']['max_length']} characters"
    if kind == "invalid_key":
        return f"{where}: names of keys are text, put {_shown(error['input'])} in quotes"
    message = error["msg"].removeprefix("Input should be ")
    return f"{where}: expected {message}, found {_shown(error['input'])}"


def _entry_meant(path: Sequence[str], raw: Any) -> str:
    """Return a question after the entry that is meant by one that is new and lacks its kind."""
    for part in path[:-1]:
        raw = raw[part] if _holds(raw, part) else {}
    others = [name for name in raw if name != path[-1]] if isinstance(raw, Mapping) and len(path) > 1 else []
    question = nearest(path[-1], others)
    return f" in this new entry{question}" if question != "." else ""


def _shown(given: Any) -> str:
    if given is None or isinstance(given, Mapping):
        return "nothing" if given is None else "a section"
    try:
        text = repr(given)
    except ValueError:  # a whole number of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:100]}…"


def _pattern_in_words(pattern: str) -> str:
    if pattern.startswith("^[a-z]"):
        return "use lower-case letters, digits and underscores, a letter first"
    return "use letters, digits, dots, hyphens and underscores, a letter or digit first; no slashes"


def _locate(location: Sequence[Any], raw: Any) -> tuple[list[str], Any]:
    """Return the path of a key as a person wrote it, and the model in which it stands.

    Pydantic mixes the tags of unions into its locations; the configuration itself tells which parts are real.
    """
    path: list[str] = []
    annotation: Any = Config
    owner: Any = Config
    value: Any = raw
    for part in location:
        if part == "[key]":
            continue
        options = branches(annotation)
        tagged = [m for m in options if is_model(m) and part in tags(m)]
        inside = value[part] if _holds(value, part) else None
        if tagged and not _holds(value, part):
            annotation = tagged[0]
            continue
        if not _holds(value, part) and not any(is_model(m) and part in m.model_fields for m in options):
            continue  # the name of a union's branch
        path.append(str(part))
        owner, annotation = annotation, child(options, part)
        value = inside
    return path, owner


def _holds(value: Any, part: Any) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, Sequence) and not isinstance(value, str) and isinstance(part, int) and part < len(value)


def _fields(annotation: Any) -> list[str]:
    return [name for model in branches(annotation) if is_model(model) for name in model.model_fields]


# --- documentation ------------------------------------------------------------------------------------------------------


def json_schema() -> str:
    """Return the JSON schema of the configuration, for editors; overlays hold part of the keys, so none is required."""

    def without_required(node: Any) -> Any:
        if isinstance(node, dict):
            kept = {k: without_required(v) for k, v in node.items() if not (k == "required" and isinstance(v, list))}
            # part of a section may fit several branches of a union
            return {"anyOf" if k == "oneOf" else k: v for k, v in kept.items()}
        return [without_required(item) for item in node] if isinstance(node, list) else node

    return json.dumps(without_required(Config.model_json_schema()), indent=2, ensure_ascii=False) + "\n"


def keys_table() -> str:
    """Return every key with its type, default and meaning as Markdown tables, one a section."""
    return "\n".join(_tables(Config, "", set()))


def _tables(model: type[BaseModel], prefix: str, seen: set[type[BaseModel]]) -> Iterator[str]:
    seen.add(model)
    yield f"### {prefix.rstrip('.') or 'top level'}\n\n{model.__doc__}\n"
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    below: list[tuple[type[BaseModel], str]] = []
    for name, field in model.model_fields.items():
        kinds = branches(field.annotation)
        star = ""
        if any(get_origin(kind) is dict for kind in kinds):
            star, kinds = ".NAME", [b for kind in kinds for b in branches(get_args(kind)[-1])]
        elif any(get_origin(kind) is list and any(map(is_model, branches(get_args(kind)[0]))) for kind in kinds):
            star, kinds = "[i]", [b for kind in kinds for b in branches(get_args(kind)[0])]
        models = [kind for kind in kinds if is_model(kind)]
        default = "needed" if field.is_required() else f"`{_default_in_json(field.default)}`"
        meaning = (field.description or " / ".join(m.__doc__ or "" for m in models)).replace("|", "\\|")
        what = "section" if models else _type_name(field.annotation, field.metadata)
        yield f"| `{name}` | {what} | {default} | {meaning} |"
        for model_below in models:
            tag = (
                ""
                if len(models) == 1
                else f" with {'name' if 'name' in model_below.model_fields else 'loss'}: {min(tags(model_below))}"
            )
            below.append((model_below, f"{prefix}{name}{star}{tag}."))
    yield ""
    for model_below, path in below:
        if model_below not in seen:
            yield from _tables(model_below, path, seen)


def _default_in_json(default: Any) -> str:
    """Return a default as JSON; of a section, what differs from the defaults of its keys."""
    return json.dumps(default.model_dump(exclude_defaults=True) if isinstance(default, BaseModel) else default)


def _type_name(annotation: Any, metadata: Sequence[Any]) -> str:
    """Return a type and its bounds in a reader's words."""
    names: list[str] = []
    if get_origin(annotation) is dict:
        return "section of text, numbers, true or false, or null"
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_type_name(option, ()) for option in get_args(annotation))
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return _type_name(inner, metadata)
    if annotation is type(None):
        return "null"
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{option}`" for option in get_args(annotation))
    if get_origin(annotation) is list:
        return f"list of {_type_name(get_args(annotation)[0], ())}".replace("number", "numbers", 1)
    names.append(
        {int: "whole number", float: "number", bool: "true or false", str: "text"}.get(annotation, str(annotation))
    )
    flat = [item for entry in metadata for item in getattr(entry, "metadata", None) or [entry]]
    for symbol, attribute in ((">", "gt"), ("≥", "ge"), ("<", "lt"), ("≤", "le")):
        names += [f"{symbol} {getattr(item, attribute)}" for item in flat if getattr(item, attribute, None) is not None]
    return " ".join(names)


def _file_problems(config: Config, folder: Path) -> Iterator[Problem]:
    """Yield what prevents running `config` in `folder`, where relative paths start; counts your own images."""
    yield from _place_problems(config.run, folder)
    if config.robustness:
        yield from config.robustness.tests.strength_problems()
    if config.data is None or config.data.source not in ("arrays", "image_folder") or config.data.path is None:
        return
    path = folder / config.data.path
    if not path.is_dir():
        yield "data.path", f"there is no folder {path}. Put your data there or correct the path"
        return
    try:
        found = own_files.survey(config.data.source, path)
    except DataError as error:
        yield "data.path", str(error).removeprefix("data.path: ")
        return
    config.data.take_survey(found)


def _place_problems(run: str | None, folder: Path) -> Iterator[Problem]:
    """Yield why the results of `run` cannot be written below `folder`."""
    if run is None:
        return
    if run.lower() == PUBLISHED:
        yield "run", f"results/{run}/ holds the results that are published with the project; take another name"
    for place in (folder / "results", folder / "results" / run):
        if (place.exists() or place.is_symlink()) and not place.is_dir():
            yield "run", f"{place} is a file, where a folder is needed; take another name, or move it away"


def write_documentation(folder: Path) -> None:
    """Write `folder`/schema.json, and the tables of keys into `folder`/README.md below its mark."""
    readme = folder / "README.md"
    prose, mark, _ = readme.read_text(encoding="utf-8").partition(TABLES_BELOW)
    write_text(readme, prose + mark + "\n\n" + keys_table())
    write_text(folder / "schema.json", json_schema())
