"""Section 4.3: robustness."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lgg.pipeline.config.defences import IN_DEFENCES, AdversarialTraining, Defence, Regularizer
from lgg.pipeline.config.methods import Method, TrainableComparison, TrainableMethod, neighbour_problems
from lgg.pipeline.config.networks import Network, Weighted
from lgg.pipeline.config.types import (
    Count,
    CountOrZero,
    Decibels,
    NonNegative,
    Problem,
    Section,
    Seed,
    Share,
    StepSize,
    repeated_words,
)


class RobustMethod(TrainableMethod):
    """A row of Table 3: cross-entropy with any number of defences."""

    former: ClassVar[Mapping[str, str]] = {
        **Method.former,
        "smoothness": IN_DEFENCES.format(name="regularizer"),
        "parseval": IN_DEFENCES.format(name="parseval"),
        "adversarial": IN_DEFENCES.format(name="adversarial"),
    }

    defences: list[Defence] = Field(
        default=[],
        description="defences in the order in which they act, each at most once; a list in an overlay replaces this one",
    )
    supplement: bool = Field(
        default=False, description="true: show the row only in Table 3's supplement, without corruptions; for sweeps"
    )

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if repeated := repeated_words(defence.module for defence in self.defences):
            yield "defences", f"{', '.join(map(repr, repeated))} is listed twice; list each defence once"

    @property
    def regularizer(self) -> Regularizer | None:
        """The regularizer, where it is one of the defences."""
        return next((defence for defence in self.defences if isinstance(defence, Regularizer)), None)

    @property
    def adversarial(self) -> AdversarialTraining | None:
        """The attack that the networks are trained under, if there is one."""
        return next((defence for defence in self.defences if isinstance(defence, AdversarialTraining)), None)


class PgdTest(Section):
    """Projected gradient descent within an L∞ ball."""

    epsilon: Share = Field(default=0.01, description="largest change of a pixel value, in [0, 1]")
    step_size: StepSize = Field(default=0.002, description="change of a pixel value per step")
    steps: Count = Field(default=20, description="steps from each starting point")
    restarts: Count = Field(
        default=1, description="starting points: the image, then random ones; the worst result counts"
    )
    loss: Literal["cross_entropy", "logit_difference"] = Field(
        default="cross_entropy",
        description="loss that the attack maximises; logit_difference is the largest other logit minus the true class's, whose "
        "gradient does not vanish when a network is very confident",
    )
    stop_at_success: bool = Field(
        default=False,
        description="true: stop changing an image once it is misclassified (published code); false: the last step counts",
    )


class RobustnessTests(Section):
    """Attacks and other tests of the networks, in addition to corruptions."""

    images: Count | None = Field(
        default=None, description="number of test images to attack, drawn evenly from all classes; null: all"
    )
    seed: Seed = Field(default=0, description="seed of noise, dropout, random starts and the choice of images")
    transfer_seed: Seed = Field(
        default=1000,
        description="seed of one more baseline network, not among those evaluated, on which transferred attacks are crafted",
    )
    fgsm_snr: Decibels = Field(default=33.0, description="signal-to-noise ratio of FGSM, in dB")
    curve_snrs: Annotated[list[Decibels], Field(min_length=1)] = Field(
        default=[60.0, 50.0, 45.0, 40.0, 36.0, 33.0, 30.0, 25.0, 20.0],
        description="signal-to-noise ratios for the curve of accuracy under FGSM, in dB",
    )
    noise_std: NonNegative = Field(
        default=0.1, description="standard deviation of Gaussian noise on pixel values in [0, 1]"
    )
    dropout_rate: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.25, description="rate of dropout after each block"
    )
    weight_bits: Annotated[int, Field(ge=2, le=16)] = Field(default=5, description="bits that weights are quantised to")
    pgd: PgdTest = Field(
        default=PgdTest(),
        description="PGD with the published code's constants; to match it exactly, set `stop_at_success` too",
    )
    strong_pgd: PgdTest = Field(
        default=PgdTest(steps=50, restarts=3),
        description="PGD with more steps and restarts, to check for gradient masking",
    )
    deepfool_images: CountOrZero = Field(
        default=100, description="images for DeepFool, one at a time slow; 0: without DeepFool"
    )

    def strength_problems(self) -> Iterator[Problem]:
        """Yield why `strong_pgd` cannot check `pgd`. Only for new runs: a finished one may have been configured so."""
        keys = ("epsilon", "steps", "restarts")
        plain, strong = ([getattr(attack, key) for key in keys] for attack in (self.pgd, self.strong_pgd))
        if plain == strong or any(one > other for one, other in zip(plain, strong, strict=True)):
            yield (
                "robustness.tests.strong_pgd",
                "it must be stronger than `pgd`, which it checks: give it more steps or restarts, and no smaller "
                f"{', '.join(keys)} ({', '.join(map(str, plain))}; found {', '.join(map(str, strong))})",
            )


class Robustness(TrainableComparison[RobustMethod], Weighted):
    """Section 4.3: Table 3 and the second robustness table."""

    table: ClassVar[str] = "Table 3"

    tests: RobustnessTests = Field(default=RobustnessTests(), description="attacks and other tests")

    @property
    def network(self) -> Network:
        """The network of the methods that are trained here, and the weights that their training starts from."""
        return Network(self.architecture, self.weights, layers="relus")

    def network_of(self, name: str) -> Network:
        """Return the network of a method's row, with the weights that it has before any training here."""
        method = self.active_methods[name]
        if method.trained is None:
            return self.network
        return Network(method.architecture or self.architecture, method.trained, layers="relus")

    def seeds_needed(self, name: str, seeds: Sequence[int]) -> list[int]:
        """Return the seeds of a method's networks: of the baseline one more, on which transferred attacks are crafted."""
        return [*seeds, *([self.tests.transfer_seed] if name == self.baseline else [])]

    @property
    def table_methods(self) -> dict[str, RobustMethod]:
        """The methods in Table 3 itself."""
        return {name: method for name, method in self.active_methods.items() if not method.supplement}

    @property
    def watched_methods(self) -> dict[str, RobustMethod]:
        """The methods whose label variation is drawn: of those trained here the baseline, and those with the regularizer."""
        return {
            name: method
            for name, method in self.trained_here.items()
            if name == self.baseline or (method.regularizer and not method.supplement)
        }

    @property
    def sweep(self) -> dict[str, float]:
        """γ by method: 0 for the baseline, and methods with only the regularizer that differ only in γ; one method per γ."""
        alone = {
            name: method.regularizer
            for name, method in self.active_methods.items()
            if name != self.baseline and method.regularizer and len(method.defences) == 1
        }
        kinds = [regularizer.model_copy(update={"weight": 0.0}) for regularizer in alone.values()]
        by_weight: dict[float, str] = {}
        for (name, regularizer), kind in zip(alone.items(), kinds, strict=True):
            if kind == kinds[0] and regularizer.weight > 0:
                by_weight.setdefault(regularizer.weight, name)
        return {self.baseline: 0.0} | {name: weight for weight, name in by_weight.items()}

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        methods = self.active_methods
        if self.baseline in methods and methods[self.baseline].supplement:
            yield f"methods.{self.baseline}.supplement", "the baseline must be in Table 3 itself"
        for name, method in methods.items():
            for number, defence in enumerate(method.defences):
                if isinstance(defence, Regularizer):
                    key = f"methods.{name}.defences[{number}].k"
                    yield from neighbour_problems(key, defence.k, self.training)
