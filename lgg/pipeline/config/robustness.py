"""Section 4.3: robustness."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from lgg.pipeline.config.methods import SIMILARITY_OF_LAYERS, method_problems, neighbour_problems
from lgg.pipeline.config.networks import PreActResNet18
from lgg.pipeline.config.training import Training
from lgg.pipeline.config.types import (
    OWN_SEEDS,
    Count,
    CountOrNone,
    Decibels,
    Label,
    Name,
    NonNegative,
    Percent,
    Positive,
    Problem,
    Section,
    Seed,
    Seeds,
    Share,
    StepSize,
)


class Smoothness(Section):
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


class Parseval(Section):
    """Parseval networks (Cisse et al. 2017): orthonormal weights, scaled convolutions, averaged residuals."""

    beta: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = Field(
        default=0.01, description="β of the retraction after every step"
    )


class AdversarialTraining(Section):
    """Training on PGD's images (Madry et al. 2018)."""

    epsilon: Share = Field(default=8 / 255, description="largest change of a value in [0, 1]")
    step_size: StepSize = Field(default=2 / 255, description="change of a value in one step")
    steps: Count = Field(default=7, description="steps of the attack on every batch")
    random_start: bool = Field(default=True, description="start at a random point within epsilon")


class PublishedAccuracy(Section):
    """Accuracies of the published networks, in percent."""

    clean: Percent | None = Field(default=None, description="test images as they are")
    fgsm_pixels: Percent | None = Field(default=None, description="FGSM on pixels")
    fgsm_normalized: Percent | None = Field(default=None, description="FGSM on normalised inputs")
    gaussian_noise: Percent | None = Field(default=None, description="Gaussian noise")
    dropout: Percent | None = Field(default=None, description="dropout after each block")
    quantized_weights: Percent | None = Field(default=None, description="weights cut to few bits")
    pgd: Percent | None = Field(default=None, description="PGD")


class RobustMethod(Section):
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


class PgdTest(Section):
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


class RobustnessTests(Section):
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


class Robustness(Section):
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
        yield from method_problems(methods, self.baseline, "Table 3")
        if self.baseline in methods and methods[self.baseline].supplement:
            yield f"methods.{self.baseline}.supplement", "the baseline must be in Table 3 itself"
        for name, method in methods.items():
            if method.smoothness:
                yield from neighbour_problems(f"methods.{name}.smoothness.k", method.smoothness.k, self.training)
