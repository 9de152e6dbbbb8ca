"""Section 3.3 and Appendix C: geometry."""

from collections.abc import Iterator

from pydantic import Field

from lgg.pipeline.config.networks import PreActResNet18
from lgg.pipeline.config.training import Training
from lgg.pipeline.config.types import AtLeast2, Count, Problem, Section, Seed


class Geometry(Section):
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
