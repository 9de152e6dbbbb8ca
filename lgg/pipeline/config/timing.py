"""Appendix D: training time."""

from typing import Annotated

from pydantic import Field

from lgg.pipeline.config.defences import TrainingAttack
from lgg.pipeline.config.types import AtLeast2, Count, Section


class Timing(Section):
    """Appendix D: Table A1."""

    methods: Annotated[list[str], Field(min_length=1)] = Field(
        description="rows, as SECTION.METHOD, e.g. robustness.parseval; each is compared with the baseline of its section, "
        "which is timed too. Methods and sections that an overlay removes are skipped"
    )
    rounds: AtLeast2 = Field(default=5, description="rounds; each times every method once, and medians are over rounds")
    steps: Count = Field(default=10, description="training steps timed per method and round")
    adversarial: TrainingAttack | None = Field(
        default=None, description="attack to use when timing adversarial training; null: that of the method"
    )
