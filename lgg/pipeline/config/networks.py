"""Networks: the two families of the paper, those of torchvision and timm, and your own."""

import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, create_model

from lgg.errors import ConfigError, NetworkError
from lgg.files import read_tensors_metadata, sha256_of_file
from lgg.models.own_file import code_digest
from lgg.pipeline import registry
from lgg.pipeline.config.messages import nearest
from lgg.pipeline.config.registered import Registered, argument_problems
from lgg.pipeline.config.types import Count, FilePath, Positive, Problem, Section, Share

#: values that a network's arguments may have
Argument = bool | int | float | str | None
#: which representations a network of another library has
Layers = Literal["stages", "relus"] | Annotated[list[str], Field(min_length=1)]


class _Architecture(Section):
    mean: list[Share] | None = Field(
        default=None,
        description="per-channel mean in [0, 1] that this network's weights expect; null: that of the images",
    )
    std: list[Positive] | None = Field(
        default=None,
        description="per-channel standard deviation that this network's weights expect; null: that of the images",
    )

    @property
    def built_with(self) -> dict[str, Any]:
        """Arguments of `lgg.models.build`."""
        constants = {key for key in ("mean", "std") if getattr(self, key) is None}
        return self.model_dump(mode="json", exclude=constants)

    @property
    def layers_known(self) -> tuple[str, ...] | None:
        """Names of its representations; None if only building it shows them.

        Raises ValueError if its class does not list them.
        """
        return registry.network_layers(self.built_with["name"])

    @property
    def is_foreign(self) -> bool:
        """Whether the network comes from another library or your own file, and takes part in the check of networks."""
        return self.layers_known is None

    @property
    def published(self) -> bool:
        """Whether it has the weights that its library publishes."""
        return False

    def constants_problems(self) -> Iterator[Problem]:
        if (self.mean is None) != (self.std is None):
            missing = "mean" if self.mean is None else "std"
            yield missing, "`mean` and `std` go together: set both, or neither"
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != 3:
                yield key, f"expected three numbers, for red, green and blue, found {len(values)}"

    def problems(self) -> Iterator[Problem]:
        yield from self.constants_problems()


class WideResNet(_Architecture):
    """WideResNet-depth-width; its representations are stage1, stage2 and pool."""

    name: Literal["wide_resnet"]
    depth: Annotated[int, Field(ge=10)] = Field(description="number of layers, 6n + 4")
    width: Annotated[float, Field(gt=0, le=1000)] = Field(
        description="factor of the 16, 32 and 64 channels of the stages"
    )

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if (self.depth - 4) % 6:
            yield "depth", f"{self.depth} is not of the form 6n + 4 (10, 16, 22, 28 …)"
        if int(16 * self.width) < 1:
            yield "width", f"{self.width} leaves the first stage without channels; use at least 0.0625"


class PreActResNet18(_Architecture):
    """Pre-activation ResNet18; its representations are the outputs of its 17 ReLUs, block1.relu1 to final.relu."""

    name: Literal["preact_resnet18"]
    base_width: Count = Field(default=64, description="channels of the first two blocks; the paper's network has 64")


