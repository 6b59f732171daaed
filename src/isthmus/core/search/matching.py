"""Whether a document is what a query asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from isthmus.core.search.expression import (
    Bound,
    Every,
    Everything,
    Expression,
    Not,
    Pattern,
    Phrase,
    Range,
    Some,
    Term,
    Value,
    fold,
    number,
)

#: What stands in a field, one of several perhaps.
Scalar = str | int | bool
#: The fields whose texts are several words, each of which is found by itself.
PROSE = frozenset({"description"})


class Document(Protocol):
    """What is known of a thing, or of a group."""

    def values(self, field: str) -> Sequence[Scalar]:
        """What stands in a field; nothing where it is not there."""
        ...

    def anywhere(self) -> Iterable[tuple[str, Scalar]]:
        """What is searched where a query names no field, each with its own."""
        ...


def matches(expression: Expression, document: Document) -> bool:
    """Whether a document is what is asked for."""
    match expression:
        case Everything():
            return True
        case Term(None, value):
            return any(_is_so(value, each, field) for field, each in document.anywhere())
        case Term(str(field), value):
            return any(_is_so(value, each, field) for each in document.values(field))
        case Every(parts):
            return all(matches(part, document) for part in parts)
        case Some(parts):
            return any(matches(part, document) for part in parts)
        case Not(part):
            return not matches(part, document)
    raise AssertionError(expression)


def text_of(value: Scalar) -> str:
    """As a query writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def number_of(value: Scalar) -> float | None:
    """The number that a value is, or says."""
    if isinstance(value, bool):
        return None
    return float(value) if isinstance(value, int) else number(value)


def _is_so(wanted: Value, value: Scalar, field: str) -> bool:
    if isinstance(wanted, Range):
        return _is_between(wanted, value)
    text = fold(text_of(value))
    if field not in PROSE:
        return text == wanted.text if isinstance(wanted, Phrase) else wanted.matches(text)
    words = text.split()
    if isinstance(wanted, Pattern):
        return any(map(wanted.matches, words))
    return f" {' '.join(wanted.text.split())} " in f" {' '.join(words)} "


def _is_between(wanted: Range, value: Scalar) -> bool:
    found = number_of(value) if wanted.is_numeric else fold(text_of(value))
    if found is None:
        return False
    return _is_behind(wanted.low, found) and _is_before(wanted.high, found)


def _is_behind(low: Bound | None, found: Any) -> bool:
    if low is None:
        return True
    end = low.of(found)
    return bool(found >= end if low.is_within else found > end)


def _is_before(high: Bound | None, found: Any) -> bool:
    if high is None:
        return True
    end = high.of(found)
    return bool(found <= end if high.is_within else found < end)
