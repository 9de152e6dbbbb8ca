"""Every measure that a table shows, declared once: its name, heading, unit and direction, and the tables that show it.

Imports only the standard library, so that planning can check which of the paper's figures a table shows.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Measure:
    """The measure in a column of a table.

    Attributes:
        name: prefix of its columns in the CSV, e.g. "clean_error", and its key in config/paper.yaml.
        heading: for readers, without the unit. Names in braces are constants of the tests, see `with_constants`.
        unit: of the values; "" for none. Differences of percentages are in points.
        better: which values are better, shown as an arrow in the heading; None if neither is.
        digits: after the decimal point, in Markdown, LaTeX and HTML.
        constants: keys of `robustness.tests` that the measure depends on; the paper's figure is shown only if they have the
            paper's values. "corruptions" stands for the section `corruptions`, which must be the full benchmark.
        test: the test of a network (`lgg.evaluation.robustness_tests`) that measures it; "" for other measures.
        published: whether tables have a column for the paper's figure.
        is_accuracy: whether 100 minus the measured value, an error in percent, is shown.
        bold: whether the best mean is in bold; false if differences between values mean nothing.
    """

    name: str
    heading: str
    unit: str = "%"
    better: Literal["lower", "higher"] | None = "lower"
    digits: int = 2
    constants: tuple[str, ...] = ()
    test: str = ""
    published: bool = True
    is_accuracy: bool = False
    bold: bool = True

    @property
    def column(self) -> str:
        """Heading with unit and the direction of better."""
        return self._heading(self.unit)

    @property
    def difference_column(self) -> str:
        """Heading with the unit of a difference, and the direction of better."""
        return self._heading("points" if self.unit == "%" else self.unit)

    @property
    def paper_column(self) -> str:
        """Name of the CSV's column of the paper's figures."""
        return f"paper_{self.name}"

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that show it, under any heading."""
        return tuple(table for table, columns in COLUMNS.items() if any(one.name == self.name for one in columns))

    def _heading(self, unit: str) -> str:
        arrow = {"lower": " ↓", "higher": " ↑", None: ""}[self.better]
        return f"{self.heading}{f' ({unit})' if unit else ''}{arrow}"

    def headed(self, heading: str) -> "Measure":
        """Return the measure under another heading."""
        return replace(self, heading=heading)

    def with_constants(self, tests: Mapping[str, Any]) -> "Measure":
        """Return the measure with the constants in its heading filled in; `tests` is `robustness.tests`."""
        return replace(self, heading=self.heading.format_map(tests))

    def as_accuracy(self) -> "Measure":
        """Return the measure as an accuracy: the same test, shown as 100 minus the error. ValueError if it is not an error."""
        if self.unit != "%" or self.better != "lower":
            raise ValueError(f"{self.name} is not an error in percent, so it has no accuracy")
        return replace(self, better="higher", is_accuracy=True)

    def shown(self, value: float) -> float:
        """Return the value that the table shows for a measured value."""
        return 100.0 - value if self.is_accuracy else value

    def paper_figure(self, row: Mapping[str, Any]) -> float:
        """Return the paper's figure from `row["paper"]`, which has them by measure; NaN if there is none."""
        figure = row["paper"].get(self.name)
        return math.nan if figure is None else float(figure)


# --- Table 1 and Table A1 ----------------------------------------------------------------------------------------------

ERROR = Measure("error", "Error")
GAIN = Measure("gain", "Gain", unit="points", better="higher")
AGREEMENT = Measure("agreement", "Agreement with teacher", better=None, published=False)
OPERATIONS = Measure("operations", "Operations", better=None, digits=1, published=False)
PARAMETERS = Measure("parameters", "Parameters", better=None, digits=1, published=False)
EPOCH_SECONDS = Measure("epoch_seconds", "Epoch", unit="s", better=None)
RATIO = Measure("ratio", "÷ baseline", unit="", better=None, published=False)

# --- errors under corruptions --------------------------------------------------------------------------------------------

RELATIVE_MCE = Measure("relative_mce", "Relative MCE", unit="", constants=("corruptions",))
PLAIN_MCE = Measure("plain_mce", "Plain MCE", unit="", constants=("corruptions",))
MEAN_CORRUPTION_ERROR = Measure("mean_corruption_error", "Mean corruption error", constants=("corruptions",))

