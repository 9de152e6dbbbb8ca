"""Appendix D: time."""

from typing import Annotated

from pydantic import Field

from lgg.pipeline.config.defences import TrainingAttack
from lgg.pipeline.config.types import AtLeast2, Count, Section


class Timing(Section):
    """Appendix D: Table A1."""

    methods: Annotated[list[str], Field(min_length=1)] = Field(
        description="rows, as SECTION.METHOD, e.g. robustness.parseval; those of a section are compared with its "
        "baseline, which is timed too. A row goes with its method or section where an overlay takes that away"
    )
    rounds: AtLeast2 = Field(default=5, description="rounds, each method once in each; medians are over rounds")
    steps: Count = Field(default=10, description="steps of training timed together, in each round")
    adversarial: TrainingAttack | None = Field(
        default=None, description="attack in place of that of methods with adversarial training; null: their own"
    )
