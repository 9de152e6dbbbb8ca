"""The complete configuration, and what must hold across its sections."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from lgg.pipeline.config.corruptions import Corruptions
from lgg.pipeline.config.data import Data
from lgg.pipeline.config.distillation import Distillation
from lgg.pipeline.config.embedding import Embedding
from lgg.pipeline.config.geometry import Geometry
from lgg.pipeline.config.messages import nearest
from lgg.pipeline.config.resources import Resources
from lgg.pipeline.config.robustness import Robustness
from lgg.pipeline.config.timing import Timing
from lgg.pipeline.config.types import Problem, Section, Seeds

#: sections with a network for each method and seed
Comparison = Literal["distillation", "embedding", "robustness"]
COMPARISONS: tuple[Comparison, ...] = get_args(Comparison)


class Config(Section):
    """A run of the pipeline."""

    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)] = Field(
        description="name of the run; all its files are written to results/RUN/"
    )
    seeds: Seeds = Field(
        description="each method trains one network per seed; adding a seed trains only the new networks"
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

    def seeds_of(self, section: Comparison) -> list[int]:
        """The seeds of a section: its own, or the run's."""
        part = getattr(self, section)
        return self.seeds if part is None or part.seeds is None else part.seeds

    @property
    def timed_methods(self) -> list[tuple[Comparison, str]]:
        """Section and method of the rows of Table A1: those trained here, with each section's baseline, which they refer to."""
        rows: dict[tuple[Comparison, str], None] = {}  # an ordered set
        for row in self.timing.methods if self.timing else []:
            for section in COMPARISONS:
                part, name = getattr(self, section), row.removeprefix(f"{section}.")
                here = {} if part is None else getattr(part, "trained_here", part.active_methods)
                if name != row and name in here and part.baseline in here:
                    rows |= dict.fromkeys([(section, part.baseline), (section, name)])
        return list(rows)

    def file_problems(self, folder: Path) -> Iterator[Problem]:
        for name in ("distillation", "robustness"):
            part = getattr(self, name)
            if part is not None and self.seeds:
                found = part.pattern_problems(self.seeds_of(name), folder)
                yield from ((f"{name}.{key}", text) for key, text in found)

    def problems(self) -> Iterator[Problem]:
        yield from self._timing_problems()
        if self.robustness and self.seeds and self.robustness.tests.transfer_seed in self.seeds_of("robustness"):
            yield (
                "robustness.tests.transfer_seed",
                f"{self.robustness.tests.transfer_seed} is among `seeds`; transferred attacks need a network that is "
                "not evaluated: choose another seed",
            )
        if self.data:  # None if it could not be read
            yield from self._training_problems()
            yield from self._test_problems()
            yield from self._class_problems()

    def _timing_problems(self) -> Iterator[Problem]:
        for row in self.timing.methods if self.timing else []:
            section, dot, name = row.partition(".")
            if not dot or section not in COMPARISONS:
                yield (
                    "timing.methods",
                    f"{row!r} is not SECTION.METHOD with one of the sections {', '.join(COMPARISONS)}",
                )
                continue
            part = getattr(self, section)
            if part is not None and name not in part.methods:
                yield "timing.methods", f"{name!r} is not in {section}.methods{nearest(name, part.methods)}"

    def _training_problems(self) -> Iterator[Problem]:
        images = self.data.training_images
        for name in ("geometry", *COMPARISONS):
            if (section := getattr(self, name)) is not None and images is not None:
                for key, text in section.training.count_problems(images):
                    yield f"{name}.training.{key}", text
        if self.embedding and self.embedding.figure and self.embedding.figure.schedule and images is not None:
            for key, text in self.embedding.figure_training.count_problems(images):
                if key == "schedule":
                    yield "embedding.figure.schedule", text

    def _test_problems(self) -> Iterator[Problem]:
        """Yield keys that need more test images than there are, and settings that do not fit the archive."""
        counts = {}
        if self.corruptions and (self.embedding or self.robustness):  # otherwise nothing is corrupted
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
                yield key, f"{count} images cannot cover all {classes} classes"

    def _archive_problems(self) -> Iterator[Problem]:
        if self.data.source not in ("cifar10", "arrays"):
            yield (
                "corruptions.source",
                f"cifar10_c holds CIFAR-10's test images, but the data are {self.data.name}; use generated",
            )
        elif self.data.image_size != 32:
            yield (
                "corruptions.source",
                f"cifar10_c holds images of 32 × 32 pixels, but data.image_size is {self.data.image_size}; use generated",
            )
        elif self.data.validation_images is not None:
            yield (
                "corruptions.source",
                "cifar10_c holds test images, but data.validation_images replaces them; use generated",
            )
        elif self.data.test_images is not None:
            yield (
                "data.test_images",
                "cifar10_c holds all 10,000 test images of CIFAR-10: set this to null, and use corruptions.images for fewer",
            )

    def _class_problems(self) -> Iterator[Problem]:
        known, smallest = self.data.known_classes, self.data.images_of_smallest_class
        if self.geometry is None or known is None:
            return
        if self.geometry.classes > known:
            yield "geometry.classes", f"{self.geometry.classes} is more than the {known} classes of {self.data.name}"
        if smallest is not None and self.geometry.images_per_class > smallest:
            yield (
                "geometry.images_per_class",
                f"{self.geometry.images_per_class} is more than the {smallest} training images of a class",
            )
