"""The paper's figures, from config/paper.yaml, and which of them the tables show."""

import difflib
import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lgg.errors import ConfigError
from lgg.pipeline.config.corruptions import Corruptions
from lgg.pipeline.config.distillation import TEACHER
from lgg.pipeline.config.messages import key_shown, listed, nearest, shown
from lgg.pipeline.config.robustness import RobustnessTests
from lgg.pipeline.config.run import COMPARISONS, Config
from lgg.pipeline.config.types import Problem
from lgg.reporting.measures import MEASURES

#: section whose methods are the rows of a table
SECTION_OF_TABLE = {
    "table1": "distillation",
    "table2": "embedding",
    "table3": "robustness",
    "robustness": "robustness",
}
TABLES = (*SECTION_OF_TABLE, "tableA1")
#: by table, method and measure
Figures = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class Paper:
    """The paper's figures that are comparable with a run; none if the run's images are others."""

    figures: Figures = field(default_factory=dict)

    def row(self, table: str, method: str, constants: Container[str] | None = None) -> dict[str, float]:
        """Return the figures of a row by measure, without those measured with other constants than the configured ones.

        Args:
            table: one of `TABLES`.
            method: name of the row.
            constants: what `constants_of_the_paper` returns; None if the table depends on none.
        """
        own = self.figures.get(table, {}).get(method, {})
        return {
            measure: figure
            for measure, figure in own.items()
            if constants is None or all(constant in constants for constant in MEASURES[measure].constants)
        }


def constants_of_the_paper(tests: RobustnessTests | None, corruptions: Corruptions | None) -> set[str]:
    """Return what is configured as in the paper: keys of `robustness.tests`, and "corruptions" for the full benchmark."""
    alike = {"corruptions"} if corruptions is not None and corruptions.is_benchmark else set()
    if tests is None:
        return alike
    defaults = RobustnessTests()
    # whether PGD ends at the first success is a difference between the published code and this one, not a constant
    pgd = tests.pgd.model_copy(update={"stop_at_success": defaults.pgd.stop_at_success})
    tests = tests.model_copy(update={"pgd": pgd})
    return alike | {key for key in RobustnessTests.model_fields if getattr(tests, key) == getattr(defaults, key)}


def read_paper(path: Path, config: Config) -> Paper:
    """Return the figures in the file `path`; none if the run has other images than the paper.

    Raises ConfigError with one message for all mistakes in it, whatever the images, and where there is no such file.
    """
    if not path.is_file():
        raise ConfigError(
            f"{path}: there is no such file. Restore it, or leave it empty to show no figures of the paper."
        )
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    figures = {} if raw is None else raw
    if mistakes := [f"{where}: {text}" if where else text for where, text in _problems(figures, config)]:
        raise ConfigError(
            f"{listed(str(path), mistakes)}\nThe format is `TABLE: {{METHOD: {{MEASURE: value}}}}`. Nothing was run."
        )
    if not config.data.beside_the_paper:
        return Paper()
    return Paper(
        {
            table: {str(method): {measure: float(one) for measure, one in row.items()} for method, row in rows.items()}
            for table, rows in figures.items()
        }
    )


def _problems(figures: Any, config: Config) -> Iterator[Problem]:
    if not isinstance(figures, Mapping):
        yield "", f"expected tables, found {shown(figures)}"
        return
    for table, rows in figures.items():
        if table not in TABLES:
            yield key_shown(table), f"unknown table{nearest(table, TABLES)} Valid: {', '.join(TABLES)}"
        elif not isinstance(rows, Mapping):
            yield table, f"expected methods, found {shown(rows)}"
        else:
            yield from _row_problems(table, rows, config)


def _row_problems(table: str, rows: Mapping[Any, Any], config: Config) -> Iterator[Problem]:
    measures = [name for name, measure in MEASURES.items() if table in measure.tables and measure.published]
    for method, figures in rows.items():
        where = f"{table}.{key_shown(method)}"
        yield from ((where, text) for text in _method_problems(table, str(method), rows, config))
        if not isinstance(figures, Mapping):
            yield where, f"expected measures and values, found {shown(figures)}"
            continue
        for measure, figure in figures.items():
            key = f"{where}.{key_shown(measure)}"
            if measure not in measures:
                yield key, f"unknown measure of {table}{nearest(measure, measures)} Valid: {', '.join(measures)}"
            elif isinstance(figure, bool) or not isinstance(figure, int | float) or not math.isfinite(figure):
                yield key, f"expected a number, found {shown(figure)}"
            elif MEASURES[measure].unit in ("%", "points") and not -100 <= figure <= 100:
                yield key, f"expected a percentage from -100 to 100, found {shown(figure)}"


def _method_problems(table: str, method: str, rows: Mapping[Any, Any], config: Config) -> Iterator[str]:
    """Yield a problem if a name has the wrong form or looks like a misspelt row; rows that the run lacks are allowed."""
    section, dot, name = method.rpartition(".")
    if table == "tableA1" and (not dot or section not in COMPARISONS):
        yield f"{method!r} is not SECTION.METHOD with one of the sections {', '.join(COMPARISONS)}"
        return
    part = getattr(config, SECTION_OF_TABLE.get(table, section))
    known = [] if part is None else [*part.methods, *([TEACHER] if table == "table1" else [])]
    if part is None or name in known:
        return
    prefix = f"{section}." if dot else ""
    without_figures = [other for other in known if prefix + other not in rows]
    if close := difflib.get_close_matches(name, without_figures, n=1, cutoff=0.8):
        yield f"unknown method; did you mean {prefix + close[0]!r}?"
