"""Training: the schedule, and what happens in a step."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lgg.errors import ConfigError
from lgg.pipeline.config.types import AtLeast2, NonNegative, Positive, Problem, Section
from lgg.training.schedule import boundaries, total_epochs


class Phase(Section):
    """A part of training. Consecutive phases form the learning-rate schedule."""

    epochs: Annotated[float, Field(gt=0, le=1e6)] = Field(
        description="length in epochs; may be a fraction, but at least one step. A phase begins at the step nearest to the sum "
        "of the lengths before it"
    )
    learning_rate: NonNegative | list[NonNegative] = Field(
        description="a constant, or [first, last] to change it at every step"
    )
    shape: Literal["linear", "cosine"] = Field(
        default="linear", description="how the learning rate goes from the first to the last value"
    )
    fresh_optimizer: bool = Field(
        default=False, description="reset the momentum, or AdamW's running averages, when the phase begins"
    )

    def problems(self) -> Iterator[Problem]:
        if isinstance(self.learning_rate, list) and len(self.learning_rate) != 2:
            yield "learning_rate", f"expected one number or [first, last], found {self.learning_rate}"


_DECAY_NORMS: bool = Field(
    default=True,
    description="false: no weight decay of biases and of the scales of normalisations (parameters of one dimension)",
)


class Sgd(Section):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.9, description="momentum")
    nesterov: bool = Field(default=False, description="use Nesterov momentum")
    weight_decay: NonNegative = Field(default=5e-4, description="L2 penalty on all parameters")
    decay_norms: bool = _DECAY_NORMS

    def problems(self) -> Iterator[Problem]:
        if self.nesterov and self.momentum == 0:
            yield "nesterov", "it needs a `momentum` above 0"


class AdamW(Section):
    """AdamW (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"]
    betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=[0.9, 0.999], description="decay rates of the running averages of the gradient and its square"
    )
    epsilon: Positive = Field(default=1e-8, description="added to the denominator")
    weight_decay: NonNegative = Field(default=0.01, description="decoupled weight decay of all parameters")
    decay_norms: bool = _DECAY_NORMS

    def problems(self) -> Iterator[Problem]:
        if len(self.betas) != 2:
            yield "betas", f"expected two numbers, for the gradient and its square, found {len(self.betas)}"


Optimizer = Annotated[Sgd | AdamW, Field(discriminator="name")]
_IN_OPTIMIZER = "this is now a key of `optimizer`: `optimizer: {{name: sgd, {key}: …}}`"


Schedule = Annotated[list[Phase], Field(min_length=1)]


class Training(Section):
    """How networks are trained."""

    former: ClassVar[Mapping[str, str]] = {
        **{key: _IN_OPTIMIZER.format(key=key) for key in ("momentum", "nesterov", "weight_decay")},
        "compilation": "networks are no longer compiled; remove this key. On a GPU, `resources: {captured_steps: true}` "
        "replays training steps as CUDA graphs",
    }

    schedule: Schedule = Field(
        description="list of phases: constant phases form a multi-step schedule, [0, peak] then [peak, 0] a one-cycle "
        "schedule; with `shape: cosine` in the second, a cosine with warm-up"
    )
    batch_size: AtLeast2 = Field(default=128, description="images per step")
    optimizer: Optimizer = Field(default=Sgd(name="sgd"), description="sgd or adamw, each with its own keys")
    augmentation: Literal["crop_and_flip", "random_resized_crop", "trivial_augment", "none"] = Field(
        default="crop_and_flip",
        description="crop_and_flip: random crops after padding by an eighth of the side (4 pixels at 32), mirroring half "
        "of the images; random_resized_crop: a part of 8 to 100 % of the area, with sides of ratio 3/4 to 4/3, enlarged to "
        "the whole side, and mirroring; trivial_augment: crop_and_flip, then one operation of TrivialAugmentWide (Müller and "
        "Hutter 2021)",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="share of a target that is spread over all classes, in the cross-entropy; losses without cross-entropy "
        "and attacks ignore it",
    )
    gradient_clipping: Positive | None = Field(
        default=None,
        description="largest norm of all gradients together; larger gradients are scaled down to it. null: any",
    )
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        default="float32",
        description="bfloat16: mixed precision; fast on GPUs and on CPUs with AMX or AVX-512 BF16, very slow on other CPUs; "
        "auto: bfloat16 where it is fast, otherwise float32",
    )

    @property
    def epochs(self) -> int:
        """Total number of epochs of the phases."""
        return total_epochs(self._phases)

    @property
    def _phases(self) -> list[dict[str, Any]]:
        return [{"epochs": phase.epochs} for phase in self.schedule]

    def problems(self) -> Iterator[Problem]:
        try:
            total_epochs(self._phases)
        except ConfigError as error:
            yield "schedule", str(error)

    def count_problems(self, images: int) -> Iterator[Problem]:
        """Yield settings that do not work with this number of training images."""
        if self.batch_size > images:
            yield "batch_size", f"{self.batch_size} is more than the {images} training images"
        try:
            boundaries(self._phases, -(-images // self.batch_size))
        except ConfigError as error:
            if not any(key == "schedule" for key, _ in self.problems()):
                yield "schedule", str(error)