# --- tests of networks, Section 4.3 --------------------------------------------------------------------------------------


def _test(name: str, heading: str, *constants: str, **more: Any) -> Measure:
    return Measure(name, heading, constants=constants, test=name, **more)


CLEAN = _test("clean", "Clean")
# the same value under its name in Tables 2 and 3
CLEAN_ERROR = Measure("clean_error", "Clean error", test=CLEAN.test)
GAUSSIAN_NOISE = _test("gaussian_noise", "Gaussian noise, σ = {noise_std:g}", "noise_std")
DROPOUT = _test("dropout", "Dropout {dropout_rate:g}", "dropout_rate")
QUANTIZED_WEIGHTS = _test("quantized_weights", "Weights of {weight_bits} bits", "weight_bits")
CLEAN_ATTACKED_IMAGES = _test("clean_attacked_images", "Clean, attacked images")
WITHOUT_GRADIENT = _test("without_gradient", "Images without a gradient")
FGSM_PIXELS = _test("fgsm_pixels", "FGSM, pixels, {fgsm_snr:g} dB", "fgsm_snr")
FGSM_NORMALIZED = _test("fgsm_normalized", "FGSM, normalised inputs, {fgsm_snr:g} dB", "fgsm_snr")
PGD = _test("pgd", "PGD, {pgd[steps]} × {pgd[restarts]}", "pgd")
STRONG_PGD = _test("strong_pgd", "PGD, {strong_pgd[steps]} × {strong_pgd[restarts]}", "strong_pgd")
TRANSFER_FGSM = _test("transfer_fgsm", "FGSM from baseline, pixels, {fgsm_snr:g} dB", "fgsm_snr")
TRANSFER_PGD = _test("transfer_pgd", "PGD from baseline, {pgd[steps]} × {pgd[restarts]}", "pgd")
DEEPFOOL = _test("deepfool", "DeepFool ‖r‖/‖x‖", unit="", better="higher", digits=4)

#: what each table shows, in the order of its columns
COLUMNS: Mapping[str, tuple[Measure, ...]] = {
    "table1": (ERROR, GAIN, AGREEMENT, OPERATIONS, PARAMETERS),
    "table2": (CLEAN_ERROR, RELATIVE_MCE, PLAIN_MCE),
    "table2_supplement": (CLEAN_ERROR, RELATIVE_MCE, PLAIN_MCE, MEAN_CORRUPTION_ERROR),
    "table3": (CLEAN_ERROR, FGSM_NORMALIZED.headed("FGSM error, {fgsm_snr:g} dB"), RELATIVE_MCE, PLAIN_MCE),
    "table3_supplement": (
        CLEAN_ERROR.headed("Clean"),
        CLEAN_ATTACKED_IMAGES,
        WITHOUT_GRADIENT,
        FGSM_NORMALIZED,
        FGSM_PIXELS,
        PGD,
        STRONG_PGD,
        TRANSFER_FGSM,
        TRANSFER_PGD,
        MEAN_CORRUPTION_ERROR,
        DEEPFOOL,
    ),
    "robustness": tuple(
        test.as_accuracy()
        for test in (
            CLEAN,
            FGSM_PIXELS,
            FGSM_NORMALIZED,
            GAUSSIAN_NOISE,
            DROPOUT,
            QUANTIZED_WEIGHTS,
            PGD.headed("PGD, {pgd[steps]} steps"),
        )
    ),
    "tableA1": (EPOCH_SECONDS, RATIO),
}

#: all measures by name, under their first heading
MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        *(ERROR, GAIN, AGREEMENT, OPERATIONS, PARAMETERS, EPOCH_SECONDS, RATIO),
        *(RELATIVE_MCE, PLAIN_MCE, MEAN_CORRUPTION_ERROR, CLEAN, CLEAN_ERROR),
        *(GAUSSIAN_NOISE, DROPOUT, QUANTIZED_WEIGHTS, CLEAN_ATTACKED_IMAGES, WITHOUT_GRADIENT, FGSM_PIXELS),
        *(FGSM_NORMALIZED, PGD, STRONG_PGD, TRANSFER_FGSM, TRANSFER_PGD, DEEPFOOL),
    )
}


def published_in(table: str) -> tuple[Measure, ...]:
    """Return the measures for which `table` can show the paper's figure."""
    return tuple(measure for measure in COLUMNS[table] if measure.published)
