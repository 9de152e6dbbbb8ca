"""Overlays: how files and ``--config`` are laid over a base, key by key, by what the models of the configuration declare.

Imports neither torch nor torchvision.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import yaml

from lgg.pipeline.config.annotations import KINDS, branches, child, is_model, tags, takes_none
from lgg.pipeline.config.messages import nearest

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
#: what YAML 1.2 takes for a number and YAML 1.1, which Snakemake reads, for text
EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


@dataclass(frozen=True)
class Plain:
    """A word of the command line without quotes: its text, and the number, truth value or null that a file would hold.

    Its key decides which of the two it is: a run may be called 007.
    """

    text: str
    value: Any


# --- the command line -------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Reads YAML, and keeps the text of what is no text."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        value = super().construct_object(node, deep)
        plain = isinstance(node, yaml.ScalarNode) and node.style is None and not isinstance(value, str)
        return Plain(node.value, value) if plain else value


def read_arguments(arguments: Sequence[str], parsed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``--config`` was given, each value as a file would hold it, or as `Plain` where its key decides.

    Args:
        arguments: each KEY=VALUE.
        parsed: what Snakemake made of them: below the first level text alone, quotes lost. What it was given by a program,
            in values of Python, stays as it is.
    """
    found: dict[str, Any] = {}
    for argument in arguments:
        key, _, value = argument.partition("=")
        with suppress(yaml.YAMLError, ValueError):  # then Snakemake took the whole for text
            found = _added(found, {key: yaml.load(value, Loader=_Loader)})
    return {key: _retold(value, found.get(key)) for key, value in parsed.items()}


def _added(under: Any, over: Any) -> Any:
    """Return `over` on `under`, key by key; keys are their text."""
    if not isinstance(over, Mapping):
        return over
    merged = dict(under) if isinstance(under, Mapping) else {}
    for key, value in over.items():
        text = key.text if isinstance(key, Plain) else key
        merged[text] = _added(merged.get(text), value)
    return merged


def _retold(parsed: Any, found: Any) -> Any:
    """Return `parsed`, its words as `found` has them where they are no texts there."""
    if isinstance(parsed, Mapping) and isinstance(found, Mapping):
        return {key: _retold(value, found.get(key)) for key, value in parsed.items()}
    if isinstance(parsed, list) and isinstance(found, list) and len(parsed) == len(found):
        return [_retold(one, other) for one, other in zip(parsed, found, strict=True)]
    quoted = isinstance(found, str) and isinstance(parsed, (int, float))  # of which Snakemake takes the quotes away
    return found if isinstance(found, Plain) or quoted else parsed


# --- texts ------------------------------------------------------------------------------------------------------------


def as_declared(value: Any, annotation: Any) -> Any:
    """Return a configuration whose words and texts are what the keys of `annotation`, a model or a type, take.

    Where only text is taken a word of the command line stays text; elsewhere it is what a file would hold. A text becomes
    a number, a truth value or null where its key takes those and no text: 5e-4 is text to YAML 1.1, and all is text
    in a configuration that another workflow was given by ``--config`` and hands on.
    """
    options = branches(annotation)
    if isinstance(value, Mapping):
        items = value.items()
        return {key: as_declared(item, child(options, key)) if _may_be_text(item) else item for key, item in items}
    if isinstance(value, list):
        return [as_declared(item, child(options, 0)) if _may_be_text(item) else item for item in value]
    taken = {option for option in options if option in (bool, int, float, str)}
    words = {word for option in options if get_origin(option) is Literal for word in get_args(option)}
    if isinstance(value, Plain):
        if value.value is not None and (taken == {str} or value.text in words):
            return value.text
        value = value.value
    if not isinstance(value, str) or value in words or (taken == {str} and not takes_none(annotation)):
        return value
    return _from_text(value, taken)


def _may_be_text(value: Any) -> bool:
    return isinstance(value, (str, Plain, dict, list, Mapping))


def _from_text(text: str, taken: set[Any]) -> Any:
    """Return the value that `text` writes out, of one of the types `taken`, or null."""
    if str in taken and len(taken) > 1:  # an argument of any type: text in a file stays text
        return float(text) if EXPONENT.fullmatch(text) else text
    if text == "null":
        return None
    if bool in taken and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if int in taken and re.fullmatch(r"[+-]?\d{1,4000}", text):
        return int(text)
    if float in taken and NUMBER.fullmatch(text):
        return float(text)
    return text


# --- one over the other -----------------------------------------------------------------------------------------------


def lay_over(under: Any, over: Any, annotation: Any, path: str = "") -> tuple[Any, list[str]]:
    """Return `under` with `over` laid over it key by key, and a line for each thing taken away that is not there.

    Lists are replaced as a whole. Keys keep their order, new ones come last. Where `over` chooses another kind of an entry,
    what only the former kind has goes. Null takes away: an entry, or a key that another kind of its entry has.

    Args:
        annotation: the model or type of both.
        path: where they are, for the lines.
    """
    if not isinstance(over, Mapping):
        return over, []
    options = branches(annotation)
    before: Mapping[str, Any] = under if isinstance(under, Mapping) else {}
    merged, lines = {key: value for key, value in before.items() if key not in _leftovers(before, over, options)}, []
    for key, value in over.items():
        where = f"{path}.{key}" if path else str(key)
        if value is None and not _declared(key, {**merged, **over}, options):
            if any(get_origin(option) is dict for option in options):
                if key not in before and any(map(_is_section, options)):
                    lines.append(
                        f"{where}: null takes an entry away, but there is none of this name{nearest(key, before)}"
                    )
                merged[key] = None
            elif key in before or any(key in model.model_fields for model in options if is_model(model)):
                merged.pop(key, None)
            else:
                merged[key] = None  # no such key, which is refused like any other
            continue
        merged[key], below = lay_over(merged.get(key), value, child(options, key), where)
        lines += below
    return merged, lines


def _leftovers(under: Mapping[str, Any], over: Mapping[str, Any], options: Sequence[Any]) -> set[str]:
    """Return the keys of `under` that the kind which `over` chooses does not have."""
    for key in (*KINDS, "source"):
        kind = over.get(key)
        if not isinstance(kind, str) or kind == under.get(key):
            continue
        for model in filter(is_model, options):
            if kind in tags(model):
                return {name for name in under if name not in model.model_fields}
            if foreign := getattr(model, "not_of", {}).get(kind):
                return set(foreign)
    return set()


def _declared(key: Any, entry: Mapping[str, Any], options: Sequence[Any]) -> bool:
    """Return whether the kind that `entry` is has `key`."""
    models = [option for option in options if is_model(option)]
    chosen = {entry[kind] for kind in KINDS if isinstance(entry.get(kind), str)}
    kinds = [model for model in models if chosen & tags(model)]
    return any(key in model.model_fields for model in kinds or models)


def _is_section(option: Any) -> bool:
    return get_origin(option) is dict and any(map(is_model, branches(get_args(option)[-1])))
