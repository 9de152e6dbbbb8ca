"""Publishing: what of a finished run is committed."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from lgg.errors import ConfigError
from lgg.files import read_json
from lgg.pipeline.config import Config, load
from publishing.long_files import LONG, join, json_text, small_files
from publishing.places import CONFIGURATION, PLANE_ERRORS, PROVENANCE, SECTIONS

#: what is copied as it is: one form of each table and figure next to its numbers
COPIED = ("tables/*.csv", "tables/*.md", "figures/*.png", "geometry/*.json", "timing/*")
#: what further seeds need and cannot make again: the teacher's answers, and Figure A1 and its errors, whose positions of all
#: images are not published
NEEDED = ("distillation/teacher/predictions.safetensors", "figures/figureA1.pdf", PLANE_ERRORS)
#: what is made of tables/job_times.csv alone
DERIVED = ("tables/job_times.md", "figures/job_times.png")
MOST_MODELS = 10_000_000  # bytes


def publish(run: Path, published: Path, with_models: bool = True) -> None:
    """Replace what is published of the run in folder `run`, in the folder `published`, by what it holds now."""
    provenance = _provenance(run)
    target = published / run.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=published.parent) as folder:
        new = Path(folder, run.name)
        new.mkdir()
        configuration = provenance.pop("configuration")
        models = models_of(run, _settings(run, configuration)) if with_models else set()
        _copy(run, new, models | kept(run))
        _write_long_files(run, new)
        (new / PROVENANCE).write_text(json_text(provenance), "utf-8")
        (new / CONFIGURATION).write_text(yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True), "utf-8")
        if target.exists():
            target.rename(Path(folder, "old"))
        new.rename(target)
    files = [path for path in target.rglob("*") if path.is_file()]
    print(f"{target}: {len(files)} files, {sum(path.stat().st_size for path in files):,} bytes")


def _provenance(run: Path) -> dict[str, Any]:
    try:
        return dict(read_json(run / PROVENANCE))
    except FileNotFoundError:
        sys.exit(f"{run / PROVENANCE} does not exist: publish a run that Snakemake has finished")


def _settings(run: Path, configuration: dict[str, Any]) -> Config:
    """Return the settings of a run; exit if they are those of a former version."""
    try:
        return load(configuration)
    except ConfigError as error:
        sys.exit(
            f"{run / PROVENANCE}: {error}\nIf a former version has made this run, run Snakemake once more with its "
            "configuration, which writes that file again."
        )


def kept(run: Path) -> set[Path]:
    """Return the files of a run that are copied as they are, without networks."""
    found = {path for pattern in (*COPIED, *NEEDED) for path in run.glob(pattern)}
    return found - {run / name for name in DERIVED}


def models_of(run: Path, settings: Config) -> set[Path]:
    """Return the networks that are published: the teacher, the first seed's students, and what attacks are crafted on.

    So are those of networks that nothing has evaluated yet: without them a further run would train them again.
    """
    models = {
        path for path in run.glob("*/*/seed*/model.safetensors") if not (path.parent / "evaluation.csv").is_file()
    }
    if distillation := settings.distillation:
        first = f"seed{(distillation.seeds or settings.seeds)[0]}"
        networks = [f"{name}/{first}" for name in distillation.active_methods]
        networks += ["teacher"] if distillation.teacher else []
        models |= {run / f"distillation/{name}/model.safetensors" for name in networks}
    if robustness := settings.robustness:
        source = f"{robustness.baseline}/seed{robustness.tests.transfer_seed}"
        models.add(run / f"robustness/{source}/model.safetensors")
    if missing := sorted(path for path in models if not path.is_file()):
        sys.exit(f"{missing[0]} does not exist: publish a run of which everything was made")
    if (size := sum(path.stat().st_size for path in models)) > MOST_MODELS:
        sys.exit(
            f"{run}: the networks to publish have {size:,} bytes together, more than {MOST_MODELS:,}; "
            "--without-models publishes the rest, to which no seed can be added"
        )
    return models


def _copy(run: Path, new: Path, files: set[Path]) -> None:
    for path in files:
        copy = new / path.relative_to(run)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _write_long_files(run: Path, new: Path) -> None:
    for section in SECTIONS:
        for name, long in LONG.items():
            if not (files := small_files(run / section, name)):
                continue
            try:
                text = join(name, files)
            except ValueError as error:
                sys.exit(f"{run / section}: {error}")
            (new / section).mkdir(exist_ok=True)
            (new / section / long).write_text(text, "utf-8")
