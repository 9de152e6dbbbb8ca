"""One long file per section in place of a small file per network, and the small files again, with the same text.

A section's networks are in folders such as `gkd/seed0`, `teacher` or `figureA1/label_variation`. The long files name them
in their first columns, `method` and `seed`; the seed of a network that has none is empty.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

TABLES = ("history.csv", "evaluation.csv", "corruptions.csv", "label_variation.csv")
METRICS, LONG_METRICS = "metrics.json", "metrics.jsonl"
#: the long file of each kind of small one
LONG = {**{name: name for name in TABLES}, METRICS: LONG_METRICS}

KEY = ("method", "seed")
#: the cell of a column that a network's own file does not have; an empty cell is one that it has; pandas reads both as NaN
ABSENT = "NA"


class Network(NamedTuple):
    """A network of a section, as its folder is called."""

    method: str
    seed: int | None

    @classmethod
    def of(cls, folder: PurePosixPath) -> "Network":
        """Return the network of a folder, relative to its section's."""
        *parents, last = folder.parts
        seed = last.removeprefix("seed")
        if parents and seed != last and seed.isdecimal():
            return cls("/".join(parents), int(seed))
        return cls(folder.as_posix(), None)

    @property
    def folder(self) -> str:
        return self.method if self.seed is None else f"{self.method}/seed{self.seed}"

    @property
    def place(self) -> tuple[str, int]:
        """What networks are sorted by."""
        return self.method, -1 if self.seed is None else self.seed


def small_files(section: Path, name: str) -> dict[Network, str]:
    """Return the text of every file `name` below the folder of a section, by network, sorted."""
    found = {
        Network.of(PurePosixPath(path.parent.relative_to(section).as_posix())): path.read_text("utf-8")
        for path in section.glob(f"*/**/{name}")
    }
    return dict(sorted(found.items(), key=lambda item: item[0].place))


def join(name: str, files: Mapping[Network, str]) -> str:
    """Return the long file of small files `name`; ValueError where `split` would not give the same files again."""
    text = _join_metrics(files) if name == METRICS else _join_tables(files)
    if (again := split(name, text)) != dict(files):
        changed = next(network for network in files if again.get(network) != files[network])
        raise ValueError(f"{changed.folder}/{name} cannot be kept in one file with the others: its text would change")
    return text


def split(name: str, text: str) -> dict[Network, str]:
    """Return the small files `name` of which `text` is the long file."""
    return _split_metrics(text) if name == METRICS else _split_tables(text)


# --- tables -----------------------------------------------------------------------------------------------------------


def _join_tables(files: Mapping[Network, str]) -> str:
    tables = {network: list(csv.reader(io.StringIO(text, newline=""))) for network, text in files.items()}
    columns = merged(table[0] for table in tables.values())
    lines = [[*KEY, *columns]]
    for network, (header, *rows) in tables.items():
        place = {column: header.index(column) for column in header}
        key = [network.method, "" if network.seed is None else str(network.seed)]
        lines += [[*key, *(row[place[name]] if name in place else ABSENT for name in columns)] for row in rows]
    return _csv(lines)


def merged(headers: Iterable[list[str]]) -> list[str]:
    """Return all columns of several headers, in an order that each of them has; ValueError where there is none."""
    order: TopologicalSorter[str] = TopologicalSorter()
    for header in headers:
        for name in header:
            order.add(name)
        for before, after in pairwise(header):
            order.add(after, before)
    return list(order.static_order())


def _split_tables(text: str) -> dict[Network, str]:
    (_, _, *header), *lines = csv.reader(io.StringIO(text, newline=""))
    rows: dict[Network, list[list[str]]] = {}
    for method, seed, *row in lines:
        rows.setdefault(Network(method, int(seed) if seed else None), []).append(row)
    return {network: _own_columns(header, own) for network, own in rows.items()}


def _own_columns(header: list[str], rows: list[list[str]]) -> str:
    """Return a network's table without the columns that only other networks have."""
    kept = [place for place in range(len(header)) if any(row[place] != ABSENT for row in rows)]
    return _csv([[line[place] for place in kept] for line in (header, *rows)])


def _csv(lines: Iterable[list[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


# --- metrics ----------------------------------------------------------------------------------------------------------


def _join_metrics(files: Mapping[Network, str]) -> str:
    lines = ({**network._asdict(), "metrics": json.loads(text)} for network, text in files.items())
    return "".join(json.dumps(line) + "\n" for line in lines)


def _split_metrics(text: str) -> dict[Network, str]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    return {Network(line["method"], line["seed"]): json_text(line["metrics"]) for line in lines}


def json_text(content: Any) -> str:
    """Return `content` as jobs write it."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
