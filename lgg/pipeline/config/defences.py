"""Section 4.3: the defences that a network is trained with, one list entry per defence."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lgg.pipeline import registry
from lgg.pipeline.config.methods import SIMILARITY_OF_LAYERS
from lgg.pipeline.config.registered import Registered
from lgg.pipeline.config.types import Count, NonNegative, Positive, Section, Share, StepSize

IN_DEFENCES = "this is now an entry of `defences`, with the same keys: `defences: [{{name: {name}, …}}]`"


class _Defence(Section):
    @property
    def module(self) -> str:
        """Module of lgg.defences that holds the defence."""
        return str(getattr(self, "name"))  # noqa: B009 — each kind has its own

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the defence's constructor."""
        return self.model_dump(mode="json", exclude={"name"})


class Regularizer(_Defence):
    """The label variation regularizer (the paper, Section 4.3, Eq. 9)."""

    name: Literal["regularizer"]
    weight: NonNegative = Field(
        default=1e-4,
        description="γ, weight relative to cross-entropy; the published code's γᵖ is 0.01² = 1e-4 at batch size 100",
    )
    power: Count = Field(default=2, description="p of tr(VᵀLᵖV)")
    reduction: Literal["mean", "sum"] = Field(
        default="mean", description="over pairs of consecutive layers: mean (published code) or sum (the paper's text)"
    )
    k: Count | None = Field(
        default=None,
        description="nearest neighbours kept for each vertex, not counting itself (the published code counts it); null: all "
        "edges",
    )
    normalize: bool = Field(default=False, description="normalise the graphs, D^-1/2 A D^-1/2")
    similarity: Literal["cosine", "rbf", "rbf_squared"] = Field(default="cosine", description=SIMILARITY_OF_LAYERS)
    rbf_scale: Positive = Field(default=2.0, description="α of the two kernels, dimensionless")


class Parseval(_Defence):
    """Parseval networks (Cisse et al. 2017): orthonormal weights, scaled convolutions, averaged residuals."""

    name: Literal["parseval"]
    beta: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = Field(
        default=0.01, description="β of the retraction after every step"
    )


class TrainingAttack(Section):
    """PGD on the images of each batch."""

    epsilon: Share = Field(default=8 / 255, description="largest change of a pixel value, in [0, 1]")
    step_size: StepSize = Field(default=2 / 255, description="change of a pixel value per step")
    steps: Count = Field(default=7, description="attack steps per batch")
    random_start: bool = Field(default=True, description="start at a random point within epsilon")


class AdversarialTraining(TrainingAttack, _Defence):
    """Training on adversarial images found by PGD (Madry et al. 2018)."""

    name: Literal["adversarial"]


class OtherDefence(Registered):
    """Your own defence: a file in lgg/defences/ and a line in its __init__.py."""

    folder: ClassVar[str] = "defences"

    name: Literal["other"]

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.arguments)

    def _registered(self) -> Mapping[str, str]:
        return registry.defences()

    def _checked(self) -> Mapping[str, bool] | None:
        taken = registry.defence_arguments(self.module)
        registry.check_defence(self.module)
        return taken


Defence = Annotated[Regularizer | Parseval | AdversarialTraining | OtherDefence, Field(discriminator="name")]
