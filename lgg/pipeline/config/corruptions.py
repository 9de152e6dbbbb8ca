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
        description="generated: made here from the published definitions; cifar10_c: the official archive (2.9 GB)",
    )
    path: FilePath | None = Field(
        default=None,
        description="cifar10_c: where CIFAR-10-C.tar is or will be downloaded, `downloads/CIFAR-10-C.tar` by default",
    )
    names: Annotated[list[CorruptionName], Field(min_length=1)] = Field(
        default=list(NAMES), description="which corruptions; by default the 15 of the benchmark"
    )
    severities: Annotated[list[Severity], Field(min_length=1)] = Field(
        default=list(SEVERITIES), description="which severities"
    )
    images: Count | None = Field(
        default=None, description="number of test images corrupted, drawn evenly from all classes; null: all"
    )
    seed: Seed = Field(default=0, description="of the generated corruptions and of the choice of images")
    keep: bool = Field(
        default=False,
        description="generated: keep them all in results/RUN/data/corruptions.tar (2.3 GB for 10,000 images) instead of "
        "making them again for each method",
    )

    def problems(self) -> Iterator[Problem]:
        if self.source == "generated" and self.path is not None:
            yield "path", "source generated reads no archive: leave `path` at null"
        if self.source == "cifar10_c" and self.keep:
            yield "keep", "`keep` is for generated corruptions; the archive stays anyway"
        for key, values in (("names", self.names), ("severities", self.severities)):
            if len(set(values)) != len(values):
                yield key, "an entry is there twice"

    @property
    def is_benchmark(self) -> bool:
        """Whether all corruptions and severities of the benchmark are there, and no others."""
        return sorted(self.names) == sorted(NAMES) and sorted(self.severities) == sorted(SEVERITIES)
