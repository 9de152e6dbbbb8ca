"""What was run, on which data and machine, with which versions; written with the results. Does not import torch."""

import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lgg import __version__
from lgg.files import read_json, write_json
from lgg.pipeline import machine
from lgg.pipeline.config import Config

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "seaborn",
    "snakemake",
)


def write(folder: Path, config: Config, repository: Path, data_files: list[str]) -> None:
    """Write `folder`/provenance.json, unless only the time has changed."""
    path = folder / "provenance.json"
    content = describe(config, repository, data_files)
    try:
        old = read_json(path)
    except (OSError, ValueError):
        old = {}
    if not isinstance(old, dict) or {key: value for key, value in old.items() if key != "written"} != content:
        write_json(path, content | {"written": datetime.now(UTC).isoformat(timespec="seconds")})


def describe(config: Config, repository: Path, data_files: list[str]) -> dict[str, Any]:
    """Return configuration, commit, versions, machine, and the SHA-256 of the data."""
    from lgg.data.storage import read_header  # imports numpy, which a dry run does not need

    headers = {Path(path).stem: read_header(path) for path in data_files if Path(path).exists()}
    changes = _git(repository, "status", "--porcelain", "--untracked-files=no")
    return {
        "configuration": config.model_dump(mode="json"),
        "git": {
            "commit": _git(repository, "rev-parse", "HEAD"),
            "uncommitted_changes": None if changes is None else bool(changes),
        },
        "data": {
            name: {key: header[key] for key in ("shape", "classes", "notes", "sha256")}
            for name, header in headers.items()
        },
        "versions": {
            "python": platform.python_version(),
            "lgg": __version__,
            **{name: _version(name) for name in PACKAGES},
        },
        "machine": machine.describe(),
    }


def _git(repository: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None  # not a git checkout, or no git here
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
