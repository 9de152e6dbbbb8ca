"""The base class of all sections, and types of values with their bounds."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lgg.pipeline.config.messages import shown


def _path(value: str) -> str:
    """Refuse paths that Snakemake cannot use: it reads braces as wildcards."""
    if not value or not value.isprintable() or set("{}") & set(value):
        raise ValueError(f"{shown(value)} is not a usable path; use one without braces and control characters")
    return value


def _pattern(value: str) -> str:
    """Refuse what `_path` refuses, apart from one place for the seed."""
    _path(value.replace("{seed}", "0"))
    return value


TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # Unicode's bidirectional controls


def _label(value: str) -> str:
    """Return a label stripped of blanks; refuse one that is invisible or cannot be shown on one line."""
    if not any(letter.isprintable() and not letter.isspace() for letter in value):
        raise ValueError(f"{shown(value)} is invisible; write what tables and figures should show")
    for character in value:
        # characters that break the line, are invisible, or reverse the text after them
        is_turning = unicodedata.bidirectional(character) in TURNING
        if is_turning or unicodedata.category(character) in ("Cc", "Cs", "Co", "Zl", "Zp"):
            raise ValueError(f"{shown(value)} contains {character!a}; use one line of text without control characters")
    return value.strip()


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
StepSize = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Decibels = Annotated[float, Field(ge=-100, le=200, allow_inf_nan=False)]
AtLeast2 = Annotated[int, Field(ge=2)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Label = Annotated[str, AfterValidator(_label)]
FilePath = Annotated[str, AfterValidator(_path)]
#: a path with {seed} in place of the seed
FilePattern = Annotated[str, AfterValidator(_pattern)]


def _each_once(seeds: list[int]) -> list[int]:
    """Refuse repeated seeds."""
    if repeated := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        raise ValueError(f"{', '.join(map(str, repeated))} is listed twice; list each seed once")
    return seeds


Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_each_once)]


#: the invalid key, relative to its section, and what is wrong
Problem = tuple[str, str]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())

    #: keys that do not apply to a `source`; they are dropped when an overlay chooses that source
    not_of: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    #: former keys of the section, and where their values go now
    former: ClassVar[Mapping[str, str]] = {}

    def problems(self) -> Iterator[Problem]:
        """Yield combinations of settings that do not work together; sections inside this one yield their own."""
        yield from ()

    def file_problems(self, folder: Path) -> Iterator[Problem]:  # noqa: ARG002  (of sections that name files)
        """Yield which files are missing in `folder`, to which paths are relative, or do not hold what they should."""
        yield from ()


def repeated_words(words: Iterable[str]) -> list[str]:
    """Return the words that occur more than once, ignoring differences in blanks."""
    alike = list(map(shown_alike, words))
    return sorted({word for word in alike if alike.count(word) > 1})


def shown_alike(word: str) -> str:
    """Return a word with each run of blanks replaced by one, as a reader sees it."""
    return " ".join(word.split())
