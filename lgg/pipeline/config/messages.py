"""Messages for mistakes in the configuration: where, what is wrong, and the nearest valid word."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from lgg.pipeline.config.annotations import branches, child, is_model, tags


def merge(lines: Iterable[str]) -> Iterator[str]:
    """Yield `lines`, joining those that differ only in what each branch of a union expects at a key.

    Where a mistake deeper inside that key is reported, the less specific line is dropped.
    """
    expected: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        match = re.fullmatch(r"(.*?)(: expected )(.*)(, found .*)", line, re.DOTALL)
        if match is None:
            yield line
        else:
            expected.setdefault((match[1], match[4]), []).append(match[3])
    places = {place for place, _ in expected}
    for (place, found), wanted in expected.items():
        if not any(other.startswith(f"{place}[") for other in places):
            yield f"{place}: expected {' or '.join(dict.fromkeys(wanted))}{found}"


def describe(error: Any, raw: Mapping[str, Any], whole: type[BaseModel]) -> str:
    """Return one line for one of pydantic's errors: where in `raw`, what is wrong, what would be right.

    Args:
        error: one of pydantic's errors.
        raw: the configuration as read.
        whole: the model of the configuration.
    """
    path, annotation = _locate(error["loc"], raw, whole)
    where = ".".join(map(key_shown, path)) if path else "configuration"
    where = re.sub(r"\.(\d+)", r"[\1]", where)
    kind = error["type"]
    if kind in ("literal_error", "union_tag_invalid"):
        return _wrong_choice(where, error)
    if kind == "extra_forbidden":
        return f"{where}: {_unknown_key(path[-1], annotation)}"
    if kind == "union_tag_not_found":
        return f"{where}: the key {error['ctx']['discriminator']} is required{_entry_meant(path, raw)}"
    return f"{where}: {_what_is_wrong(error)}"


def _wrong_choice(where: str, error: Any) -> str:
    """Return the message for a value at `where` that is none of a few."""
    context = error["ctx"]
    valid = re.findall(r"'([^']*)'", context.get("expected") or context["expected_tags"])
    if str(error["loc"][-1]).startswith("literal["):  # a branch of a union: the others have a line each too
        return f"{where}: expected {' or '.join(map(repr, valid))}, found {shown(error['input'])}"
    given = context.get("tag", error["input"])
    suffix = f".{context['discriminator'].strip(chr(39))}" if error["type"] == "union_tag_invalid" else ""
    question = nearest(given, valid) if isinstance(given, str) else "."
    return f"{where}{suffix}: {shown(given)} is not a valid choice{question} Valid: {', '.join(valid)}"


def _unknown_key(key: str, annotation: Any) -> str:
    if moved := _moved(key, annotation):
        return moved
    valid = _fields(annotation)
    return f"unknown key{nearest(key, valid)} Valid keys here: {', '.join(valid)}"


def _what_is_wrong(error: Any) -> str:
    """Return what the value or the key of an error alone tells."""
    kind, given = error["type"], error["input"]
    if kind == "missing":
        return "this key is required"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"expected a section of keys and values, found {shown(given)}"
    if kind == "string_pattern_mismatch":
        return f"{shown(given)} is not allowed: {_pattern_in_words(error['ctx']['pattern'])}"
    if kind == "too_short":
        return f"the list needs at least {error['ctx']['min_length']} entry"
    if kind == "string_too_long":
        return f"the text is longer than {error['ctx']['max_length']} characters"
    if kind == "invalid_key":
        return f"keys must be text, put {shown(given)} in quotes"
    return f"expected {error['msg'].removeprefix('Input should be ')}, found {shown(given)}"


def _moved(key: str, annotation: Any) -> str | None:
    """Return where the value of a former key goes now; None if the models never had this key."""
    models = filter(is_model, branches(annotation))
    return next((model.former[key] for model in models if key in getattr(model, "former", ())), None)


def _entry_meant(path: Sequence[str], raw: Any) -> str:
    """Return a hint for a new entry without a kind: the existing entry that may be meant."""
    for part in path[:-1]:
        raw = raw[part] if _holds(raw, part) else {}
    others = [name for name in raw if name != path[-1]] if isinstance(raw, Mapping) and len(path) > 1 else []
    question = nearest(path[-1], others)
    return f" in this new entry{question}" if question != "." else ""


def shown(given: Any) -> str:
    """Return a value as messages quote it."""
    if given is None or isinstance(given, Mapping):
        return "nothing" if given is None else "a section"
    try:
        text = repr(given)
    except ValueError:  # an integer with more digits than Python prints
        return "a number with thousands of digits"
    return text if len(text) <= 100 else f"{text[:100]}…"


def key_shown(key: object) -> str:
    """Return a key as messages name it: one with a line break or the like would break the message."""
    return key if isinstance(key, str) and key.isprintable() and key else repr(key)


def listed(owner: str, mistakes: Sequence[str]) -> str:
    """Return how many mistakes `owner` has, and a line for each."""
    count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return "\n".join([f"{owner} has {count}:", *(f"  {line}" for line in mistakes)])


def _pattern_in_words(pattern: str) -> str:
    if pattern.startswith("^[a-z]"):
        return "use lower-case letters, digits and underscores, starting with a letter"
    return "use letters, digits, dots, hyphens and underscores, starting with a letter or digit; no slashes"


def _locate(location: Sequence[Any], raw: Any, whole: type[BaseModel]) -> tuple[list[str], Any]:
    """Return the path of a key as the user wrote it, and the annotation that the key belongs to.

    Pydantic's locations also contain the tags of unions; the configuration shows which parts are keys.
    """
    path: list[str] = []
    annotation: Any = whole
    owner: Any = whole
    value: Any = raw
    for part in location:
        if part == "[key]":
            continue
        options = branches(annotation)
        tagged = [m for m in options if is_model(m) and part in tags(m)]
        inside = value[part] if _holds(value, part) else None
        if tagged and not _holds(value, part):
            annotation = tagged[0]
            continue
        if not _holds(value, part) and not any(is_model(m) and part in m.model_fields for m in options):
            continue  # the name of a branch of a union
        path.append(str(part))
        owner, annotation = annotation, child(options, part)
        value = inside
    return path, owner


def _holds(value: Any, part: Any) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, Sequence) and not isinstance(value, str) and isinstance(part, int) and part < len(value)


def _fields(annotation: Any) -> list[str]:
    return [name for model in branches(annotation) if is_model(model) for name in model.model_fields]


#: names that papers and other code use for our keys
_SYNONYMS = {
    "lambda": "weight",
    "lamda": "weight",
    "lr": "learning_rate",
    "T": "temperature",
    "p": "power",
    "dataset": "source",
}


def nearest(word: Any, valid: Sequence[str] | Mapping[str, Any]) -> str:
    """Return "; did you mean …?" with the word of `valid` nearest to `word`, or a full stop if none is near."""
    names = [str(name) for name in valid]
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    close = close or [name for name in names if str(word).lower() in name][:1]
    if _SYNONYMS.get(str(word)) in names:
        close = [_SYNONYMS[str(word)]]
    return f"; did you mean {close[0]!r}?" if close else "."
