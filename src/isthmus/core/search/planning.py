"""Which list has all that a query may match.

Every choice follows from the query alone, so that a later page goes on in the list that the earlier
ones were read from. A list may have more than matches, and never less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

from isthmus.core.search.expression import (
    Every,
    Expression,
    Pattern,
    Phrase,
    Some,
    Term,
    Value,
)

ATTRIBUTE = "attributes."
#: Spellings that are looked for one by one; of more, the beginnings that they share.
SPELLINGS_MAX = 64


@dataclass(frozen=True)
class All:
    """All there is, by name."""

    rank = 9


@dataclass(frozen=True)
class Named:
    """What has a name that begins so, or is just that; by name. The texts are folded."""

    texts: frozenset[str]
    is_exact: bool

    @property
    def rank(self) -> int:
        return 0 if self.is_exact else 3


@dataclass(frozen=True)
class InGroup:
    """The things in groups that are called so, by name. The texts are folded."""

    texts: frozenset[str]
    rank = 2


@dataclass(frozen=True)
class OfType:
    """The things of types that are called so, by name. The texts are folded."""

    texts: frozenset[str]
    rank = 4


@dataclass(frozen=True)
class WithAttribute:
    """The things with an attribute whose value begins so, or is just that; by value, then name."""

    name: str
    texts: frozenset[str]
    is_exact: bool

    @property
    def rank(self) -> int:
        return 1 if self.is_exact else 3 if all(self.texts) else 6


@dataclass(frozen=True)
class Connected:
    """Who is connected, by name."""

    rank = 5


Plan = All | Named | InGroup | OfType | WithAttribute | Connected
#: The plan of a term, by what stands in its field.
Planner = Callable[[Term], Plan]


def plan(expression: Expression, of_term: Planner) -> Plan:
    """The list to read, of those that have all that may match: probably the shortest."""
    match expression:
        case Term():
            return of_term(expression)
        case Every(parts):
            return min((plan(part, of_term) for part in parts), key=lambda each: each.rank)
        case Some(parts):
            return reduce(_both, (plan(part, of_term) for part in parts))
    return All()


def of_thing(term: Term) -> Plan:
    """The list of things that has all of which a term is true."""
    text, is_exact = _beginning(term.value)
    field = term.field or ""
    if field.startswith(ATTRIBUTE):
        name = field.removeprefix(ATTRIBUTE)
        return WithAttribute(name, frozenset({text}), is_exact)
    if field == "thingName" and text:
        return Named(frozenset({text}), is_exact)
    if field == "thingGroupNames" and is_exact:
        return InGroup(frozenset({text}))
    if field == "thingTypeName" and is_exact:
        return OfType(frozenset({text}))
    if field == "connectivity.connected" and is_exact and text == "true":
        return Connected()
    return All()


def of_group(term: Term) -> Plan:
    """The list of groups that has all of which a term is true."""
    text, is_exact = _beginning(term.value)
    if term.field == "thingGroupName" and text:
        return Named(frozenset({text}), is_exact)
    return All()


def _beginning(value: Value) -> tuple[str, bool]:
    """How every value begins that is so, and whether that is all of it."""
    match value:
        case Pattern():
            return value.begins, value.is_exact
        case Phrase(text):
            return text, True
    return "", False


def _both(one: Plan, other: Plan) -> Plan:
    """A list that has all that is in either."""
    match one, other:
        case (Named(a, exact), Named(b, also)) if exact == also:
            return Named(a | b, exact)
        case InGroup(a), InGroup(b):
            return InGroup(a | b)
        case OfType(a), OfType(b):
            return OfType(a | b)
        case (WithAttribute(name, a, exact), WithAttribute(same, b, also)) if name == same:
            if exact == also:
                return WithAttribute(name, a | b, exact)
            return WithAttribute(name, frozenset({""}), is_exact=False)
        case Connected(), Connected():
            return one
    return All()


def spellings(text: str, begins: Callable[[str], bool]) -> list[str]:
    """How a folded text is spelled where anything begins so, in order; all of one length.

    ``begins`` says whether anything does. Where there are very many, the beginnings of all of them.
    """
    found = [""]
    for letter in text:
        more = [
            each + way
            for each in found
            for way in sorted({letter, letter.upper()} if letter.isascii() else {letter})
            if begins(each + way)
        ]
        if len(more) > SPELLINGS_MAX:
            return found
        found = more
    return found


def outermost(texts: list[str]) -> list[str]:
    """Those that begin with no other one, in order: so nothing is read twice."""
    found: list[str] = []
    for text in sorted(texts):
        if not found or not text.startswith(found[-1]):
            found.append(text)
    return found
