"""Reading published runs: tables, the values of each seed, metrics, settings."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lgg.files import read_json
from lgg.reporting.measures import FGSM_NORMALIZED, FGSM_PIXELS, Measure
from publishing.long_files import LONG_METRICS, Network
from publishing.places import (
    AUTHORS,
    CONFIGURATION,
    JOB_TIMES,
    LONGER,
    MAIN,
    MORE_SEEDS,
    PAPER_LENGTH,
    PROVENANCE,
    SECTIONS,
    TRAINED_IN_SECTIONS,
    WIDE,
)

#: a row of a table: text, numbers, NaN where there is none
Row = dict[str, Any]


@dataclass(frozen=True)
class PublishedRun:
    """What is published of a run, in `folder`; each file is read once."""

    folder: Path

    @property
    def exists(self) -> bool:
        return (self.folder / PROVENANCE).is_file()

    @cached_property
    def settings(self) -> dict[str, Any]:
        return dict(yaml.safe_load((self.folder / CONFIGURATION).read_text("utf-8")))

    @cached_property
    def provenance(self) -> dict[str, Any]:
        return dict(read_json(self.folder / PROVENANCE))

    @cached_property
    def geometry(self) -> dict[str, Any] | None:
        """What is known of the graphs of Figure 2; None where they are not published."""
        path = self.folder / "geometry/geometry.json"
        return dict(read_json(path)) if path.is_file() else None

    def has(self, table: str) -> bool:
        return (self.folder / f"tables/{table}.csv").is_file()

    def table(self, name: str) -> dict[str, Row]:
        """Return the rows of a table by name, in its order."""
        rows = _read(self.folder / f"tables/{name}.csv").to_dict("records")
        return {str(row["name"]): {str(column): value for column, value in row.items()} for row in rows}

    def job_times(self) -> pd.DataFrame:
        return _read(self.folder / JOB_TIMES).fillna({"job": ""})

    def rows(self, section: str, name: str) -> pd.DataFrame:
        """Return the long file `name` of a section: a row per row of each network, `seed` NaN where it has none."""
        return _read(self.folder / section / f"{name}.csv")

    def seeds(self, section: str, name: str, method: str | None = None) -> pd.DataFrame:
        """Return the rows of the networks that have a seed, of one method or of all."""
        found = self.rows(section, name).dropna(subset="seed").astype({"seed": int})
        return found if method is None else found[found["method"] == method]

    def metrics(self) -> Iterator[tuple[str, Network, dict[str, Any]]]:
        """Yield section, network and metrics of every network."""
        for section in sorted(SECTIONS):
            path = self.folder / section / LONG_METRICS
            for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
                entry = json.loads(line)
                yield section, Network(entry["method"], entry["seed"]), entry["metrics"]

    def epochs(self, section: str) -> float:
        """Return for how many epochs the networks of a section were trained."""
        return float(sum(phase["epochs"] for phase in self.settings[section]["training"]["schedule"]))

    @property
    def lengths(self) -> str:
        """The epochs of each section that trains networks of a table, in words."""
        epochs = {name: self.epochs(name) for name in TRAINED_IN_SECTIONS if self.settings[name]}
        if len(set(epochs.values())) == 1:
            return f"{next(iter(epochs.values())):g} epochs"
        return ", ".join(f"{name} {count:g}" for name, count in epochs.items()) + " epochs"

    # --- values by seed

    def student(self, method: str, measure: str) -> dict[int, float]:
        """Return a measure of each seed's student of `method`."""
        return _by_seed(self.seeds("distillation", "evaluation", method), measure)

    def attacked(self, method: str, measure: Measure) -> dict[int, float]:
        """Return the error of each seed's network of Table 3 in a test; of FGSM at the table's signal-to-noise ratio."""
        found = self.seeds("robustness", "evaluation", method).query("test == @measure.test")
        if measure in (FGSM_PIXELS, FGSM_NORMALIZED):
            found = found[found["level"] == self.settings["robustness"]["tests"]["fgsm_snr"]]
        return _by_seed(found, "value")

    def corrupted(self, method: str) -> pd.DataFrame:
        """Return the errors of the networks of Table 3 under corruptions, all seeds of `method`."""
        return self.seeds("robustness", "corruptions", method)


@cache
def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


def _by_seed(rows: pd.DataFrame, column: str) -> dict[int, float]:
    return dict(zip(rows["seed"].tolist(), rows[column].tolist(), strict=True))


@dataclass(frozen=True)
class Published:
    """All that is published, in `folder`."""

    folder: Path
    main_name: str = MAIN

    def run(self, name: str) -> PublishedRun:
        return PublishedRun(self.folder / name)

    @cached_property
    def main(self) -> PublishedRun:
        return self.run(self.main_name)

    @cached_property
    def wide(self) -> PublishedRun:
        return self.run(WIDE)

    @cached_property
    def longer(self) -> PublishedRun:
        return self.run(LONGER)

    @cached_property
    def more_seeds(self) -> PublishedRun:
        return self.run(MORE_SEEDS)

    @cached_property
    def authors(self) -> PublishedRun:
        return self.run(AUTHORS)

    @property
    def titled(self) -> dict[str, PublishedRun]:
        """The runs that train or evaluate networks of the paper's tables, by what distinguishes them."""
        own = {
            "here": self.main,
            "here, more seeds": self.more_seeds,
            "here, longer": self.longer,
            "here, full width": self.wide,
            "here, the paper's width": self.run(PAPER_LENGTH),
        }
        titled = {f"{title}: {run.lengths}": run for title, run in own.items() if run.exists}
        return titled | {"the authors' networks: 200 epochs": self.authors}

    def has_table(self, name: str) -> bool:
        return (self.folder / f"{name}.csv").is_file()

    def table(self, name: str) -> pd.DataFrame:
        """Return a table that is of no run."""
        return pd.read_csv(self.folder / f"{name}.csv")
