"""The tensors of files that PyTorch pickled, read without running anything of them.

A pickle is a program: loading one calls whatever functions it names. Here its instructions are followed by an interpreter
that calls nothing. What a call would have made becomes a note of what was called and of the state it would have been
given; only descriptions of tensors, which PyTorch writes as calls of a few known functions, become tensors.
"""

import io
import pickletools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lgg.errors import ModelFileError

LONGEST_PICKLE = 1 << 24  # bytes of instructions; those of a network have some hundred for each tensor
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # PyTorch's number at the beginning of files written before version 1.6
WRAPPERS = ("net", "network", "model", "state_dict")  # keys of dictionaries that scripts save networks in
CHILDREN = ("_parameters", "_buffers", "_modules")  # where a module has its tensors and its modules

DTYPES = {
    f"{kind}Storage": dtype
    for kind, dtype in {
        "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
        "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}  # fmt: skip

#: gives the bytes of the storage of a key; KeyError if there is none
ReadStorage = Callable[[str], bytes]


@dataclass(frozen=True)
class Unread:
    """A tensor of a file: its shape, and a function that reads it."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]


def read_tensors(path: Path) -> dict[str, Unread]:
    """Return the tensors of a network that PyTorch pickled, whole or as a state dict, by their names in a state dict.

    Raises ModelFileError if the file is not one of PyTorch's, is damaged, or has no network that can be read this way.
    """
    try:
        root, read = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        return dict(_state_dict(root, read))
    except OSError:
        raise
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    except Exception as error:  # the bytes of a stranger can break an interpreter in any way
        reason = f"{type(error).__name__}: {error}"
        raise ModelFileError(f"{path}: damaged, or not a file written by torch.save ({reason[:200]})") from None


# ---- what the instructions make ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Name:
    """A function or class that a pickle names; it is not looked up."""

    module: str
    name: str


@dataclass(eq=False)
class Made:
    """What calling `called` would have made, with the state and the items that it would have been given."""

    called: Any
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """Numbers in another part of the file."""

    dtype: torch.dtype
    key: str
    count: int


@dataclass(frozen=True, eq=False)
class Described:
    """A tensor: the numbers of a storage from `offset` on, in steps of `stride`."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Mark:
    """Where the arguments of an instruction begin."""


def _interpret(file: io.BytesIO, refer: Callable[[Any], Any]) -> Any:
    """Return what the pickle at the place of `file` describes, and leave the file behind it.

    Args:
        refer: returns what an identifier stands for that is not in the pickle.
    """
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for instruction, argument, _ in pickletools.genops(file):
        name = instruction.name
        if name in _LITERALS:
            stack.append(argument)
        elif name in _SIMPLE:
            _SIMPLE[name](stack)
        elif name in ("PROTO", "FRAME"):
            continue
        elif name == "STOP":
            return stack.pop()
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(Name(*str(argument).split(" ", 1)))
        elif name == "BINPERSID":
            stack.append(refer(stack.pop()))
        else:
            raise ModelFileError(f"its pickle has the instruction {name}, which torch.save does not use")
    raise ValueError("the pickle has no end")


_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip


def _to_mark(stack: list[Any]) -> list[Any]:
    """Remove and return what is above the last mark, which is removed too."""
    place = len(stack) - 1
    while not isinstance(stack[place], _Mark):
        place -= 1
        if place < 0:
            raise ValueError("a mark is missing")
    above = stack[place + 1 :]
    del stack[place:]
    return above


def _tuple(stack: list[Any], count: int) -> None:
    stack[len(stack) - count :] = [tuple(stack[len(stack) - count :])]


def _pairs(flat: list[Any]) -> dict[Any, Any]:
    """Return a dictionary of keys and values in turns.

    Keys are text or numbers: comparing what a stranger nests might take forever.
    """
    keys = flat[::2]
    if not all(isinstance(key, str | int | float) for key in keys):
        raise ValueError("a key of a dictionary is neither text nor a number")
    return dict(zip(keys, flat[1::2], strict=True))


def _set_items(stack: list[Any], items: dict[Any, Any]) -> None:
    target = stack[-1]
    if isinstance(target, Made):
        target = target.items
    if not isinstance(target, dict):
        raise ValueError("items of what is not a dictionary")
    target.update(items)


def _append(stack: list[Any], values: list[Any]) -> None:
    if isinstance(stack[-1], list):
        stack[-1].extend(values)


def _set_item(stack: list[Any]) -> None:
    value, key = stack.pop(), stack.pop()
    _set_items(stack, _pairs([key, value]))


def _append_one(stack: list[Any]) -> None:
    value = stack.pop()
    _append(stack, [value])


def _give_state(stack: list[Any]) -> None:
    state = stack.pop()
    if isinstance(stack[-1], Made):
        stack[-1].state = state


def _name(stack: list[Any]) -> None:
    name, module = stack.pop(), stack.pop()
    stack.append(Name(str(module), str(name)))


def _reduce(stack: list[Any]) -> None:
    arguments, called = stack.pop(), stack.pop()
    stack.append(_call(called, arguments))


def _call(called: Any, arguments: Any) -> Any:
    """Return the tensor or dictionary that one of a few known calls describes, for others a note of the call."""
    if called == Name("collections", "OrderedDict"):
        given = arguments[0] if arguments else []
        return _pairs([each for pair in given for each in pair])
    if called in (Name("torch._utils", "_rebuild_tensor_v2"), Name("torch._utils", "_rebuild_tensor")):
        return _describe(*arguments[:4])
    if called in (Name("torch._utils", "_rebuild_parameter"), Name("torch._utils", "_rebuild_parameter_with_state")):
        return arguments[0]
    return Made(called)


_SIMPLE: dict[str, Callable[[list[Any]], None]] = {
    "NONE": lambda stack: stack.append(None),
    "NEWTRUE": lambda stack: stack.append(True),
    "NEWFALSE": lambda stack: stack.append(False),
    "MARK": lambda stack: stack.append(_Mark()),
    "POP": lambda stack: stack.__delitem__(-1),
    "POP_MARK": lambda stack: _to_mark(stack).clear(),
    "DUP": lambda stack: stack.append(stack[-1]),
    "EMPTY_LIST": lambda stack: stack.append([]),
    "EMPTY_TUPLE": lambda stack: stack.append(()),
    "EMPTY_DICT": lambda stack: stack.append({}),
    "EMPTY_SET": lambda stack: stack.append(Made(Name("builtins", "set"))),
    "LIST": lambda stack: stack.append(_to_mark(stack)),
    "TUPLE": lambda stack: stack.append(tuple(_to_mark(stack))),
    "TUPLE1": lambda stack: _tuple(stack, 1),
    "TUPLE2": lambda stack: _tuple(stack, 2),
    "TUPLE3": lambda stack: _tuple(stack, 3),
    "DICT": lambda stack: stack.append(_pairs(_to_mark(stack))),
    "SETITEM": _set_item,
    "SETITEMS": lambda stack: _set_items(stack, _pairs(_to_mark(stack))),
    "APPEND": _append_one,
    "APPENDS": lambda stack: _append(stack, _to_mark(stack)),
    "ADDITEMS": lambda stack: _to_mark(stack).clear(),
    "STACK_GLOBAL": _name,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "BUILD": _give_state,
}


# ---- tensors -------------------------------------------------------------------------------------------------------


def _describe(storage: Any, offset: Any, size: Any, stride: Any) -> Described:
    """Return a tensor that lies within its storage and has no more values than that."""
    numbers = [offset, *size, *stride]
    if not isinstance(storage, Storage) or not all(isinstance(one, int) and 0 <= one < 2**40 for one in numbers):
        raise ValueError("a tensor's shape is not of numbers")
    if len(size) != len(stride) or len(size) > 8:
        raise ValueError(f"a tensor has {len(size)} dimensions and {len(stride)} strides")
    values, last = 1, offset
    for length, step in zip(size, stride, strict=True):
        values, last = values * length, last + max(0, length - 1) * step
    if values > storage.count or (values and last >= storage.count):
        raise ValueError(f"a tensor has more values than the {storage.count} of its storage")
    return Described(storage, offset, tuple(size), tuple(stride))


def _load(described: Described, read: ReadStorage) -> Tensor:
    storage = described.storage
    content = read(storage.key)
    if len(content) != storage.count * storage.dtype.itemsize:
        raise ModelFileError(f"the storage {storage.key!r} has {len(content):,} bytes, other than its tensor states")
    if not storage.count:
        return torch.empty(described.size, dtype=storage.dtype)
    numbers = torch.frombuffer(bytearray(content), dtype=storage.dtype)
    return numbers.as_strided(described.size, described.stride, described.offset).clone(
        memory_format=torch.contiguous_format
    )


def _refer(identifier: Any) -> Any:
    """Return the storage, or in older files the class, that a persistent identifier stands for."""
    if identifier[0] == "module":  # (_, class, its file, its source text), for the classes of modules
        return identifier[1]
    if identifier[0] != "storage" or (len(identifier) > 5 and identifier[5] is not None):
        raise ModelFileError(
            "a storage is part of another one, as in very old files of PyTorch, which is not supported"
        )
    kind, key, count = identifier[1], identifier[2], identifier[4]
    if not isinstance(kind, Name) or kind.name not in DTYPES:
        raise ModelFileError(f"it has tensors of the type {getattr(kind, 'name', kind)!r}, which is not supported")
    if not isinstance(count, int) or not isinstance(key, str | int):
        raise ValueError("a storage without a size")
    return Storage(DTYPES[kind.name], str(key), count)


# ---- the two formats -----------------------------------------------------------------------------------------------


def _read_zip(path: Path) -> tuple[Any, ReadStorage]:
    """Return the root and the storages of a file of PyTorch 1.6 or newer: a ZIP archive without compression."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        places = {place.filename.partition("/")[2]: place for place in archive.infolist()}

    def read(member: str) -> bytes:
        place = places[member]
        if place.compress_type != zipfile.ZIP_STORED or place.file_size > size:
            raise ModelFileError(f"{member} is compressed, or states a size larger than the file")
        with zipfile.ZipFile(path) as archive:
            return archive.read(place)

    if "data.pkl" not in places:
        raise ModelFileError("an archive without data.pkl, so not a file written by torch.save")
    if "byteorder" in places and read("byteorder") != b"little":
        raise ModelFileError("written on a machine with another order of bytes, which is not supported")
    return _interpret(_limited(read("data.pkl")), _refer), lambda key: read(f"data/{key}")


def _read_legacy(path: Path) -> tuple[Any, ReadStorage]:
    """Return the root and the storages of a file of an older PyTorch: pickles one after the other, then the numbers."""
    file = io.BytesIO(path.read_bytes())

    if _interpret(file, _refer) != LEGACY_MAGIC:
        raise ModelFileError("not a file written by torch.save")
    _interpret(file, _refer)  # the version
    if _interpret(file, _refer).get("little_endian") is not True:
        raise ModelFileError("written on a machine with another order of bytes, which is not supported")
    found: dict[str, Storage] = {}

    def refer(identifier: Any) -> Any:
        made = _refer(identifier)
        if isinstance(made, Storage):
            found[made.key] = made
        return made

    root = _interpret(file, refer)
    storages = {}
    for key in map(str, _interpret(file, _refer)):
        count = int.from_bytes(file.read(8), "little")
        if count != found[key].count:
            raise ModelFileError(
                f"the storage {key!r} has {count} numbers, not {found[key].count} as its tensor states"
            )
        storages[key] = file.read(count * found[key].dtype.itemsize)
    return root, storages.__getitem__


def _limited(pickled: bytes) -> io.BytesIO:
    if len(pickled) > LONGEST_PICKLE:
        raise ModelFileError(f"its pickle has {len(pickled):,} bytes, which no network's has")
    return io.BytesIO(pickled)


# ---- the network in what was made ----------------------------------------------------------------------------------


def _state_dict(root: Any, read: ReadStorage) -> Iterator[tuple[str, Unread]]:
    """Yield names, as in a state dict, and tensors of a module or of a state dict, also inside a dictionary."""
    if isinstance(root, dict):
        root = next((root[key] for key in WRAPPERS if isinstance(root.get(key), dict | Made)), root)
    tensors = _of_module(root) if isinstance(root, Made) else _tensors(root if isinstance(root, dict) else {}, "")
    found = dict(tensors)
    if not found:
        raise ModelFileError(
            f"no network in it: neither a module, nor a state dict, nor a dictionary with one as {' or '.join(WRAPPERS)}"
        )
    for name, tensor in found.items():
        yield name.removeprefix("module."), Unread(tensor.size, _reader(tensor, read))


def _reader(tensor: Described, read: ReadStorage) -> Callable[[], Tensor]:
    return lambda: _load(tensor, read)


def _of_module(root: Made) -> Iterator[tuple[str, Described]]:
    """Yield names and tensors of a module and those inside it, each once, whatever contains what."""
    waiting, met = [("", root)], {id(root)}
    while waiting:
        prefix, module = waiting.pop()
        state: Mapping[Any, Any] = module.state if isinstance(module.state, dict) else {}
        parameters, buffers, modules = (state.get(key) for key in CHILDREN)
        for group in (parameters, buffers):
            yield from _tensors(group if isinstance(group, dict) else {}, prefix)
        for name, child in (modules if isinstance(modules, dict) else {}).items():
            if isinstance(child, Made):
                if id(child) in met:
                    raise ModelFileError(
                        f"the module {prefix + str(name)!r} is in the network twice, which is not supported"
                    )
                met.add(id(child))
                waiting.append((f"{prefix}{name}.", child))


def _tensors(group: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Described]]:
    return ((f"{prefix}{name}", value) for name, value in group.items() if isinstance(value, Described))
