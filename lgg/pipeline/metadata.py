"""How each result of a run was made, kept beside the results, so that a copied run is not taken for what it is not.

Snakemake makes results again when settings or code differ from those it remembers, in `.snakemake/metadata` of the folder
that it works in, by a result's path. Of a run that was copied to another name, folder or machine, or whose `.snakemake` is
lost, it remembers nothing, and takes all that is there for made by whatever settings are given now. So what it remembers is
copied into the run, and given back to it where it is missing.
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
# Snakemake's folders: what it remembers of finished results, and marks of those whose job has not ended
METADATA = Path(".snakemake", "metadata")
INCOMPLETE = Path(".snakemake", "incomplete")
DATABASE = Path(".snakemake", "metadata.db")  # its other way to remember
NAMED = 3  # as many files are named in a message


def forget(results: Path) -> None:
    """Remove what `keep` wrote: while jobs run, and where their end is not seen, it would be of older results."""
    (results / FILE).unlink(missing_ok=True)


def keep(results: Path) -> None:
    """Write what Snakemake remembers of the files of a run, a folder as the rules name it, to `results`/made.json.

    Where it cannot be written, on a full disk for one, copies of the run are said to be unknown.
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
    """Let Snakemake remember again how the files of a run were made, where it does not, and return lines for the user.

    Files whose size is not the kept one are left out. The others get the time at which they were made back, since a copy
    has times in the order of copying, by which Snakemake would make results again.
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
            f"{results} was copied here, or .snakemake was removed: Snakemake remembers again how {restored:,} of its files "
            f"were made ({results / FILE}), and makes those again that other settings or code concern."
        )
    return lines + _unknown(results)


def _unknown(results: Path) -> list[str]:
    """Return a line about networks and data of which neither Snakemake nor the run knows how they were made, if any."""
    found = sorted(path for path in results.rglob("*.safetensors") if _is_made(path) and not _is_known(path))
    if not found:
        return []
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return [
        f"Nothing is known of how {', '.join(map(str, found[:NAMED]))}{more} came to be (copied without {FILE}, or "
        ".snakemake was removed during a run). They are taken as they are, whatever the settings; to have them made again, "
        "remove them, or give the run another name."
    ]


def _is_made(path: Path) -> bool:
    """Return whether a file is a result: no temporary file, and no checkpoint of a training that goes on."""
    return not path.name.startswith((".", "checkpoint"))


def _is_known(path: Path) -> bool:
    return _entry(METADATA, path).exists() or _entry(INCOMPLETE, path).exists()


def _remember(path: Path, record: dict[str, Any]) -> None:
    INCOMPLETE.mkdir(parents=True, exist_ok=True)  # without it Snakemake takes its folder for one of an old version
    write_json(_entry(METADATA, path), record)
    if made := record.get("endtime"):
        os.utime(path, (made, made))


def _renamed(record: dict[str, Any], before: str, after: str) -> dict[str, Any]:
    """Return a record of a run whose folder has another name now."""

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
