"""Snakemake's records of how each result was made, stored with the results, so that copies of a run keep them.

Snakemake reruns a job when its settings or code differ from those recorded for the path of its results, in
`.snakemake/metadata` of the working folder. If a run is copied to another name, folder or machine, or `.snakemake` is
removed, the records are missing, and Snakemake assumes that everything was made with the current settings. So the records
are copied into the run, and restored from there if they are missing.
"""

import contextlib
import os
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lgg.files import read_json, write_json

FILE = "made.json"
FORMAT = "lgg-made-1"
# Snakemake's folders: records of finished results, and marks for those whose job has not finished
METADATA = Path(".snakemake", "metadata")
INCOMPLETE = Path(".snakemake", "incomplete")
DATABASE = Path(".snakemake", "metadata.db")  # Snakemake's other storage of records
NAMED = 3  # largest number of files in a message


def forget(results: Path) -> None:
    """Remove what `keep` wrote: while jobs run, or after they are killed, it would describe older results."""
    (results / FILE).unlink(missing_ok=True)


def keep(results: Path) -> None:
    """Write Snakemake's records of the files of a run, a folder as the rules name it, to `results`/made.json.

    If this fails, for example on a full disk, the origin of copies of the run is unknown, which `give_back` reports there.
    """
    if not results.is_dir():
        return
    files = {}
    for path in sorted(path for path in results.rglob("*") if path.is_file()):
        with contextlib.suppress(OSError, ValueError):
            record = read_json(_entry(METADATA, path))
            files[path.relative_to(results).as_posix()] = {"bytes": path.stat().st_size, "record": record}
    with contextlib.suppress(OSError):
        write_json(results / FILE, {"format": FORMAT, "run": results.as_posix(), "files": files})


def give_back(results: Path) -> list[str]:
    """Restore Snakemake's records of how the files of a run were made, if it has none, and return messages for the user.

    Files whose size has changed are skipped. The others get back their original modification times: a copy's times follow the
    order of copying, which would make results look out of date to Snakemake.
    """
    if DATABASE.exists() or not results.is_dir():
        return []
    restored = 0
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        kept = read_json(results / FILE)
        for name, one in kept["files"].items() if kept["format"] == FORMAT else ():
            path = results / name
            if not _is_known(path) and path.is_file() and path.stat().st_size == one["bytes"]:
                _remember(path, _renamed(one["record"], kept["run"], results.as_posix()))
                restored += 1
    lines = []
    if restored:
        lines.append(
            f"{results} was copied here, or .snakemake was removed: restored the records of how {restored:,} of its files were "
            f"made from {results / FILE}; files affected by changed settings or code are made again."
        )
    return lines + _unknown(results)


def _unknown(results: Path) -> list[str]:
    """Return a message about networks and data of which neither Snakemake nor the run has a record, if any."""
    found = sorted(path for path in results.rglob("*.safetensors") if _is_made(path) and not _is_known(path))
    if not found:
        return []
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return [
        f"There is no record of how these files were made: {', '.join(map(str, found[:NAMED]))}{more} (copied without "
        f"{FILE}, or .snakemake was removed during a run). They are used as they are, whatever the settings; to make them "
        "again, remove them, or give the run another name."
    ]


def _is_made(path: Path) -> bool:
    """Return whether a file is a result, and not a temporary file or a checkpoint."""
    return not path.name.startswith((".", "checkpoint"))


def _is_known(path: Path) -> bool:
    return _entry(METADATA, path).exists() or _entry(INCOMPLETE, path).exists()


def _remember(path: Path, record: dict[str, Any]) -> None:
    INCOMPLETE.mkdir(parents=True, exist_ok=True)  # without it Snakemake assumes a folder of an old version
    write_json(_entry(METADATA, path), record)
    if made := record.get("endtime"):
        os.utime(path, (made, made))


def _renamed(record: dict[str, Any], before: str, after: str) -> dict[str, Any]:
    """Return a record with the paths of a run whose folder was renamed."""

    def renamed(path: str) -> str:
        return after + path.removeprefix(before) if path.startswith(f"{before}/") else path

    changed = {key: sorted(map(renamed, record[key])) for key in ("input", "log") if record.get(key)}
    checksums = {renamed(path): value for path, value in (record.get("input_checksums") or {}).items()}
    return record | changed | {"input_checksums": checksums}


def _entry(folder: Path, path: Path) -> Path:
    """Return Snakemake's file about `path` in `folder`: the path in Base64, split if it is long."""
    name = urlsafe_b64encode(str(path).encode()).decode()
    longest = _longest_name(folder) - 1
    parts = [name[start : start + longest] for start in range(0, len(name), longest)]
    return folder.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])


def _longest_name(folder: Path) -> int:
    ask: Callable[[Any, str], int] | None = getattr(os, "pathconf", None)
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return (ask(there, "PC_NAME_MAX") if ask else 0) or 255
