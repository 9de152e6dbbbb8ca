"""Read the annotations of the configuration's models: the types behind an annotation, and the models that a key accepts."""

import types
from collections.abc import Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

#: keys that choose the kind of an entry, where kinds have different keys
KINDS = ("name", "loss")


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


#: keyed by id, since not every annotation is hashable; the annotation is kept too, so that its id is not reused
_BRANCHES: dict[int, tuple[Any, list[Any]]] = {}


def branches(annotation: Any) -> list[Any]:
    """Return the branches of an annotation without Annotated, Union and None."""
    if id(annotation) not in _BRANCHES:
        _BRANCHES[id(annotation)] = (annotation, _branches(annotation))
    return _BRANCHES[id(annotation)][1]


def _branches(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _branches(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [branch for option in get_args(annotation) for branch in _branches(option)]
    return [] if annotation is type(None) else [annotation]


def takes_none(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return takes_none(get_args(annotation)[0])
    return get_origin(annotation) in (Union, types.UnionType) and any(
        option is type(None) or takes_none(option) for option in get_args(annotation)
    )


def child(options: Sequence[Any], part: Any) -> Any:
    """Return the annotation of the key or entry `part` of one of `options`."""
    for option in options:
        if is_model(option) and part in option.model_fields:
            return option.model_fields[part].annotation
        if get_origin(option) in (dict, list):
            return get_args(option)[-1]
    return Any


def tags(model: type[BaseModel]) -> set[str]:
    """Return the words that make a union choose `model`."""
    return {tag for key in KINDS if key in model.model_fields for tag in get_args(model.model_fields[key].annotation)}
