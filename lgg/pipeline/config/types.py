"""What all sections are made of: the base of their models, and types of values with their bounds."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lgg.pipeline.config.messages import shown


def _path(value: str) -> str:
    """Refuse what no file of Snakemake's can be called: it takes braces for wildcards."""
    if not value or not value.isprintable() or set("{}") & set(value):
        raise ValueError(f"{shown(value)} is not a usable path; take one without braces and control characters")
    return value


TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # Unicode's signs of direction


def _label(value: str) -> str:
    """Return a label without blanks around it; refuse one that shows nothing, or that no table or figure can show on a line."""
    if not any(letter.isprintable() and not letter.isspace() for letter in value):
        raise ValueError(f"{shown(value)} shows nothing; write what tables and figures should show")
    for character in value:
        # what breaks the line, is invisible, or reverses the text after it
        is_turning = unicodedata.bidirectional(character) in TURNING
        if is_turning or unicodedata.category(character) in ("Cc", "Cs", "Co", "Zl", "Zp"):
            raise ValueError(
                f"{shown(value)} has {character!a} in it; take text of one line without control characters"
            )
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


def _each_once(seeds: list[int]) -> list[int]:
    """Refuse a seed that is there twice."""
    if repeated := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        raise ValueError(f"{', '.join(map(str, repeated))} is there twice; every seed counts once")
    return seeds


Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_each_once)]


#: the key that is wrong, from its section on, and what is wrong
Problem = tuple[str, str]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())

    #: keys that sections of some `source` do not have; they go when an overlay chooses that source
    not_of: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    #: keys that the section once had, and where their values go now
    former: ClassVar[Mapping[str, str]] = {}

    def problems(self) -> Iterator[Problem]:
        """Yield settings that do not go together, each allowed by itself; sections below yield their own."""
        yield from ()


def repeated_words(words: Iterable[str]) -> list[str]:
    """Return the words that occur more than once, whatever the blanks between their parts."""
    alike = list(map(shown_alike, words))
    return sorted({word for word in alike if alike.count(word) > 1})


def shown_alike(word: str) -> str:
    """Return what a reader sees of a word: blanks between its parts as one."""
    return " ".join(word.split())
