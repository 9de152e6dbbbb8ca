"""How each result of a run was made, stored with the results, so that copies of a run keep it.

Snakemake makes results again when settings or code differ from those it has recorded for a result's path, in
`.snakemake/metadata` of its working folder. After a run was copied to another name, folder or machine, or `.snakemake` was
removed, there is no record, and Snakemake assumes that everything was made with the current settings. So its records are
copied into the run, and restored from there where they are missing.
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
# Snakemake's folders: records of finished results, and marks of those whose job has not ended
METADATA = Path(".snakemake", "metadata")
INCOMPLETE = Path(".snakemake", "incomplete")
DATABASE = Path(".snakemake", "metadata.db")  # its other way to store records
NAMED = 3  # files in a message, at most


def forget(results: Path) -> None:
    """Remove what `keep` wrote: while jobs run, or after they were killed, it would describe older results."""
    (results / FILE).unlink(missing_ok=True)


def keep(results: Path) -> None:
    """Write Snakemake's records of the files of a run, a folder as the rules name it, to `results`/made.json.

    Where it cannot be written, for example on a full disk, the origin of copies of the run is unknown, and they say so.
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
    """Restore Snakemake's records of how the files of a run were made, where it has none, and return lines for the user.

    Files whose size has changed are left out. The others get back the time at which they were made: a copy has times in the
    order of copying, from which Snakemake would conclude that results are out of date.
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
            f"{results} was copied here, or .snakemake was removed: how {restored:,} of its files were made was restored "
            f"from {results / FILE}; those that other settings or code affect are made again."
        )
    return lines + _unknown(results)


def _unknown(results: Path) -> list[str]:
    """Return a line about networks and data that neither Snakemake nor the run has a record of, if any."""
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
    """Return whether a file is a result, and neither temporary nor a checkpoint of training that continues."""
    return not path.name.startswith((".", "checkpoint"))


def _is_known(path: Path) -> bool:
    return _entry(METADATA, path).exists() or _entry(INCOMPLETE, path).exists()


def _remember(path: Path, record: dict[str, Any]) -> None:
    INCOMPLETE.mkdir(parents=True, exist_ok=True)  # without it Snakemake assumes that its folder is of an old version
    write_json(_entry(METADATA, path), record)
    if made := record.get("endtime"):
        os.utime(path, (made, made))


def _renamed(record: dict[str, Any], before: str, after: str) -> dict[str, Any]:
    """Return a record of a run whose folder has been renamed."""

    def renamed(path: str) -> str:
        return after + path.removeprefix(before) if path.startswith(f"{before}/") else path

    changed = {key: sorted(map(renamed, record[key])) for key in ("input", "log") if record.get(key)}
    checksums = {renamed(path): value for path, value in (record.get("input_checksums") or {}).items()}
    return record | changed | {"input_checksums": checksums}


def _entry(folder: Path, path: Path) -> Path:
    """Return Snakemake's own file about `path` in `folder`: the path in Base64, in parts where it is long."""
    name = urlsafe_b64encode(str(path).encode()).decode()
    longest = _longest_name(folder) - 1
    parts = [name[start : start + longest] for start in range(0, len(name), longest)]
    return folder.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])


def _longest_name(folder: Path) -> int:
    ask: Callable[[Any, str], int] | None = getattr(os, "pathconf", None)
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return (ask(there, "PC_NAME_MAX") if ask else 0) or 255
