"""Overlays: how files and ``--config`` are merged into a base configuration, key by key, as its models declare.

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
#: a number in YAML 1.2, but text in YAML 1.1, which Snakemake reads
EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


@dataclass(frozen=True)
class Plain:
    """An unquoted word of the command line: its text, and the number, boolean or null that YAML makes of it.

    The key decides which of the two is meant: a run may be called 007.
    """

    text: str
    value: Any


# --- the command line -------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """Read YAML, and keep the original text of numbers, booleans and nulls."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        value = super().construct_object(node, deep)
        plain = isinstance(node, yaml.ScalarNode) and node.style is None and not isinstance(value, str)
        return Plain(node.value, value) if plain else value


def read_arguments(arguments: Sequence[str], parsed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values given to ``--config``, as in a file, or as `Plain` where the key decides.

    Args:
        arguments: the arguments, each KEY=VALUE.
        parsed: what Snakemake made of them: below the first level only text, without its quotes. Python values, given by a
            program, are left as they are.
    """
    found: dict[str, Any] = {}
    for argument in arguments:
        key, _, value = argument.partition("=")
        with suppress(yaml.YAMLError, ValueError):  # then Snakemake kept it as text
            found = _added(found, {key: yaml.load(value, Loader=_Loader)})
    return {key: _retold(value, found.get(key)) for key, value in parsed.items()}


def _added(under: Any, over: Any) -> Any:
    """Return `over` merged into `under`, key by key; keys are text."""
    if not isinstance(over, Mapping):
        return over
    merged = dict(under) if isinstance(under, Mapping) else {}
    for key, value in over.items():
        text = key.text if isinstance(key, Plain) else key
        merged[text] = _added(merged.get(text), value)
    return merged


def _retold(parsed: Any, found: Any) -> Any:
    """Return `parsed`, with the values of `found` where those are not text."""
    if isinstance(parsed, Mapping) and isinstance(found, Mapping):
        return {key: _retold(value, found.get(key)) for key, value in parsed.items()}
    if isinstance(parsed, list) and isinstance(found, list) and len(parsed) == len(found):
        return [_retold(one, other) for one, other in zip(parsed, found, strict=True)]
    quoted = isinstance(found, str) and isinstance(parsed, (int, float))  # Snakemake drops the quotes
    return found if isinstance(found, Plain) or quoted else parsed


# --- texts ------------------------------------------------------------------------------------------------------------


def as_declared(value: Any, annotation: Any) -> Any:
    """Return a configuration whose words have the types that the keys of `annotation`, a model or a type, accept.

    A word of the command line stays text if its key accepts only text; otherwise it becomes the YAML value. Text becomes a
    number, boolean or null if its key accepts these and not text: 5e-4 is text in YAML 1.1, and every value is text in a
    configuration that another workflow received by ``--config`` and passes on.
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
    """Return the value written as `text`, if it is null or of one of the types `taken`; otherwise the text."""
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


# --- merging ----------------------------------------------------------------------------------------------------------


def lay_over(under: Any, over: Any, annotation: Any, path: str = "") -> tuple[Any, list[str]]:
    """Return `under` with `over` merged into it key by key, and a message for each removal of something that does not exist.

    Lists are replaced entirely. Keys keep their order, new ones come last. If `over` chooses another kind of entry, keys that
    only the former kind has are dropped. Null removes an entry, or a key that another kind of its entry has.

    Args:
        annotation: the model or type of both.
        path: their key, for the messages.
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
                        f"{where}: null removes an entry, but there is none of this name{nearest(key, before)}"
                    )
                merged[key] = None
            elif key in before or any(key in model.model_fields for model in options if is_model(model)):
                merged.pop(key, None)
            else:
                merged[key] = None  # an unknown key, refused like any other
            continue
        merged[key], below = lay_over(merged.get(key), value, child(options, key), where)
        lines += below
    return merged, lines


def _leftovers(under: Mapping[str, Any], over: Mapping[str, Any], options: Sequence[Any]) -> set[str]:
    """Return the keys of `under` that the kind chosen by `over` does not have."""
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
    """Return whether the kind of `entry` has `key`."""
    models = [option for option in options if is_model(option)]
    chosen = {entry[kind] for kind in KINDS if isinstance(entry.get(kind), str)}
    kinds = [model for model in models if chosen & tags(model)]
    return any(key in model.model_fields for model in kinds or models)


def _is_section(option: Any) -> bool:
    return get_origin(option) is dict and any(map(is_model, branches(get_args(option)[-1])))
