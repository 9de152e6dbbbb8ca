"""Python files of the user's that define networks: a digest of their code, and loading them. Imports no torch itself."""

import ast
import hashlib
import importlib
import importlib.util
import io
import sys
import tokenize
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lgg.errors import NetworkError

PACKAGE = __name__.partition(".")[0]


def code_digest(path: str | Path) -> str:
    """Return a hexadecimal digest of the code in `path` and in the files in its folder that it imports, directly or not.

    Comments and blank lines do not count. Raises NetworkError if the file is missing or not Python.
    """
    digest = hashlib.sha256()
    folder = Path(path).parent
    waiting, known = [Path(path)], set()
    while waiting:
        file = waiting.pop(0)
        if file in known:
            continue
        known.add(file)
        text = _read(file)
        tree = _parsed(text, file)
        digest.update(f"{file.name}\n{_code(text, file)}\n".encode())
        waiting += sorted(set(_imported(tree, file, folder)))
    return digest.hexdigest()[:16]


def import_file(path: str | Path, digest: str) -> Any:
    """Return the module that the Python file `path` defines, loaded once for a digest of its code.

    It can import the files in its folder at its top. Files of the same name in another folder do not get in its way.

    Raises NetworkError if it does not run.
    """
    name = f"lgg_own_{Path(path).stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise NetworkError(f"{path}: not a Python file, which would end in .py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # where its classes are found when they are copied
    try:
        with _importing_from(Path(path).resolve().parent):
            specification.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise NetworkError(f"{path} cannot be imported: {one_line(error)}") from error
    return module


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Import modules from `folder` first, and forget those that lie in it afterwards."""
    beside = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    beside.discard(PACKAGE)

    def lies_there(name: str) -> bool:
        return name.partition(".")[0] in beside

    hidden = {name: sys.modules.pop(name) for name in [*sys.modules] if lies_there(name)}
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [*sys.modules]:
            if lies_there(name):
                del sys.modules[name]
        sys.modules.update(hidden)


def one_line(error: BaseException) -> str:
    """Return an error as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _read(path: Path) -> str:
    try:
        with tokenize.open(path) as file:
            return file.read()
    except FileNotFoundError:
        raise NetworkError(f"{path}: there is no such file") from None
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise NetworkError(f"{path}: cannot be read: {error}") from None


def _parsed(text: str, path: Path) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"{path}, line {line}" if line else f"{path}"
        raise NetworkError(f"{where}: this is not Python: {getattr(error, 'msg', error)}") from None


def _code(text: str, path: Path) -> str:
    """Return `text` without comments and blank lines."""
    # not splitlines(), which ends lines where Python does not, as at a form feed
    lines = text.split("\n")
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    except (tokenize.TokenError, SyntaxError) as error:
        raise NetworkError(f"{path}: this is not Python: {error}") from None
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _imported(tree: ast.Module, path: Path, folder: Path) -> Iterator[Path]:
    """Yield the files in `folder`, from which the code of `path` can import, that it imports, their packages included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(folder, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            within = path.parents[node.level - 1] if 0 < node.level <= len(path.parents) else folder
            module = node.module.split(".") if node.module else []
            for alias in node.names:
                yield from _files_of(within, [*module, alias.name])


def _files_of(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield the files in `folder` that importing a dotted name runs, as far as its parts are modules."""
    if names[0] == PACKAGE:
        return
    for count in range(1, len(names) + 1):
        base = folder.joinpath(*names[:count])
        yield from (file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file())
