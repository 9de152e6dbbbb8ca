"""Your own losses, defences and networks, as the configuration names them."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from lgg.pipeline.config.messages import nearest
from lgg.pipeline.config.types import Problem, Section


class Registered(Section):
    """Your own code: a file of the package and a line in the table `_EXPORTS` of its folder."""

    #: folder in lgg/ that the file is in
    folder: ClassVar[str]

    module: str = Field(description="file name without .py; for a network, its name in the table _EXPORTS")
    arguments: dict[str, bool | int | float | str | None] = Field(default={}, description="arguments for its class")

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        try:
            classes, taken = self._classes(), self._checked()
        except ValueError as error:
            yield "module", str(error)
            return
        yield from argument_problems(classes[self.module], self.arguments, taken)

    def _classes(self) -> Mapping[str, str]:
        """Return the registered classes by name; ValueError if this entry's is not registered."""
        classes = self._registered()
        if self.module not in classes:
            raise ValueError(
                f"{self.module!r} is not registered{nearest(self.module, classes)} Register it with a line of _EXPORTS in "
                f"lgg/{self.folder}/__init__.py"
            )
        return classes

    def _registered(self) -> Mapping[str, str]:
        raise NotImplementedError

    def _checked(self) -> Mapping[str, bool] | None:
        """Return the arguments of the class and whether each is required; None if it accepts any.

        Raises ValueError if it cannot be made, or cannot be used in this section.
        """
        raise NotImplementedError


def argument_problems(owner: str, given: Mapping[str, Any], taken: Mapping[str, bool] | None) -> Iterator[Problem]:
    """Yield arguments that the class `owner` does not take, and missing ones; `taken` is None if it takes any."""
    if taken is None:
        return
    for name in given:
        if name not in taken:
            yield f"arguments.{name}", f"{owner} takes no {name!r}{nearest(name, taken)}"
    if missing := [name for name, needed in taken.items() if needed and name not in given]:
        yield "arguments", f"{owner} needs {', '.join(missing)}"
