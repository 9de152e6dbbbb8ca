"""Generate the JSON schema for editors, and the tables of keys in config/README.md, from the models."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from lgg.files import write_text
from lgg.pipeline.config.annotations import branches, is_model, tags
from lgg.pipeline.config.run import Config

TABLES_BELOW = "<!-- The tables below are generated: make format -->"


def json_schema() -> str:
    """Return the JSON schema of the configuration, for editors. No key is required, since overlays have only some of them."""

    def without_required(node: Any) -> Any:
        if isinstance(node, dict):
            kept = {k: without_required(v) for k, v in node.items() if not (k == "required" and isinstance(v, list))}
            # an incomplete section may match several branches of a union
            return {"anyOf" if k == "oneOf" else k: v for k, v in kept.items()}
        return [without_required(item) for item in node] if isinstance(node, list) else node

    return json.dumps(without_required(Config.model_json_schema()), indent=2, ensure_ascii=False) + "\n"


def keys_table() -> str:
    """Return every key with its type, default and meaning as Markdown tables, one per section."""
    return "\n".join(_tables(Config, "", set()))


def _tables(model: type[BaseModel], prefix: str, seen: set[type[BaseModel]]) -> Iterator[str]:
    seen.add(model)
    yield f"### {prefix.rstrip('.') or 'top level'}\n\n{model.__doc__}\n"
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    below: list[tuple[type[BaseModel], str]] = []
    for name, field in model.model_fields.items():
        kinds = branches(field.annotation)
        star = ""
        if any(get_origin(kind) is dict for kind in kinds):
            star, kinds = ".NAME", [b for kind in kinds for b in branches(get_args(kind)[-1])]
        elif any(get_origin(kind) is list and any(map(is_model, branches(get_args(kind)[0]))) for kind in kinds):
            star, kinds = "[i]", [b for kind in kinds for b in branches(get_args(kind)[0])]
        models = [kind for kind in kinds if is_model(kind)]
        default = "needed" if field.is_required() else f"`{_default_in_json(field.default)}`"
        meaning = (field.description or " / ".join(m.__doc__ or "" for m in models)).replace("|", "\\|")
        plain = "".join(f"{_type_name(kind, ())} or " for kind in kinds if not is_model(kind))
        sections = {"": "section", ".NAME": "sections by name", "[i]": f"list of {plain}sections"}
        what = sections[star] if models else _type_name(field.annotation, field.metadata)
        yield f"| `{name}` | {what} | {default} | {meaning} |"
        for model_below in models:
            tag = (
                ""
                if len(models) == 1
                else f" with {'name' if 'name' in model_below.model_fields else 'loss'}: {min(tags(model_below))}"
            )
            below.append((model_below, f"{prefix}{name}{star}{tag}."))
    yield ""
    for model_below, path in below:
        if model_below not in seen:
            yield from _tables(model_below, path, seen)


def _default_in_json(default: Any) -> str:
    """Return a default as JSON; for a section, what differs from the defaults of its keys."""
    return json.dumps(default.model_dump(exclude_defaults=True) if isinstance(default, BaseModel) else default)


def _type_name(annotation: Any, metadata: Sequence[Any]) -> str:
    """Return a type and its bounds in words."""
    names: list[str] = []
    if get_origin(annotation) is dict:
        return "section of text, numbers, true or false, or null"
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_type_name(option, ()) for option in get_args(annotation))
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return _type_name(inner, metadata)
    if annotation is type(None):
        return "null"
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{option}`" for option in get_args(annotation))
    if get_origin(annotation) is list:
        return f"list of {_type_name(get_args(annotation)[0], ())}".replace("number", "numbers", 1)
    names.append(
        {int: "whole number", float: "number", bool: "true or false", str: "text"}.get(annotation, str(annotation))
    )
    flat = [item for entry in metadata for item in getattr(entry, "metadata", None) or [entry]]
    for symbol, attribute in ((">", "gt"), ("≥", "ge"), ("<", "lt"), ("≤", "le")):
        names += [f"{symbol} {getattr(item, attribute)}" for item in flat if getattr(item, attribute, None) is not None]
    return " ".join(names)


def write_documentation(folder: Path) -> None:
    """Write `folder`/schema.json, and the tables of keys below the marker in `folder`/README.md."""
    readme = folder / "README.md"
    prose, mark, _ = readme.read_text(encoding="utf-8").partition(TABLES_BELOW)
    write_text(readme, prose + mark + "\n\n" + keys_table())
    write_text(folder / "schema.json", json_schema())
