"""Reading the configuration: merges overlays into the base, reports all mistakes at once, and checks the run's files."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lgg.data import own_files
from lgg.errors import ConfigError, DataError
from lgg.pipeline.config.messages import describe, listed, merge
from lgg.pipeline.config.overlays import as_declared, lay_over
from lgg.pipeline.config.run import Config
from lgg.pipeline.config.types import Problem, Section

#: the folder in results/ that is committed
PUBLISHED = "published"


def load(*layers: Mapping[str, Any]) -> Config:
    """Return the validated configuration: the first of `layers` with the others merged into it in order.

    Raises ConfigError with one message for all mistakes: each with the path of its key and, for an unknown word, the nearest
    valid one.
    """
    config, mistakes = _read(layers)
    return _unless(mistakes, config)


def plan(*layers: Mapping[str, Any], folder: Path) -> Config:
    """Return what `load` does, for a configuration that is about to run in `folder`; checks the files there too.

    Raises ConfigError as `load` does, and also if data are missing or too few for what is configured, if the run's folder
    cannot be written, or if a test would test nothing.
    """
    config, mistakes = _read(layers, folder)
    return _unless(mistakes, config)


def _unless(mistakes: Sequence[str], config: Config) -> Config:
    if not mistakes:
        return config
    raise ConfigError(f"{listed('The configuration', mistakes)}\nconfig/README.md lists every key. Nothing was run.")


def _read(layers: Sequence[Mapping[str, Any]], folder: Path | None = None) -> tuple[Config, list[str]]:
    """Return the readable part of the configuration, and a line for each mistake."""
    raw, mistakes = as_declared(layers[0], Config), []
    for layer in layers[1:]:
        raw, lines = lay_over(raw, as_declared(layer, Config), Config)
        mistakes += lines
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        mistakes += merge(describe(item, raw, Config) for item in errors)
        config = _readable(raw, unreadable={item["loc"][0] for item in errors if item["loc"]})
    if folder is not None:
        mistakes += [f"{path}: {text}" for path, text in _file_problems(config, folder)]
        mistakes += [f"{path}: {text}" for path, text in _all_problems(config, lambda one: one.file_problems(folder))]
    return config, [*mistakes, *(f"{path}: {text}" for path, text in _all_problems(config, lambda one: one.problems()))]


def _readable(raw: Mapping[str, Any], unreadable: set[Any]) -> Config:
    """Return the sections of `raw`, with None for those that have an invalid key.

    This way mistakes in the other sections are reported too.
    """
    fields = set(Config.model_fields)
    read = {name: _reader(name).validate_python(raw[name]) for name in fields.intersection(raw) - unreadable}
    return Config.model_construct(**(dict.fromkeys(unreadable & fields) | read))


@cache
def _reader(name: str) -> TypeAdapter[Any]:
    annotation = Config.model_fields[name].annotation
    return TypeAdapter(Any if annotation is None else annotation)


def _all_problems(section: Section, of: Callable[[Section], Iterable[Problem]]) -> Iterator[Problem]:
    """Yield the problems `of` a section and of all sections in it."""
    yield from of(section)
    for name, value in section:
        for path, part in _parts(value, name):
            yield from ((f"{path}.{key}", text) for key, text in _all_problems(part, of))


def _parts(value: Any, path: str) -> Iterator[tuple[str, Section]]:
    """Yield the sections in the value of a key, each with its path."""
    if isinstance(value, Section):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _parts(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _parts(item, f"{path}[{number}]")


def _file_problems(config: Config, folder: Path) -> Iterator[Problem]:
    """Yield what prevents running `config` in `folder`, to which paths are relative; counts the user's own images."""
    yield from _place_problems(config.run, folder)
    if config.robustness:
        yield from config.robustness.tests.strength_problems()
    if config.data is None or config.data.source not in ("arrays", "image_folder") or config.data.path is None:
        return
    path = folder / config.data.path
    if not path.is_dir():
        yield "data.path", f"there is no folder {path}. Put your data there or correct the path"
        return
    try:
        found = own_files.survey(config.data.source, path)
    except DataError as error:
        yield "data.path", str(error).removeprefix("data.path: ")
        return
    config.data.take_survey(found)


def _place_problems(run: str | None, folder: Path) -> Iterator[Problem]:
    """Yield why the results of `run` cannot be written in `folder`."""
    if run is None:
        return
    if run.lower() == PUBLISHED:
        yield "run", f"results/{run}/ holds the results published with the project; choose another name"
    for place in (folder / "results", folder / "results" / run):
        if (place.exists() or place.is_symlink()) and not place.is_dir():
            yield "run", f"{place} is a file, but a folder is needed; choose another name, or move the file"
