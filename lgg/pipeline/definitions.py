"""A module split into what importing it runs, and definitions that count only if they are reached.

A function, class or constant at the top of a module is a separate definition if creating it has no side effects
(`lgg.pipeline.effects`). Everything else runs on import, with all that it mentions: other statements, definitions that call
something while they are created, and names bound in more than one place.
"""

import ast
import builtins
from dataclasses import dataclass
from functools import cache, cached_property

from lgg.pipeline.effects import QUIET, only_makes_values
from lgg.pipeline.names import bound_by, imported_by, is_mangled, loaded, names_bound, names_imported, scan
from lgg.pipeline.syntax import PACKAGE, canonical, exports_of, path_of, tree

#: the name for the block `if __name__ == "__main__":`, which runs only in the stage's module
MAIN = "__main__"
#: names by which code finds definitions that it does not mention, or runs text
FINDERS = {
    *("__builtins__", "__import__", "builtins", "compile", "eval", "exec", "gc", "importlib.import_module"),
    *("importlib.machinery", "importlib.reload", "importlib.util.module_from_spec", "inspect.currentframe"),
    *("inspect.getmodule", "pickle", "pkgutil", "runpy", "sys._getframe", "sys.modules", "typing.get_type_hints"),
    *(".__globals__", ".__loader__", ".__spec__", ".__subclasses__", ".exec_module", ".f_builtins", ".f_globals"),
    ".load_module",
}


@dataclass(frozen=True)
class Code:
    """Code that is run as a unit.

    Attributes:
        place: number of statements run on import before it, which may change the values it is made from.
    """

    nodes: tuple[ast.AST, ...]
    module: str
    place: int = 0

    @cached_property
    def text(self) -> str:
        return "\n".join((str(self.place), *map(canonical, self.nodes)))

    @cached_property
    def mentions(self) -> frozenset[str]:
        """The names in it that may be the module's or Python's, with the attributes used, as ``lgg.attacks.pgd``.

        Also other attributes that are in `FINDERS`, as ``.__globals__``.
        """
        known = {*names_imported(self.module), *names_bound(self.module), *dir(builtins)}
        found = {name for node in self.nodes for name in scan(node, self.module)[0]}
        return frozenset(
            name for name in found if (root := name.partition(".")[0]) in known or name in FINDERS or is_mangled(root)
        )

    @cached_property
    def imports(self) -> tuple[str, ...]:
        """What its import statements import, as ``lgg.graph`` or ``lgg.graph.laplacian``; ``lgg.graph.*`` for a star."""
        return tuple(path for node in self.nodes for _, path in scan(node, self.module)[1])


@dataclass(frozen=True)
class Module:
    """A module split into parts.

    Attributes:
        always: what importing it runs.
        definitions: what counts only if it is reached, by name.
        imported: for each name that an import binds, anywhere in the module, the paths that it may refer to.
        bound: the names that `always` binds.
    """

    always: Code
    definitions: dict[str, Code]
    imported: dict[str, tuple[str, ...]]
    bound: frozenset[str]


@cache
def module_of(name: str) -> Module:
    """Return the module `name` split into parts; ValueError if there is none."""
    imported, binders = names_imported(name), names_bound(name)
    always: list[ast.AST] = []
    modules: set[str] = set()
    definitions: dict[str, Code] = {}
    bound: set[str] = set()
    for node in tree(name).body:
        names = bound_by(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            new = {canonical(one): one for one in _import(node, name)}
            always += [one for text, one in new.items() if text not in modules]
            modules |= new.keys()
        elif _is_main(node):
            definitions[MAIN] = Code((*definitions[MAIN].nodes, node) if MAIN in definitions else (node,), name)
        elif only_makes_values(node, name) and all(len(binders[one]) == 1 and one not in imported for one in names):
            definitions |= {one: Code((node,), name, len(always)) for one in names}
        else:
            always.append(node)
            bound |= names
    return Module(Code(tuple(always), name), definitions, imported, frozenset(bound))


def forget() -> None:
    """Forget what was read from the package's files."""
    for cached in (module_of, names_bound, names_imported, loaded, scan, path_of, tree, exports_of):
        cached.cache_clear()


def _import(node: ast.Import | ast.ImportFrom, module: str) -> list[ast.AST]:
    """Return what an import at the top of a module runs: only modules, since names count where they are used."""
    paths = [path for _, path in imported_by(node, module)]
    if isinstance(node, ast.ImportFrom) and all(path.split(".")[0] == PACKAGE for path in paths):
        # importing another name from the same module runs nothing more
        modules = [one for path in paths for one in ((path,) if path.endswith(".*") else loaded(path))]
        return [ast.Import([ast.alias(one)]) for one in dict.fromkeys(modules)]
    quiet = [path if isinstance(node, ast.Import) else path.rpartition(".")[0] for path in paths]
    return [] if set(quiet) <= QUIET and node.names[0].name != "*" else [node]


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test) == "__name__ == '__main__'"
