"""Measures of errors under corruptions in Tables 2 and 3: three, two of them relative to a baseline."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from lgg.data.corruption_names import constants_note
from lgg.reporting.corruption_error import (
    faint_corruptions,
    mean_corruption_error,
    plain_mce,
    relative_mce,
    undefined_corruptions,
)
from lgg.reporting.measures import MEAN_CORRUPTION_ERROR, PLAIN_MCE, RELATIVE_MCE, Measure
from lgg.reporting.notes import corruption_notes

#: by measure and seed
Values = dict[str, dict[int, float]]
OF_CORRUPTIONS = (RELATIVE_MCE, PLAIN_MCE, MEAN_CORRUPTION_ERROR)


@dataclass(frozen=True)
class CorruptionMeasures:
    """The measures of errors under corruptions in one table; none if the run has no corruptions.

    Attributes:
        reference: the baseline's errors, as `lgg.reporting.corruption_error` takes them, with the column `images`; None
            if there are no corruptions.
        label: label of the baseline.
        side: of the test images, in pixels.
    """

    reference: pd.DataFrame | None
    label: str
    side: int

    def values(self, errors: pd.DataFrame | None) -> Values:
        """Return the values of one method from its errors; empty if it was not measured."""
        if self.reference is None or errors is None:
            return {}
        return {
            RELATIVE_MCE.name: relative_mce(errors, self.reference),
            PLAIN_MCE.name: plain_mce(errors, self.reference),
            MEAN_CORRUPTION_ERROR.name: mean_corruption_error(errors),
        }

    def images(self) -> dict[str, int]:
        """Return for each measure the number of test images in a set."""
        return {} if self.reference is None else dict.fromkeys((one.name for one in OF_CORRUPTIONS), self._count)

    def columns(self, measures: Iterable[Measure]) -> list[Measure]:
        """Return those of `measures` that have values; relative MCE marks no best value if it means little."""
        if self.reference is None:
            return [measure for measure in measures if measure not in OF_CORRUPTIONS]
        is_sound = not self._faint
        return [replace(measure, bold=is_sound) if measure == RELATIVE_MCE else measure for measure in measures]

    def notes(self, measures: Iterable[Measure]) -> list[str]:
        """Return the paragraphs of the legend of a table with `measures`: on relative and plain MCE, on corruptions."""
        shown = {measure.name for measure in measures} & {measure.name for measure in OF_CORRUPTIONS}
        if self.reference is None or not shown:
            return []
        constants = f"Corruptions have the {constants_note(self.side)}."
        if RELATIVE_MCE.name not in shown:
            return [constants]
        undefined = undefined_corruptions(self.reference)
        return [*corruption_notes(self.reference, self.label, undefined, self._faint), constants]

    @property
    def _count(self) -> int:
        return 0 if self.reference is None else int(self.reference["images"].iloc[0])

    @property
    def _faint(self) -> list[str]:
        return [] if self.reference is None else faint_corruptions(self.reference, self._count)
