"""The corrupted test images of Tables 2 and 3."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from lgg.data.corruption_names import EXTRA_NAMES, NAMES, SEVERITIES
from lgg.pipeline.config.types import Count, FilePath, Problem, Section, Seed

if TYPE_CHECKING:
    CorruptionName = str
else:
    CorruptionName = Literal[(*NAMES, *EXTRA_NAMES)]
Severity = Annotated[int, Field(ge=SEVERITIES[0], le=SEVERITIES[-1])]


class Corruptions(Section):
    """The corrupted test images of Tables 2 and 3 (Hendrycks and Dietterich 2019)."""

    not_of: ClassVar[Mapping[str, tuple[str, ...]]] = {"generated": ("path",), "cifar10_c": ("keep",)}

    source: Literal["generated", "cifar10_c"] = Field(
        default="generated",
        description="generated: computed here from the published definitions, with the constants of CIFAR-10-C (32 pixels), "
        "Tiny-ImageNet-C (64) or ImageNet-C (224), whichever is nearest to data.image_size; cifar10_c: the official archive "
        "(2.9 GB), of 32 pixels",
    )
    path: FilePath | None = Field(
        default=None,
        description="cifar10_c: path of CIFAR-10-C.tar, downloaded if missing; null: `downloads/CIFAR-10-C.tar`",
    )
    names: Annotated[list[CorruptionName], Field(min_length=1)] = Field(
        default=list(NAMES), description="corruptions to use; by default the 15 of the benchmark"
    )
    severities: Annotated[list[Severity], Field(min_length=1)] = Field(
        default=list(SEVERITIES), description="severities to use"
    )
    images: Count | None = Field(
        default=None, description="number of test images to corrupt, drawn evenly from all classes; null: all"
    )
    seed: Seed = Field(default=0, description="seed for generating corruptions and choosing images")
    keep: bool = Field(
        default=False,
        description="generated: store the images in results/RUN/data/corruptions.tar instead of generating them again for each "
        "method; with all names and severities 10,000 images take 2.3 GB at 32 pixels, 113 GB at 224",
    )

    def problems(self) -> Iterator[Problem]:
        if self.source == "generated" and self.path is not None:
            yield "path", "source `generated` reads no archive: set `path` to null"
        if self.source == "cifar10_c" and self.keep:
            yield "keep", "`keep` only applies to generated corruptions; the downloaded archive is kept anyway"
        for key, values in (("names", self.names), ("severities", self.severities)):
            if len(set(values)) != len(values):
                yield key, "an entry is listed twice"

    @property
    def is_benchmark(self) -> bool:
        """Whether the corruptions and severities are exactly those of the benchmark."""
        return sorted(self.names) == sorted(NAMES) and sorted(self.severities) == sorted(SEVERITIES)
