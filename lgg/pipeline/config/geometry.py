"""Section 3.3 and Appendix C: geometry."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from lgg.pipeline.config.methods import SIMILARITY_OF_LAYERS
from lgg.pipeline.config.networks import Architecture, Role
from lgg.pipeline.config.training import Training
from lgg.pipeline.config.types import AtLeast2, Count, Problem, Seed


class Geometry(Role):
    """Section 3 and Appendix C: Figures 1 and 2."""

    architecture: Architecture = Field(description="the reference network, whose blocks Figure 1 draws")
    seed: Seed = Field(default=0, description="seed of the reference network's weights and batches")
    training: Training
    classes: AtLeast2 = Field(default=4, description="classes per draw")
    images_per_class: Count = Field(default=5, description="training images per class in a draw")
    k: Count = Field(default=5, description="nearest neighbours kept for each vertex")
    similarity: Literal["cosine", "rbf", "rbf_squared"] = Field(default="cosine", description=SIMILARITY_OF_LAYERS)
    draws: Count = Field(default=100, description="independent draws for the distribution; Figure 2 shows the first")
    draw_seed: Seed = Field(default=0, description="seed of the draws")

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        images = self.classes * self.images_per_class
        if self.k >= images:
            yield "k", f"{self.k} is too many: in a graph of {images} images each has {images - 1} neighbours"
