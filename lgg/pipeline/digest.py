"""A digest of the code that a stage can run, so that an edit reruns the stages it can affect and no others.

Starting from the stage's module and from what is chosen by name (losses, networks, defences), each definition is followed to
the definitions that it mentions. What counts:

- A function, class (with all methods) or constant at the top of a module counts if it is reached. What importing a module
  runs counts if the module is imported, and so do the packages that contain it (`lgg.pipeline.definitions`).
- The stage's module counts completely. Of a module chosen by name, what its package lists in `_EXPORTS` counts.
- A name counts as the module's wherever it is read or assigned, even if a parameter or a local variable hides it, so
  `global` needs no rule. An imported name counts with the path that it refers to.
- `module.name` reaches that name. A module that is used in any other way, or lacks the name, counts completely with all that
  it imports; so does one that is imported with a star. A name listed in `_EXPORTS` reaches what it loads.
- `module.name = …` is code like any other, and counts where it runs; the name that it replaces still counts.
- Annotations count like other expressions, but not if quoted. Blocks under ``if TYPE_CHECKING`` do not count.
- `globals` and the like make their module count completely. Code that finds modules or runs text by other means (`exec`,
  `importlib.import_module`, `sys.modules`, …) makes every imported module count completely, even if imported in a function.

Needs only the standard library.
"""

import hashlib
from collections.abc import Mapping
from functools import cache

from lgg.pipeline import definitions
from lgg.pipeline.definitions import FINDERS, MAIN, Code, module_of
from lgg.pipeline.names import is_mangled, loaded
from lgg.pipeline.syntax import PACKAGE, exports_of, path_of

_OWN_NAMES = {"dir", "globals", "locals", "vars"}
# these find only what a table `_EXPORTS` lists, the docstring of the stage's module, or a file outside of the package
_KNOWN = {
    (f"{PACKAGE}._lazy", "importlib.import_module"),
    (f"{PACKAGE}._lazy", "sys.modules"),
    (f"{PACKAGE}.models", "importlib.import_module"),
    (f"{PACKAGE}.models.foreign", "importlib.util.module_from_spec"),
    (f"{PACKAGE}.models.foreign", "sys.modules"),
    (f"{PACKAGE}.models.foreign", ".exec_module"),
    *(
        (f"{PACKAGE}.models.own_file", path)
        for path in ("importlib.util.module_from_spec", "sys.modules", ".exec_module")
    ),
    (f"{PACKAGE}.pipeline.job", "inspect.getmodule"),
}


def code_digest(*modules: str) -> str:
    """Return a hexadecimal digest of the code that the stage's module among `modules` can run.

    Anything chosen by name at run time (a loss, a network) cannot be seen from there: pass its module too.
    """
    digest = hashlib.sha256()
    for module, names in sorted(reached(*modules).items()):
        digest.update(f"{module}\n{_code(module, names)}\n".encode())
    return digest.hexdigest()[:16]


@cache
def reached(*modules: str) -> Mapping[str, frozenset[str]]:
    """Return the modules that `modules` import, directly or not, and the names of the definitions reached in each."""
    reach = _Reach()
    for module in modules:
        reach.choose(module)
    reach.follow()
    return {module: frozenset(names) for module, names in reach.names.items()}


def import_closure(*modules: str) -> set[str]:
    """Return `modules`, all modules of the package that they import, directly or not, and the packages that contain them."""
    return set(reached(*modules))


def forget() -> None:
    """Forget what was read from the package's files, for a process in which they change."""
    reached.cache_clear()
    _code.cache_clear()
    definitions.forget()


@cache
def _code(module: str, names: frozenset[str]) -> str:
    """Return the code that counts in a module as text: what importing it runs, and the definitions `names`."""
    parts = module_of(module)
    texts = [parts.always.text]
    for name in sorted(names):
        texts += [f"{name} = {' '.join(parts.imported[name])}"] if name in parts.imported else []
        texts += [f"{name}: {parts.definitions[name].text}"] if name in parts.definitions else []
    return "\n".join(texts)


