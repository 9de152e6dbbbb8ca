"""What was run, on which data and machine, for the opening page of the report."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lgg.files import read_json, write_text
from lgg.reporting.job_times import read_jobs


def write(folder: Path) -> None:
    """Write `folder`/overview.rst from provenance.json and the benchmarks of the run in `folder`."""
    jobs, _ = read_jobs(folder)
    write_text(
        folder / "overview.rst", overview(read_json(folder / "provenance.json"), len(jobs), jobs["seconds"].sum())
    )


def overview(provenance: Mapping[str, Any], jobs: int, seconds: float) -> str:
    """Return a field list in reStructuredText.

    Args:
        provenance: as `lgg.pipeline.provenance` writes it.
        jobs: number of jobs of the results.
        seconds: their wall time together.
    """
    configuration, git = provenance["configuration"], provenance["git"]
    data = configuration["data"]
    machine, versions = provenance["machine"], provenance["versions"]
    code = "not a git checkout" if git["commit"] is None else f"commit {git['commit']}"
    fields = {
        "Seeds": seeds_in_words(configuration),
        "Data": "; ".join([data.get("dataset") or data["source"], *map(_split, provenance["data"].items())]),
        "Images": "; ".join(_notes(provenance)),
        "Code": code + (", with changes that were not committed" if git["uncommitted_changes"] else ""),
        "Machine": f"{machine['processor']}, {machine['cores']} cores; {machine['system']}",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        "Time": f"{jobs:,} jobs of {_duration(seconds)} in all, several at once; ended {provenance['written']}",
    }
    return "".join(f":{name}: {_plain(text)}\n" for name, text in fields.items() if text)


def seeds_in_words(configuration: Mapping[str, Any]) -> str:
    """Return the number and list of a run's seeds, and those of sections with their own seeds."""
    own = {
        f"{name} ": part["seeds"]
        for name in ("distillation", "embedding", "robustness")
        if (part := configuration.get(name)) and part["seeds"]
    }
    parts = {"": configuration["seeds"]} | own
    return "; ".join(f"{name}{len(seeds)} ({', '.join(map(str, seeds))})" for name, seeds in parts.items())


def _split(entry: tuple[str, Mapping[str, Any]]) -> str:
    name, header = entry
    return f"{header['shape'][0]:,} {name} images of {len(header['classes'])} classes, SHA-256 {header['sha256'][:12]}…"


def _notes(provenance: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(note for header in provenance["data"].values() for note in header["notes"]))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{seconds / 60:.1f} min"


def _plain(text: str) -> str:
    return re.sub(r"([\\*`_|])", r"\\\1", " ".join(text.split()))
