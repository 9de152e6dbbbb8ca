"""Every key of the configuration: its type, default, unit and bounds, declared here and nowhere else.

``python -m lgg.config config`` writes what is generated from it: the JSON schema for editors and the tables of keys in
``config/README.md``. This module imports neither torch nor torchvision, so that reading the Snakefile stays fast.
"""

import difflib
import json
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from lgg import registry
from lgg.errors import ConfigError
from lgg.files import PICTURES, write_text

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
BENCHMARK_CORRUPTIONS: tuple[CorruptionName, ...] = get_args(CorruptionName)[:15]
WIDE_RESNET_LAYERS = ("stage1", "stage2", "pool")
PREACT_RESNET18_LAYERS = (*(f"block{block}.relu{relu}" for block in range(1, 9) for relu in (1, 2)), "final.relu")


def _number(value: Any) -> Any:
    """Read a number that arrives as text: 5e-4, which YAML 1.1 takes for a string, or any below ``--config``."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value):
        return float(value)
    return value


def _whole(value: Any) -> Any:
    """Read a whole number that arrives as text below ``--config``."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value) else value


def _flag(value: Any) -> Any:
    """Read true or false that arrives as text below ``--config``."""
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _path(value: str) -> str:
    """Refuse what no file of Snakemake's can be called: it takes braces for wildcards."""
    if not value or not value.isprintable() or set("{}") & set(value):
        raise ValueError(
            f"{_shown(value)} is no path that can be used here; take one without braces and control characters"
        )
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]
# a bound stands before the reader of text, or the JSON schema loses it
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_number)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_number)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_number)]
StepSize = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), BeforeValidator(_number)]
Percent = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False), BeforeValidator(_number)]
Count = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
CountOrNone = Annotated[int, Field(ge=0), BeforeValidator(_whole)]
Severity = Annotated[int, Field(ge=1, le=5), BeforeValidator(_whole)]
Decibels = Annotated[float, Field(ge=-100, le=200, allow_inf_nan=False), BeforeValidator(_number)]
AtLeast2 = Annotated[int, Field(ge=2), BeforeValidator(_whole)]
Seed = Annotated[int, Field(ge=0, lt=2**31), BeforeValidator(_whole)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
FilePath = Annotated[str, AfterValidator(_path)]


def _each_once(seeds: list[int]) -> list[int]:
    """Refuse a seed that stands there twice."""
    if repeated := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        raise ValueError(f"{', '.join(map(str, repeated))} stands there twice; every seed counts once")
    return seeds


Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_each_once)]
OWN_SEEDS = "in place of the run's `seeds`, for this section alone; null: those"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _null_takes_away(cls, given: Any) -> Any:
        """Let an overlay take away keys of the base that its own choice (of a network, say) does not have."""
        if not isinstance(given, Mapping):
            return given
        return {key: value for key, value in given.items() if value is not None or key in cls.model_fields}


# --- data ---------------------------------------------------------------------------------------------------------


