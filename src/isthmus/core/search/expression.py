"""What a query asks for, as a tree.

Letters of ASCII match in either case, as on AWS; of others it is not known, so they match as they
are, and what sorts and compares bytes can find them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from string import ascii_lowercase, ascii_uppercase

_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
#: JSON's: only what is one is taken for a number (developer guide, "Numeric values").
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def fold(text: str) -> str:
    """The same text for all that match each other."""
    return text.translate(_LOWER)


def number(text: str) -> float | None:
    """The number that a text is, if it is one that can be counted with."""
    if not _NUMBER.fullmatch(text):
        return None
    found = float(text)
    return found if math.isfinite(found) else None


@dataclass(frozen=True)
class Pattern:
    """A text with wildcards: the literals between them, folded, and which wildcards they are."""

    literals: tuple[str, ...]
    #: ``*`` or ``?``; one fewer than the literals.
    wildcards: str = ""

    @property
    def begins(self) -> str:
        """How everything begins that matches."""
        return self.literals[0]

    @property
    def is_exact(self) -> bool:
        """Whether nothing matches but that."""
        return not self.wildcards

    @property
    def is_any(self) -> bool:
        """Whether everything matches that is there."""
        return self.wildcards == "*" and not any(self.literals)

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        escaped = [re.escape(each) for each in self.literals]
        for number, wildcard in enumerate(self.wildcards, 1):
            escaped[number] = (".*" if wildcard == "*" else ".") + escaped[number]
        return re.compile("".join(escaped), re.DOTALL)

    def matches(self, text: str) -> bool:
        """Whether a folded text is as this says."""
        if self.is_exact:
            return text == self.begins
        return self._regex.fullmatch(text) is not None


@dataclass(frozen=True)
class Phrase:
    """Words that follow each other, or a text that is just so, folded."""

    text: str


@dataclass(frozen=True)
class Bound:
    """An end of a range."""

    #: Folded.
    text: str
    #: None for what was quoted, or is no number.
    number: float | None
    is_within: bool

    def of(self, value: float | str) -> float | str | None:
        """What a value of this kind is compared with."""
        return self.text if isinstance(value, str) else self.number


@dataclass(frozen=True)
class Range:
    """Values between two ends; None for none. Of numbers, where its ends are numbers."""

    low: Bound | None
    high: Bound | None

    @cached_property
    def is_numeric(self) -> bool:
        ends = [each for each in (self.low, self.high) if each is not None]
        return bool(ends) and all(each.number is not None for each in ends)


Value = Pattern | Phrase | Range


@dataclass(frozen=True)
class Term:
    """A field has such a value; any field, where none is named."""

    field: str | None
    value: Value


@dataclass(frozen=True)
class Everything:
    """Matches whatever there is."""


@dataclass(frozen=True)
class Every:
    """All of these match."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Some:
    """At least one of these matches."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Not:
    """This does not match."""

    part: Expression


Expression = Term | Everything | Every | Some | Not


def terms(expression: Expression) -> Iterator[Term]:
    """All terms, in their order."""
    match expression:
        case Term():
            yield expression
        case Every(parts) | Some(parts):
            for part in parts:
                yield from terms(part)
        case Not(part):
            yield from terms(part)
