"""A module in parts: what importing it runs, and the definitions that count only where they are reached.

A function, class or constant at the top of a module is a definition of its own where making it does nothing else
(`lgg.pipeline.effects`). All else is what importing the module runs, with all that it mentions: other statements,
definitions that call something while they are made, and names bound in more than one place.
"""

import ast
import builtins
from dataclasses import dataclass
from functools import cache, cached_property

from lgg.pipeline.effects import QUIET, only_makes_values
from lgg.pipeline.names import bound_by, imported_by, is_mangled, loaded, names_bound, names_imported, scan
from lgg.pipeline.syntax import PACKAGE, canonical, exports_of, path_of, tree

#: the name under which `if __name__ == "__main__":` counts, which runs in the module of the stage alone
MAIN = "__main__"
#: by which code finds definitions that it does not mention, or runs text
FINDERS = {
    *("__builtins__", "__import__", "builtins", "compile", "eval", "exec", "gc", "importlib.import_module"),
    *("importlib.machinery", "importlib.reload", "importlib.util.module_from_spec", "inspect.currentframe"),
    *("inspect.getmodule", "pickle", "pkgutil", "runpy", "sys._getframe", "sys.modules", "typing.get_type_hints"),
    *(".__globals__", ".__loader__", ".__spec__", ".__subclasses__", ".exec_module", ".f_builtins", ".f_globals"),
    ".load_module",
}


@dataclass(frozen=True)
class Code:
    """Code that runs, or can be run, as a whole.

    Attributes:
        place: how many statements that importing the module runs come before it, and may change what its values are made of.
    """

    nodes: tuple[ast.AST, ...]
    module: str
    place: int = 0

    @cached_property
    def text(self) -> str:
        return "\n".join((str(self.place), *map(canonical, self.nodes)))

    @cached_property
    def mentions(self) -> frozenset[str]:
        """The names in it that may be the module's or Python's, with what is asked of each, as ``lgg.attacks.pgd``.

        Of further attributes those in `FINDERS`, as ``.__globals__``.
        """
        known = {*names_imported(self.module), *names_bound(self.module), *dir(builtins)}
        found = {name for node in self.nodes for name in scan(node, self.module)[0]}
        return frozenset(
            name for name in found if (root := name.partition(".")[0]) in known or name in FINDERS or is_mangled(root)
        )

    @cached_property
    def imports(self) -> tuple[str, ...]:
        """What its import statements name, as ``lgg.graph`` or ``lgg.graph.laplacian``; ``lgg.graph.*`` for a star."""
        return tuple(path for node in self.nodes for _, path in scan(node, self.module)[1])


@dataclass(frozen=True)
class Module:
    """A module in parts.

    Attributes:
        always: what importing it runs.
        definitions: what counts where it is reached, by name.
        imported: the paths of what each name stands for that an import binds, anywhere in the module.
        bound: the names that `always` binds.
    """

    always: Code
    definitions: dict[str, Code]
    imported: dict[str, tuple[str, ...]]
    bound: frozenset[str]


@cache
def module_of(name: str) -> Module:
    """Return the module `name` in parts; ValueError where there is none."""
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
    """Drop what was read of the package's files."""
    for cached in (module_of, names_bound, names_imported, loaded, scan, path_of, tree, exports_of):
        cached.cache_clear()


def _import(node: ast.Import | ast.ImportFrom, module: str) -> list[ast.AST]:
    """Return what an import at the top of a module runs: modules alone, since the names count where they are used."""
    paths = [path for _, path in imported_by(node, module)]
    if isinstance(node, ast.ImportFrom) and all(path.split(".")[0] == PACKAGE for path in paths):
        # importing something else from the same modules runs nothing more
        modules = [one for path in paths for one in ((path,) if path.endswith(".*") else loaded(path))]
        return [ast.Import([ast.alias(one)]) for one in dict.fromkeys(modules)]
    quiet = [path if isinstance(node, ast.Import) else path.rpartition(".")[0] for path in paths]
    return [] if set(quiet) <= QUIET and node.names[0].name != "*" else [node]


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and not node.orelse and ast.unparse(node.test) == "__name__ == '__main__'"