class Data(_Section):
    """The images. All sources give RGB images of 32 × 32 pixels, 8 bits a channel."""

    source: Literal["photo_patches", "digits", "cifar10", "cifar100", "arrays", "image_folder"] = Field(
        description="photo_patches: crops of ten photographs that ship with Python packages; digits: scikit-learn's; "
        "cifar10, cifar100: downloaded; arrays: your .npz files; image_folder: your train/CLASS/*.png or .jpg files"
    )
    path: FilePath | None = Field(
        default=None,
        description="arrays: folder with one *train*.npz and one *test*.npz; image_folder: folder with train/ and test/; "
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
    seed: Seed = Field(default=0, description="decides which images are drawn, and which crops photo_patches cuts")
    class_names: list[str] | None = Field(
        default=None, description="names of the classes in the order of their labels; null: those that the source gives"
    )
    mean: list[Share] | None = Field(
        default=None,
        description="per-channel mean in [0, 1] that networks subtract; null: that of the training images",
    )
    std: list[Positive] | None = Field(
        default=None,
        description="per-channel standard deviation that networks divide by; null: that of the training images",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source in ("arrays", "image_folder") and self.path is None:
            raise ValueError(f"source {self.source} reads files of yours: set `path` to their folder")
        if self.source in ("photo_patches", "digits") and self.path is not None:
            raise ValueError(f"source {self.source} comes with Python packages: leave `path` at null")
        if (self.mean is None) != (self.std is None):
            raise ValueError("`mean` and `std` go together: give both, or neither to have them measured")
        if self.mean is not None and self.std is not None and not len(self.mean) == len(self.std) == 3:
            raise ValueError("`mean` and `std` hold three numbers each, for red, green and blue")
        self.check_counts()
        return self

    def check_counts(self) -> None:
        """Refuse numbers of images and classes that the source does not have, as far as they are known."""
        for split, count in (("train_images", self.train_images), ("test_images", self.test_images)):
            if count is None:
                continue
            if count < self.classes_at_least:
                raise ValueError(f"`{split}` is {count}, fewer than the {self.classes_at_least} classes")
            most = self.available(split)
            if most is not None and count > most:
                raise ValueError(f"`{split}` is {count}, but {self.source} has only {most:,}")
        if self.validation_images is not None:
            if self.test_images is not None:
                raise ValueError("`validation_images` take the place of the test images: leave `test_images` at null")
            if self.validation_images < self.classes_at_least:
                raise ValueError(
                    f"`validation_images` is {self.validation_images}, fewer than the {self.classes_at_least} classes"
                )
            if self.training_images is not None and self.training_images < self.classes_at_least:
                most = self.training_images + self.validation_images - self.classes_at_least
                raise ValueError(
                    f"`validation_images` is {self.validation_images}, but at most {most:,} training images can be spared"
                )
        if self.source == "photo_patches":
            for split, count in (("train_images", self.train_images), ("test_images", self.test_images)):
                if count is not None and count % 10:
                    raise ValueError(
                        f"`{split}` is {count}: photo_patches has 10 classes of equal size, take a multiple of 10"
                    )
        if self.class_names is not None:
            if len(set(self.class_names)) != len(self.class_names):
                raise ValueError("`class_names` has a name twice")
            known = self.known_classes
            if known is not None and len(self.class_names) != known:
                raise ValueError(f"`class_names` has {len(self.class_names)} names, {self.source} has {known} classes")

    #: of a folder of pictures, once they were counted
    _counted: dict[str, int] = PrivateAttr(default_factory=dict)

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

    def count_pictures(self, folder: Path) -> None:
        """Count the pictures of `folder`, for the checks that need their number."""
        train, test = (
            [
                sum(picture.suffix.lower() in PICTURES for picture in one.glob("[!.]*"))
                for one in folder.glob(f"{split}/[!.]*")
            ]
            for split in ("train", "test")
        )
        if all((*train, *test)) and train and test:  # else preparing the data says what is wrong with the folder
            self._counted = {"train_images": sum(train), "test_images": sum(test), "classes": len(train)}

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


class WideResNet(_Section):
    """WideResNet-depth-width; its representations are stage1, stage2 and pool."""

    name: Literal["wide_resnet"]
    depth: Annotated[int, Field(ge=10), BeforeValidator(_whole)] = Field(description="number of layers, 6n + 4")
    width: Annotated[float, Field(gt=0, le=1000), BeforeValidator(_number)] = Field(
        description="stages have 16, 32 and 64 channels times this"
    )

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        if (self.depth - 4) % 6:
            raise ValueError(f"depth {self.depth} is not of the form 6n + 4 (10, 16, 22, 28 …)")
        if int(16 * self.width) < 1:
            raise ValueError(f"width {self.width} leaves the first stage without channels; take at least 0.0625")
        return self

    @property
    def layers(self) -> tuple[str, ...]:
        return WIDE_RESNET_LAYERS


class PreActResNet18(_Section):
    """Pre-activation ResNet18; its representations are the outputs of its 17 ReLUs, block1.relu1 to final.relu."""

    name: Literal["preact_resnet18"]
    base_width: Count = Field(default=64, description="channels of the first two blocks; the paper's network has 64")

    @property
    def layers(self) -> tuple[str, ...]:
        return PREACT_RESNET18_LAYERS


Architecture = Annotated[WideResNet | PreActResNet18, Field(discriminator="name")]


class Phase(_Section):
    """A stretch of training. Phases follow one another; together they are the learning-rate schedule."""

    epochs: Annotated[float, Field(gt=0, le=1e6), BeforeValidator(_number)] = Field(
        description="length, in passes over the training images; parts of an epoch are allowed"
    )
    learning_rate: NonNegative | list[NonNegative] = Field(
        description="one value, or [first, last] to change it at every step"
    )
    shape: Literal["linear", "cosine"] = Field(
        default="linear", description="how it goes from the first to the last value"
    )
    fresh_optimizer: Flag = Field(default=False, description="forget the momentum when the phase begins")

    @model_validator(mode="after")
    def _one_or_two_values(self) -> Self:
        if isinstance(self.learning_rate, list) and len(self.learning_rate) != 2:
            raise ValueError(f"`learning_rate` is one number or [first, last], not {self.learning_rate}")
        return self


class Training(_Section):
    """Stochastic gradient descent."""

    schedule: Annotated[list[Phase], Field(min_length=1)] = Field(
        description="the phases: constant ones are a multi-step schedule, [0, peak] then [peak, 0] is a one-cycle schedule"
    )
    batch_size: AtLeast2 = Field(default=128, description="images a step")
    momentum: Annotated[float, Field(ge=0, lt=1), BeforeValidator(_number)] = Field(default=0.9, description="of SGD")
    nesterov: Flag = Field(default=False, description="Nesterov's form of the momentum")
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
        return round(sum(phase.epochs for phase in self.schedule))

    @model_validator(mode="after")
    def _whole_epochs(self) -> Self:
        total = 0.0
        for number, phase in enumerate(self.schedule):
            if phase.fresh_optimizer and abs(total - round(total)) > 1e-9:
                raise ValueError(
                    f"schedule[{number}] has a fresh optimizer, so it must begin with an epoch, not at epoch {total:g}"
                )
            total += phase.epochs
        if abs(total - round(total)) > 1e-9:
            raise ValueError(f"the phases of `schedule` make {total:g} epochs; their sum must be a whole number")
        if self.nesterov and self.momentum == 0:
            raise ValueError("`nesterov` needs a momentum above 0")
        return self


def _check_methods(methods: Mapping[str, Any], baseline: str, table: str) -> None:
    """Refuse no methods, a baseline that is none of them, and labels that are not distinct."""
    if not methods:
        raise ValueError(f"`methods` is empty: {table} needs at least the baseline")
    if baseline not in methods:
        raise ValueError(f"`baseline` is {baseline!r}, which is no entry of `methods`{_nearest(baseline, methods)}")
    labels = [method.label for method in methods.values()]
    for name, method in methods.items():
        if labels.count(method.label) > 1:
            raise ValueError(f"methods.{name}.label: two methods are labelled {method.label!r}")


def _check_neighbours(key: str, k: int | None, training: Training) -> None:
    if k is not None and k > training.batch_size:
        raise ValueError(
            f"{key}: {k} neighbours cannot be found in batches of {training.batch_size} (training.batch_size)"
        )


# --- Section 4.1: distillation --------------------------------------------------------------------------------------


class _Method(_Section):
    """A row of Table 1."""

    label: str = Field(description="name of the row")
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
    """A loss of one's own, a file of lgg/losses/ that is registered in its __init__.py."""

    module: str = Field(
        description="the file of lgg/losses/ without .py; its class is registered in lgg/losses/__init__.py"
    )
    arguments: dict[str, bool | int | float | str | None] = Field(
        default={}, description="what the loss is made with: arguments of its class"
    )

    @model_validator(mode="after")
    def _takes_its_arguments(self) -> Self:
        if self.module not in registry.losses():
            raise ValueError(
                f"`module` is {self.module!r}, which is not registered{_nearest(self.module, registry.losses())} "
                "A line of _EXPORTS in lgg/losses/__init__.py registers it"
            )
        taken = registry.arguments(self.module)
        for name in self.arguments:
            if name not in taken:
                raise ValueError(
                    f"arguments: {registry.losses()[self.module]} takes no {name!r}{_nearest(name, taken)}"
                )
        if missing := [name for name, needed in taken.items() if needed and name not in self.arguments]:
            raise ValueError(f"arguments: {registry.losses()[self.module]} needs {', '.join(missing)}")
        return self


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
    normalize: Flag = Field(default=True, description="normalise the graphs, D^-1/2 A D^-1/2")
    neighbours: Literal["teacher", "own"] = Field(
        default="teacher", description="with k: keep the teacher's edges in the student's graph too, or let each choose"
    )
    order: Literal["threshold_first", "normalize_first"] = Field(
        default="threshold_first", description="with k: drop edges before normalising (paper) or after (published code)"
    )


class OtherDistillation(_LayerMethod, _Registered):
    """A loss of one's own: a file of lgg/losses/ and a line in its __init__.py."""

    loss: Literal["other"]

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
    label: str = Field(default="Teacher", description="name of its row")
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        methods = self.active_methods
        if "teacher" in methods:
            raise ValueError("`methods` has an entry named teacher; that name is taken by the teacher itself")
        _check_methods(methods, self.baseline, "Table 1")
        for name, method in methods.items():
            if method.loss != "none" and self.teacher is None:
                raise ValueError(
                    f"methods.{name} learns from a teacher, but `teacher` is null: give one, or set methods.{name} to null"
                )
            self._check_layers(name, method)
            if isinstance(method, GraphMethod):
                _check_neighbours(f"methods.{name}.k", method.k, self.training)
        return self

    def _check_layers(self, name: str, method: _Method) -> None:
        if not isinstance(method, _LayerMethod) or self.teacher is None:
            return
        for role, architecture in (("teacher", self.teacher.architecture), ("student", self.student.architecture)):
            for layer in method.layers or []:
                if layer not in architecture.layers:
                    raise ValueError(
                        f"methods.{name}.layers: the {role}, a {architecture.name}, has no layer {layer!r}"
                        f"{_nearest(layer, architecture.layers)} Its layers: {', '.join(architecture.layers)}"
                    )
        if method.layers is not None and len(set(method.layers)) != len(method.layers):
            raise ValueError(f"methods.{name}.layers: a layer stands there twice")
        if method.layers is None and self.teacher.architecture.layers != self.student.architecture.layers:
            raise ValueError(
                f"methods.{name}.layers: teacher and student have different layers; name those that both have"
            )


# --- Section 4.2: embeddings ----------------------------------------------------------------------------------------

Classifier = Literal["nearest_neighbours", "svm", "logistic_regression", "nearest_centroid"]


class _EmbeddingMethod(_Section):
    """A row of Table 2."""

    label: str = Field(description="name of the row")
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
    normalize_embeddings: Flag = Field(
        default=False, description="scale embeddings to length one, in the loss and for classifiers"
    )


class LabelVariationEmbedding(_NormalizableEmbedding):
    """Label variation of the graph of the embeddings (the paper, Section 4.2)."""

    loss: Literal["label_variation"]
    similarity: Literal["rbf", "rbf_squared", "cosine"] = Field(
        default="rbf",
        description="rbf: exp(−α·distance); rbf_squared: exp(−α·distance²); cosine: for non-negative ones",
    )
    rbf_scale: Positive = Field(default=2.0, description="α of the two kernels")
    k: Count | None = Field(default=None, description="nearest neighbours kept for each vertex; null: every edge")
    normalize: Flag = Field(default=False, description="normalise the graph, D^-1/2 A D^-1/2")
    self_loops: Flag = Field(default=False, description="with normalize: count each vertex's similarity with itself")
    power: Count = Field(default=1, description="p of tr(VᵀLᵖV)")
    reduction: Literal["mean", "sum"] = Field(
        default="mean", description="sum: tr(VᵀLᵖV); mean: divided by the pairs of inputs of different classes"
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
    """A loss of one's own: a file of lgg/losses/ and a line in its __init__.py."""

    loss: Literal["other"]

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
        "others 2 outputs"
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
    def figure_epochs(self) -> list[int]:
        """Epochs after which Figure A1 is drawn, 0 and the last included."""
        return sorted({0, *(self.figure.epochs if self.figure else []), self.training.epochs})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        methods = self.active_methods
        _check_methods(methods, self.baseline, "Table 2")
        for name, method in methods.items():
            if isinstance(method, LabelVariationEmbedding):
                _check_neighbours(f"methods.{name}.k", method.k, self.training)
                if method.self_loops and not method.normalize:
                    raise ValueError(
                        f"methods.{name}.self_loops changes degrees only, which nothing divides by unless "
                        "`normalize` is true"
                    )
        for name in self.figure.methods if self.figure else []:
            if name not in methods:
                raise ValueError(f"figure.methods: {name!r} is no entry of `methods`{_nearest(name, methods)}")
        if self.figure and len(set(self.figure.methods)) != len(self.figure.methods):
            raise ValueError("figure.methods: a method stands there twice")
        if self.figure and max(self.figure.epochs) > self.training.epochs:
            raise ValueError(
                f"figure.epochs: {max(self.figure.epochs)} is after the last epoch, {self.training.epochs}"
            )
        return self


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
    k: Count | None = Field(default=None, description="nearest neighbours kept for each vertex; null: every edge")
    normalize: Flag = Field(default=False, description="normalise the graphs, D^-1/2 A D^-1/2")


class Parseval(_Section):
    """Parseval networks (Cisse et al. 2017): orthonormal weights, scaled convolutions, averaged residuals."""

    beta: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False), BeforeValidator(_number)] = Field(
        default=0.01, description="β of the retraction after every step"
    )


class AdversarialTraining(_Section):
    """Training on PGD's images (Madry et al. 2018)."""

    epsilon: Share = Field(default=8 / 255, description="largest change of a value in [0, 1]")
    step_size: StepSize = Field(default=2 / 255, description="change of a value in one step")
    steps: Count = Field(default=7, description="steps of the attack on every batch")
    random_start: Flag = Field(default=True, description="start at a random point within epsilon")


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

    label: str = Field(description="name of the row")
    smoothness: Smoothness | None = Field(default=None, description="null: without the label variation regulariser")
    parseval: Parseval | None = Field(default=None, description="null: an ordinary network")
    adversarial: AdversarialTraining | None = Field(default=None, description="null: trained on the images as they are")
    supplement: Flag = Field(
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
    dropout_rate: Annotated[float, Field(ge=0, lt=1), BeforeValidator(_number)] = Field(
        default=0.25, description="of dropout after each block"
    )
    weight_bits: Annotated[int, Field(ge=2, le=16), BeforeValidator(_whole)] = Field(
        default=5, description="to which weights are cut"
    )
    pgd: PgdTest = Field(default=PgdTest(), description="as in the published code")
    strong_pgd: PgdTest = Field(
        default=PgdTest(steps=50, restarts=3), description="more steps and restarts: a check for gradient masking"
    )
    deepfool_images: CountOrNone = Field(
        default=100, description="images for DeepFool, one at a time slow; 0: without DeepFool"
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        methods = self.active_methods
        _check_methods(methods, self.baseline, "Table 3")
        if methods[self.baseline].supplement:
            raise ValueError(f"methods.{self.baseline}.supplement: the baseline must stand in Table 3 itself")
        for name, method in methods.items():
            if method.smoothness:
                _check_neighbours(f"methods.{name}.smoothness.k", method.smoothness.k, self.training)
        return self


class Corruptions(_Section):
    """The corrupted test images of Tables 2 and 3 (Hendrycks and Dietterich 2019)."""

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
    keep: Flag = Field(
        default=False,
        description="generated: keep them all in results/RUN/data/corruptions.tar (2.3 GB for 10,000 images) instead of "
        "making them anew for each method",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source == "generated" and self.path is not None:
            raise ValueError("source generated reads no archive: leave `path` at null")
        if self.source == "cifar10_c" and self.keep:
            raise ValueError("`keep` is for generated corruptions; the archive is kept anyway")
        for key, values in (("names", self.names), ("severities", self.severities)):
            if len(set(values)) != len(values):
                raise ValueError(f"`{key}` has an entry twice")
        return self


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

    @model_validator(mode="after")
    def _graph_exists(self) -> Self:
        images = self.classes * self.images_per_class
        if self.k >= images:
            raise ValueError(
                f"`k` is {self.k}, but a graph of {images} images leaves {images - 1} neighbours to choose from"
            )
        return self


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
    corruptions: Corruptions = Field(default=Corruptions())
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

    def _check_timing(self, timing: Timing) -> None:
        sections = ("distillation", "embedding", "robustness")
        for row in timing.methods:
            section, dot, name = row.partition(".")
            if not dot or section not in sections:
                raise ValueError(
                    f"timing.methods: {row!r} is not SECTION.METHOD with one of the sections {', '.join(sections)}"
                )
            part = getattr(self, section)
            if part is not None and name not in part.methods:
                raise ValueError(
                    f"timing.methods: {name!r} is no entry of {section}.methods{_nearest(name, part.methods)}"
                )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.timing:
            self._check_timing(self.timing)
        if self.robustness and self.robustness.tests.transfer_seed in self.seeds_of("robustness"):
            raise ValueError(
                f"robustness.tests.transfer_seed: {self.robustness.tests.transfer_seed} is among `seeds`; the network that "
                "attacks are crafted on is none of those evaluated: take another"
            )
        self.check_counts()
        return self

    def check_counts(self) -> None:
        """Refuse numbers of images that the data do not have, as far as it is known how many there are."""
        trainings = {
            "geometry.training": self.geometry and self.geometry.training,
            "distillation.training": self.distillation and self.distillation.training,
            "embedding.training": self.embedding and self.embedding.training,
            "robustness.training": self.robustness and self.robustness.training,
        }
        images = self.data.training_images
        for path, training in trainings.items():
            if training and images is not None and training.batch_size > images:
                raise ValueError(f"{path}.batch_size: {training.batch_size} is more than the {images} training images")
        if self.corruptions.source == "cifar10_c" and self.data.source not in ("cifar10", "arrays"):
            raise ValueError(
                f"corruptions.source: cifar10_c holds CIFAR-10's test images, the data are {self.data.source}; take generated"
            )
        if self.corruptions.source == "cifar10_c" and self.data.validation_images is not None:
            raise ValueError(
                "corruptions.source: the archive cifar10_c holds test images, data.validation_images asks for others; "
                "take generated"
            )
        if self.corruptions.source == "cifar10_c" and self.data.test_images is not None:
            raise ValueError(
                "data.test_images: the archive cifar10_c follows CIFAR-10's 10,000 test images: leave it at null, and set "
                "corruptions.images to take fewer of them"
            )
        available = self.data.testing_images
        counts = {
            "corruptions.images": self.corruptions.images,
            "robustness.tests.images": self.robustness and self.robustness.tests.images,
            "robustness.tests.deepfool_images": self.robustness and self.robustness.tests.deepfool_images,
        }
        for path, count in counts.items():
            if count and available and count > available:
                raise ValueError(f"{path}: {count} is more than the {available} test images")
            if count and count < self.data.classes_at_least:
                raise ValueError(f"{path}: {count} images cannot show all {self.data.classes_at_least} classes")
        known = self.data.known_classes
        if (
            self.geometry
            and known is not None
            and images is not None
            and self.geometry.images_per_class > images // known
        ):
            raise ValueError(
                f"geometry.images_per_class: {self.geometry.images_per_class} is more than the {images // known} training "
                "images of a class"
            )
        if self.geometry and known is not None and self.geometry.classes > known:
            raise ValueError(
                f"geometry.classes: {self.geometry.classes} is more than the {known} classes of {self.data.source}"
            )


# --- reading ----------------------------------------------------------------------------------------------------------


def load(raw: Mapping[str, Any]) -> Config:
    """Return the validated configuration.

    Raises ConfigError with one message for all mistakes: each with the path of its key and, where a word is unknown,
    the nearest valid one.
    """
    raw = _null_for_text(dict(raw))
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = list(_merge(_describe(item, raw) for item in error.errors(include_url=False)))
    count = "a mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    raise ConfigError(
        f"The configuration has {count}:\n"
        + "\n".join(f"  {line}" for line in lines)
        + "\nconfig/README.md lists every key. Nothing was run."
    )


def _null_for_text(value: Any) -> Any:
    """Return `value` with None for "null", as which it arrives below ``--config``."""
    if isinstance(value, Mapping):
        return {key: _null_for_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_null_for_text(item) for item in value]
    return None if value == "null" else value


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
        return f"{where}: there is no such key{_nearest(path[-1], valid)} Valid keys here: {', '.join(valid)}"
    if kind == "missing":
        return f"{where}: this key is needed and missing"
    if kind == "union_tag_not_found":
        return f"{where}: the key {error['ctx']['discriminator']} is needed and missing"
    if kind in ("literal_error", "union_tag_invalid"):
        context = error["ctx"]
        valid = re.findall(r"'([^']*)'", context.get("expected") or context["expected_tags"])
        if str(error["loc"][-1]).startswith("literal["):  # a branch of a union: the others have a line each too
            return f"{where}: expected {' or '.join(map(repr, valid))}, found {_shown(error['input'])}"
        given = context.get("tag", error["input"])
        suffix = f".{context['discriminator'].strip(chr(39))}" if kind == "union_tag_invalid" else ""
        nearest = _nearest(given, valid) if isinstance(given, str) else "."
        return f"{where}{suffix}: {_shown(given)} is not a valid choice{nearest} Valid: {', '.join(valid)}"
    if kind == "value_error":
        inner = str(error["ctx"]["error"])
        if not path:  # a validator of the whole names full paths
            return inner
        return f"{where}.{inner}" if inner.startswith(("methods.", "figure.")) else f"{where}: {inner}"
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


#: what people call a key in papers and in other code
_SYNONYMS = {
    "lambda": "weight",
    "lamda": "weight",
    "lr": "learning_rate",
    "T": "temperature",
    "p": "power",
    "dataset": "source",
}


def _nearest(word: str, valid: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5)
    close = close or [name for name in valid if word.lower() in name][:1]
    if _SYNONYMS.get(word) in valid:
        close = [_SYNONYMS[word]]
    return f"; did you mean {close[0]!r}?" if close else "."


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
        options = _unwrap(annotation)
        tagged = [m for m in options if _is_model(m) and part in _tags(m)]
        inside = value[part] if _holds(value, part) else None
        if tagged and not _holds(value, part):
            annotation = tagged[0]
            continue
        if not _holds(value, part) and not any(_is_model(m) and part in m.model_fields for m in options):
            continue  # the name of a union's branch
        path.append(str(part))
        owner, annotation = annotation, _child(options, part)
        value = inside
    return path, owner


def _holds(value: Any, part: Any) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, Sequence) and not isinstance(value, str) and isinstance(part, int) and part < len(value)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _unwrap(annotation: Any) -> list[Any]:
    """Return the branches of an annotation without Annotated, Union and None."""
    if get_origin(annotation) is Annotated:
        return _unwrap(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [branch for option in get_args(annotation) for branch in _unwrap(option)]
    return [] if annotation is type(None) else [annotation]


def _child(options: Sequence[Any], part: Any) -> Any:
    for option in options:
        if _is_model(option) and part in option.model_fields:
            return option.model_fields[part].annotation
        if get_origin(option) in (dict, list):
            return get_args(option)[-1]
    return Any


def _tags(model: type[BaseModel]) -> set[str]:
    """Return the words by which a union chooses `model`."""
    return {
        tag
        for key in ("name", "loss")
        if key in model.model_fields
        for tag in get_args(model.model_fields[key].annotation)
    }


def _fields(annotation: Any) -> list[str]:
    return [name for model in _unwrap(annotation) if _is_model(model) for name in model.model_fields]


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
        branches = _unwrap(field.annotation)
        star = ""
        if any(get_origin(branch) is dict for branch in branches):
            star, branches = ".NAME", [b for branch in branches for b in _unwrap(get_args(branch)[-1])]
        elif any(
            get_origin(branch) is list and any(map(_is_model, _unwrap(get_args(branch)[0]))) for branch in branches
        ):
            star, branches = "[i]", [b for branch in branches for b in _unwrap(get_args(branch)[0])]
        models = [branch for branch in branches if _is_model(branch)]
        default = "needed" if field.is_required() else f"`{_default_in_json(field.default)}`"
        meaning = (field.description or " / ".join(m.__doc__ or "" for m in models)).replace("|", "\\|")
        kind = "section" if models else _type_name(field.annotation, field.metadata)
        yield f"| `{name}` | {kind} | {default} | {meaning} |"
        for child in models:
            tag = (
                ""
                if len(models) == 1
                else f" with {'name' if 'name' in child.model_fields else 'loss'}: {min(_tags(child))}"
            )
            below.append((child, f"{prefix}{name}{star}{tag}."))
    yield ""
    for child, path in below:
        if child in seen:
            continue
        yield from _tables(child, path, seen)


def _default_in_json(default: Any) -> str:
    """Return a default as JSON; of a section, what differs from the defaults of its keys."""
    return json.dumps(default.model_dump(exclude_defaults=True) if isinstance(default, BaseModel) else default)


def _type_name(annotation: Any, metadata: Sequence[Any]) -> str:
    """Return a type and its bounds in a reader's words."""
    names: list[str] = []
    if get_origin(annotation) in (Union, types.UnionType):
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


def check_paths(config: Config, folder: Path) -> None:
    """Refuse a configuration whose own data is not where it says; relative paths start at `folder`."""
    if config.data.source in ("arrays", "image_folder") and config.data.path is not None:
        path = folder / config.data.path
        if not path.is_dir():
            raise ConfigError(
                f"data.path: there is no folder {path}. Put your data there or correct the path. Nothing was run."
            )
        if config.data.source == "image_folder":
            config.data.count_pictures(path)
            try:
                config.data.check_counts()
                config.check_counts()
            except ValueError as error:
                raise ConfigError(
                    f"The configuration does not fit the pictures in {path}:\n  {error}\n"
                    "Change that key, or the pictures. config/README.md lists every key. Nothing was run."
                ) from None


def write_documentation(folder: Path) -> None:
    """Write `folder`/schema.json, and the tables of keys into `folder`/README.md below its mark."""
    readme = folder / "README.md"
    prose, mark, _ = readme.read_text(encoding="utf-8").partition(TABLES_BELOW)
    write_text(readme, prose + mark + "\n\n" + keys_table())
    write_text(folder / "schema.json", json_schema())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m lgg.config FOLDER    (writes schema.json and the tables of README.md there)")
    write_documentation(Path(sys.argv[1]))