class _Reach:
    """The names reached in each imported module."""

    def __init__(self) -> None:
        self.names: dict[str, set[str]] = {}
        self._waiting: list[Code] = []
        self._whole: set[str] = set()
        self._paths: set[str] = set()
        self._is_everything = False

    def choose(self, module: str) -> None:
        """Reach a module that is run, or that is chosen by name and loaded through its package's table."""
        parts = module_of(module)
        self._load(module)
        package = module.rpartition(".")[0]
        listed = [path for path in exports_of(package).values() if loaded(path) == (module,) and path != module]
        names = [path.removeprefix(f"{module}.") for path in listed]
        if names and all(name in parts.definitions or name in parts.bound for name in names):
            for name in names:
                self._name(module, name, [])
        else:
            self._all_of(module)
            if MAIN in parts.definitions:
                self._name(module, MAIN, [])

    def follow(self) -> None:
        """Reach what the reached code mentions, until there is nothing new."""
        mentioned = set()
        while self._waiting:
            code = self._waiting.pop()
            for path in code.imports:
                if path.endswith(".*"):
                    self._path(path.removesuffix(".*"))
                for module in loaded(path):
                    self._load(module)
            for mention in code.mentions:
                if (code.module, mention) not in mentioned:
                    mentioned.add((code.module, mention))
                    self._mention(mention, code.module)

    def _mention(self, mention: str, module: str) -> None:
        name, *attributes = mention.split(".")
        if not name:
            self._check(mention, module)
            return
        parts = module_of(module)
        if name in parts.definitions or name in parts.imported:
            self._name(module, name, attributes)
        elif name in _OWN_NAMES or is_mangled(name):
            self._all_of(module)
        elif name not in parts.bound:
            self._check(mention, module)

    def _name(self, module: str, name: str, attributes: list[str]) -> None:
        """Reach what `name` means in a module and, if that is a module, the attributes used."""
        parts = module_of(module)
        is_new = name not in self.names[module]
        self.names[module].add(name)
        if is_new and name in parts.definitions:
            self._waiting.append(parts.definitions[name])
        for path in parts.imported.get(name, ()):
            self._path(".".join((path, *attributes)), module)

    def _path(self, path: str, module: str = "") -> None:
        """Reach what a path mentioned in `module` refers to."""
        package, *attributes = path.split(".")
        if package != PACKAGE:
            self._check(path, module)
            return
        if path in self._paths:
            return
        self._paths.add(path)
        place = package
        while True:
            self._load(place)
            if not attributes:
                self._whole_of(place)
                return
            name, *attributes = attributes
            parts = module_of(place)
            if name in parts.definitions or name in parts.imported:
                self._name(place, name, attributes)
            inside, lazy = f"{place}.{name}", exports_of(place).get(name)
            if path_of(inside):
                place = inside
            elif lazy:
                self._path(".".join((lazy, *attributes)))
                return
            else:
                if not (name in parts.definitions or name in parts.imported or name in parts.bound):
                    self._whole_of(place)
                return

    def _load(self, module: str) -> None:
        """Reach what importing a module runs."""
        if module in self.names:
            return
        self.names[module] = set()
        if "." in module:
            self._load(module.rpartition(".")[0])
        self._waiting.append(module_of(module).always)
        if self._is_everything or any(module.startswith(f"{package}.") for package in self._whole):
            self._all_of(module)

    def _all_of(self, module: str) -> None:
        """Reach all definitions of a module."""
        for name in module_of(module).definitions:
            if name != MAIN:
                self._name(module, name, [])

    def _whole_of(self, module: str) -> None:
        """Reach whatever a module can be asked for, of a package also the modules in it that are loaded, now or later."""
        if module in self._whole:
            return
        self._whole.add(module)
        for inside in [one for one in self.names if one.startswith(f"{module}.")]:
            self._all_of(inside)
        self._all_of(module)
        for name in module_of(module).imported:
            self._name(module, name, [])
        for path in exports_of(module).values():
            self._path(path)

    def _check(self, path: str, module: str) -> None:
        """Reach everything if `path`, from outside the package, can find modules or run text."""
        if _finds_anything(path) and not self._is_everything and (module, path) not in _KNOWN:
            self._is_everything = True
            for known in list(self.names):
                self._all_of(known)


@cache
def _finds_anything(path: str) -> bool:
    return any(path == one or path.startswith(f"{one}.") or one.startswith(f"{path}.") for one in FINDERS)
