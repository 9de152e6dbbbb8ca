"""Restoring a run from what is published of it, so that Snakemake accepts its seeds as finished."""

import csv
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import yaml

from lgg.data.storage import read_header
from lgg.files import read_json
from publishing.long_files import LONG, json_text, split
from publishing.places import CONFIGURATION, JOB_TIMES, PROVENANCE, SECTIONS

REMADE = ("tables", "figures")  # these are made again, also of more seeds
# ... but Figure A1, since the positions of all images are not published
NOT_REMADE = "figureA1"


def restore(run: Path, published: Path) -> None:
    """Put what the folder `published` holds of a run into the run's folder, with one time for all files."""
    source = published / run.name
    if not (source / PROVENANCE).is_file():
        sys.exit(f"{source}: nothing is published of this run")
    if found := [name for name in SECTIONS if (run / name).exists()]:
        sys.exit(f"{run}: {', '.join(found)} exists already: continue that run, or move it away")
    _check_images(run, source)
    with tempfile.TemporaryDirectory(dir=run) as folder:
        new = Path(folder)
        small_again(source, new)
        _move(new, run)
    now = time.time()
    for path in run.rglob("*"):
        os.utime(path, (now, now))
    print(f"{run}: restored from {source}; of more seeds only the new ones are trained")


def _check_images(run: Path, source: Path) -> None:
    for name, published in read_json(source / PROVENANCE)["data"].items():
        images = run / f"data/{name}.safetensors"
        if not images.is_file():
            sys.exit(
                f"{images} does not exist: run the rule prepare_data first; images made later would be newer than the results"
            )
        if read_header(images)["sha256"] != published["sha256"]:
            sys.exit(f"{images}: not the images of the published results, whose SHA-256 is {published['sha256']}")


def small_again(source: Path, new: Path) -> None:
    """Write into the folder `new` the files of a run of which `source` holds the published ones."""
    long_names = set(LONG.values())
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        place = path.relative_to(source)
        is_long = len(place.parts) == 2 and path.name in long_names
        if not is_long and (place.parts[0] not in REMADE or path.stem == NOT_REMADE):
            _write(new / place, path.read_bytes())
    for section in SECTIONS:
        for name, long in LONG.items():
            if (source / section / long).is_file():
                for network, text in split(name, (source / section / long).read_text("utf-8")).items():
                    _write(new / section / network.folder / name, text.encode())
    _write(new / PROVENANCE, _whole_provenance(source).encode())
    if (source / JOB_TIMES).is_file():
        _write_job_times(source / JOB_TIMES, new)


def _whole_provenance(source: Path) -> str:
    configuration = yaml.safe_load((source / CONFIGURATION).read_text("utf-8"))
    return json_text({"configuration": configuration} | read_json(source / PROVENANCE))


def _write_job_times(table: Path, new: Path) -> None:
    """Write benchmarks and ends of logs from which `lgg.reporting.job_times` reads this table again."""
    with table.open(encoding="utf-8", newline="") as file:
        for job in csv.DictReader(file):
            name = f"{job['rule']}/{job['job']}" if job["job"] else job["rule"]
            benchmark = {"s": job["seconds"], "max_rss": job["max_rss_mb"], "cpu_time": job["cpu_seconds"]}
            lines = ("\t".join(cells) + "\n" for cells in (benchmark, (value or "NA" for value in benchmark.values())))
            _write(new / f"benchmarks/{name}.tsv", "".join(lines).encode())
            if job["work"]:
                end = f"job: {job['work']} s of work and {job['writing']} s of writing\n"
                _write(new / f"logs/{name}.log", f"restored from tables/job_times.csv\n{end}".encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _move(new: Path, run: Path) -> None:
    """Move what was restored into the run; sections last, which say that a run was restored."""
    for path in sorted(new.iterdir(), key=lambda path: path.name in SECTIONS):
        target = run / path.name
        if path.is_dir() and target.is_dir():  # logs of prepare_data
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            path.replace(target)