class _Library(_Architecture):
    """A network of another library."""

    model: str = Field(description="name of the network in its library")
    arguments: dict[str, Argument] = Field(default={}, description="further arguments of the library's function")
    layers: Layers | None = Field(
        default=None,
        description="representations: stages (the last output at each size, and the pooled vector), relus (the output of every "
        "ReLU), or a list of names or patterns of modules, in the order of a pass; null: relus in robustness, otherwise stages",
    )
    stem: Literal["auto", "small", "standard"] = Field(
        default="auto",
        description="small: the first convolution has stride 1, and no max-pooling follows it; auto: small for images of up to "
        "64 pixels, unless weights are loaded",
    )
    pretrained: bool = Field(
        default=False,
        description="true: start from the weights that the library publishes, downloaded once to downloads/weights/",
    )

    @property
    def built_with(self) -> dict[str, Any]:
        return {key: value for key, value in super().built_with.items() if key != "pretrained"}

    @property
    def layers_known(self) -> None:
        return None

    @property
    def published(self) -> bool:
        return self.pretrained

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        library = self.built_with["name"]
        if not importlib.util.find_spec(library):
            yield "name", f"{library} is not installed here: `pip install {library}`"
        elif not self._is_known():
            known = self._known()
            yield "model", f"{library} has no network {self.model!r}{nearest(self.model, known)}"

    def _known(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _is_known(self) -> bool:
        return self.model in self._known()


class TorchvisionNetwork(_Library):
    """A classifier of torchvision, such as resnet18, mobilenet_v3_small or vit_b_16."""

    name: Literal["torchvision"]

    def _known(self) -> tuple[str, ...]:
        return registry.torchvision_models()


class TimmNetwork(_Library):
    """A classifier of timm; timm is an additional package."""

    name: Literal["timm"]

    def _known(self) -> tuple[str, ...]:
        return registry.timm_models()

    def _is_known(self) -> bool:
        return self.model.partition(".")[0] in self._known()  # the tag after the dot chooses published weights


# a key named as a word of Python
_WithClass = create_model(
    "_WithClass",
    __base__=_Architecture,
    **{  # type: ignore[call-overload]
        "class": (
            FilePath | None,
            Field(
                default=None,
                description="your own network outside this package: FILE.py:CLASS, any torch.nn.Module, the file relative to "
                "the working folder",
            ),
        )
    },
)


class OtherNetwork(_WithClass, Registered):  # type: ignore[valid-type, misc]
    """Your own network: `class`, a class in any file, or `module`, a file in lgg/models/ and a line in its __init__.py."""

    folder: ClassVar[str] = "models"

    name: Literal["other"]
    module: str | None = Field(default=None, description="name in the table _EXPORTS of lgg/models/__init__.py")  # type: ignore[assignment]
    arguments: dict[str, Argument] = Field(default={}, description="arguments for its class")
    layers: Layers | None = Field(
        default=None,
        description="with `class`: representations, as for the networks of libraries; null: relus in robustness, otherwise "
        "stages",
    )

    @property
    def own_class(self) -> tuple[str, str] | None:
        """The file and the name of the class, where it is not registered."""
        given = getattr(self, "class")
        path, _, name = (given or "").rpartition(":")
        return (path, name) if given else None

    @property
    def built_with(self) -> dict[str, Any]:
        constants = {key: getattr(self, key) for key in ("mean", "std") if getattr(self, key) is not None}
        if self.own_class is None:
            return {"name": self.module, **constants, **self.arguments}
        path, name = self.own_class
        own = {"path": path, "class": name, "digest": code_digest(path), "arguments": dict(self.arguments)}
        # the network is built as the file has it
        return {"name": "file", **own, "layers": self.layers, "stem": "standard", **constants}

    @property
    def layers_known(self) -> tuple[str, ...] | None:
        return None if self.own_class or self.module is None else registry.network_layers(self.module)

    def problems(self) -> Iterator[Problem]:
        yield from self.constants_problems()
        if (self.own_class is None) == (self.module is None):
            yield "module", "set either `class` (FILE.py:CLASS) or `module` (a registered name)"
        elif self.own_class is None:
            if self.layers is not None:
                yield "layers", "a registered network lists its representations itself: remove this key"
            yield from Registered.problems(self)
        elif not all(self.own_class) or not self.own_class[0].endswith(".py"):
            yield "class", f"{getattr(self, 'class')!r} is not of the form FILE.py:CLASS"

    def file_problems(self, folder: Path) -> Iterator[Problem]:
        if self.own_class is None or next(self.problems(), None):
            return
        path, name = folder / self.own_class[0], self.own_class[1]
        try:
            code_digest(path)
            taken = registry.class_arguments(path, name)
        except (NetworkError, ValueError) as error:
            yield "class", str(error)
            return
        yield from argument_problems(name, self.arguments, taken)

    def _registered(self) -> Mapping[str, str]:
        return {name: class_name for name, (_, class_name) in registry.networks().items()}

    def _checked(self) -> Mapping[str, bool] | None:
        assert self.module is not None
        taken = registry.network_arguments(self.module)
        registry.network_layers(self.module)
        return taken


Architecture = Annotated[
    WideResNet | PreActResNet18 | TorchvisionNetwork | TimmNetwork | OtherNetwork, Field(discriminator="name")
]


# --- weights ------------------------------------------------------------------------------------------------------------

#: the folder that published weights are downloaded to
DOWNLOADS = "downloads/weights"
#: in place of the digest of a file, where the weights are those that a library publishes
PUBLISHED = "published"


@dataclass(frozen=True)
class Network:
    """A network of a section, and the weights that it has before any training here.

    Attributes:
        architecture: of the configuration.
        weights: the file of its weights, with ``{seed}`` where there is one for each seed; None if they are random or
            published ones.
        layers: the representations of a foreign network whose architecture does not choose them.
    """

    architecture: "Architecture"
    weights: str | None = None
    layers: Literal["stages", "relus"] = "stages"

    @property
    def built_with(self) -> dict[str, Any]:
        """Arguments of `lgg.models.build`; a stem that depends on a file of weights is left to what loads them."""
        found = dict(self.architecture.built_with)
        if self.architecture.is_foreign:
            found["layers"] = found["layers"] or self.layers
        return found

    @property
    def built_without_weights(self) -> dict[str, Any]:
        """Arguments of `lgg.models.build` for a network of the same form, where the weights do not matter."""
        found = self.built_with
        if found.get("stem") == "auto" and self.has_weights:
            found["stem"] = stem_of(self.weights) if self.weights else "standard"  # as of published weights
        return found

    @property
    def has_weights(self) -> bool:
        return self.weights is not None or self.architecture.published

    @property
    def is_checked(self) -> bool:
        """Whether it takes part in the check of networks: a wrong name or file shows only where it is built."""
        return self.architecture.is_foreign or self.has_weights

    @property
    def downloaded(self) -> str | None:
        """The file of its published weights, which is downloaded once; None if it has none, or those of another file."""
        if self.weights is not None or not self.architecture.published:
            return None
        built = self.architecture.built_with
        return f"{DOWNLOADS}/{built['name']}-{_file_name(built['model'])}.safetensors"

    def weights_of(self, seed: int | None = None) -> str | None:
        """Return the file of the weights of the network from `seed`; None if they are random."""
        return self.downloaded or (self.weights and self.weights.replace(SEED, str(seed)))

    def digest_of(self, seed: int | None = None) -> str | None:
        """Return the SHA-256 of its file of weights, or `PUBLISHED`; None if they are random.

        Raises ConfigError if the file cannot be read.
        """
        if self.downloaded:
            return PUBLISHED
        path = self.weights_of(seed)
        return sha256_of(path) if path else None


class Weighted(Section):
    """A section whose networks may start from weights in a file, or from published ones."""

    architecture: Architecture = Field(description="the network: the paper's, torchvision's, timm's, or your own")
    weights: FilePath | None = Field(
        default=None,
        description="file of weights that training starts from: a state dict of PyTorch (.pt, .pth) or safetensors, or a "
        "model.safetensors of this project; null: random weights",
    )

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.weights is not None and self.architecture.published:
            yield "weights", "the architecture has `pretrained: true`, which are other weights: choose one of the two"

    def file_problems(self, folder: Path) -> Iterator[Problem]:
        if self.weights is not None:
            yield from (("weights", text) for text in weights_problems(self.weights, folder))


class Role(Weighted):
    """A network that the run has once, trained here or elsewhere."""

    weights: FilePath | None = Field(
        default=None,
        description="file of its weights, if it was trained elsewhere: a state dict of PyTorch (.pt, .pth) or safetensors, or "
        "a model.safetensors of this project; null: it is trained here",
    )
    fine_tune: bool = Field(
        default=False,
        description="with `weights` or published ones: true: training starts from them; false: they are used as they are",
    )

    @property
    def network(self) -> Network:
        """The network and its weights."""
        return Network(self.architecture, self.weights)

    @property
    def is_trained_here(self) -> bool:
        return self.fine_tune or not self.network.has_weights

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.fine_tune and not self.network.has_weights:
            yield (
                "fine_tune",
                "there is nothing to start from: set `weights`, or `pretrained: true` in its architecture",
            )


#: the place of the seed in the names of files
SEED = "{seed}"


def _file_name(model: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in model)


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a file, which is read once while it does not change; ConfigError if it cannot be read."""
    try:
        status = Path(path).stat()
        return _digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}). Put the file there or correct its path") from None


def stem_of(path: str) -> str:
    """Return the stem of the network whose weights a file has: of this project's files the one stated there, or "standard"."""
    try:
        header = json.loads(read_tensors_metadata(path).get("lgg", "{}"))
        return str(header.get("architecture", header).get("stem", "standard"))
    except (OSError, ValueError, AttributeError):  # a file of PyTorch, or one for each seed
        return "standard"


@cache
def _digest(path: str, size: int, changed: int) -> str:  # noqa: ARG001  (they tell a changed file)
    return sha256_of_file(path)


def weights_problems(path: str, folder: Path) -> Iterator[str]:
    """Yield why the file `path`, relative to `folder`, holds no weights, as far as its first bytes tell."""
    file = folder / path
    if not file.is_file():
        yield f"there is no file {file}. Put it there or correct the path"
        return
    try:
        with file.open("rb") as opened:
            first = opened.read(9)
        if not first.startswith((b"PK", b"\x80")):
            read_tensors_metadata(file)
    except ValueError as error:
        yield f"{file} is neither a state dict of PyTorch nor of safetensors ({error})"
    except OSError as error:
        yield f"{file} cannot be read: {error.strerror}"


def pattern_problems(pattern: str, seeds: Iterable[int], folder: Path) -> Iterator[str]:
    """Yield why there are no weights of each of `seeds` in the files named by `pattern`."""
    seeds = list(seeds)
    if SEED not in pattern and len(seeds) > 1:
        yield (
            f"one file cannot hold the networks of {len(seeds)} seeds ({', '.join(map(str, seeds))}): write {SEED} where "
            "their names have the seed, or give the section one seed (`seeds: [0]`)"
        )
        return
    for seed in seeds:
        yield from weights_problems(pattern.replace(SEED, str(seed)), folder)
