"""Looks through a list for what a query matches.

In slices, between which others have their turn: a query that matches little, and has no list of its
own, looks at everything there is. Each slice is read where the last one ended, by key, so what is
written meanwhile is no hindrance.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import partial
from heapq import merge
from itertools import groupby, islice
from typing import NamedTuple

from isthmus.aws.context import Context
from isthmus.aws.documents import Document, GroupDocument, ThingDocument
from isthmus.aws.indexing import Index
from isthmus.core import memberships, thing_groups, things
from isthmus.core.billing_groups import BILLING_GROUP
from isthmus.core.item import Item
from isthmus.core.search import planning
from isthmus.core.search.expression import Expression, terms
from isthmus.core.search.matching import matches
from isthmus.core.search.planning import (
    Connected,
    InGroup,
    Named,
    OfType,
    Plan,
    WithAttribute,
    outermost,
    spellings,
)
from isthmus.core.table import Path
from isthmus.core.thing_groups import THING_GROUP
from isthmus.core.thing_types import THING_TYPE
from isthmus.core.things import END, THING

#: Looked at in one go: some milliseconds.
SLICE = 250
_CONNECTIVITY = "connectivity."


class Looked(NamedTuple):
    """One that was looked at: its key in the list, and its document if the query matches it."""

    key: str
    found: Document | None


class Search:
    """A query of an index."""

    def __init__(self, context: Context, index: Index, expression: Expression) -> None:
        self._context = context
        self._index = index
        self._expression = expression
        self._fields = [term.field or "" for term in terms(expression)]
        planner = planning.of_thing if index.has_things else planning.of_group
        self._plan = planning.plan(expression, planner)

    async def look(self, after: str | None, *fields: str) -> AsyncGenerator[Looked, None]:
        """Everything in the query's list behind a key, in order.

        ``fields`` are those that are read of what is found, besides those that the query reads.
        """
        reads_connectivity = any(
            each.startswith(_CONNECTIVITY) for each in (*self._fields, *fields)
        )
        async for keys in self._slices(after):
            documents = [self._document(key.rpartition(END)[2]) for key in keys]
            if reads_connectivity:
                await self.connect(each for each in documents if each is not None)
            for key, document in zip(keys, documents, strict=True):
                is_found = document is not None and matches(self._expression, document)
                yield Looked(key, document if is_found else None)
            await self._context.give_way()

    async def connect(self, documents: Iterable[Document]) -> None:
        """Have the documents of things say who is connected, if they do not yet."""
        by_name = {
            each.item.key: each
            for each in documents
            if isinstance(each, ThingDocument) and not each.is_connectivity_known
        }
        if by_name and "connectivity" in self._index.parts:
            words = await self._context.connectivity.known(list(by_name))
            known = {word.client: word for word in words}
            for name, document in by_name.items():
                document.know(known.get(name))

    async def _slices(self, after: str | None) -> AsyncIterator[list[str]]:
        if isinstance(self._plan, Connected):
            while words := await self._context.connectivity.connected(after or ""):
                after = words[-1].client
                yield [word.client for word in words]
            return
        keys_after = _keys(self._context, self._index, self._plan)
        while keys := list(islice(keys_after(after), SLICE)):
            yield keys
            after = keys[-1]

    def _document(self, name: str) -> Document | None:
        """A thing or a group, if there is one of that name."""
        item = self._context.get(THING if self._index.has_things else THING_GROUP, name)
        if not item.lives:
            return None
        make = ThingDocument if self._index.has_things else GroupDocument
        return make(self._context, item)


# The keys of a plan's list, behind one

KeysAfter = Callable[[str | None], Iterator[str]]


def _keys(context: Context, index: Index, plan: Plan) -> KeysAfter:
    every = things.LISTED if index.has_things else thing_groups.LISTED
    match plan:
        case Named(texts, is_exact=True):
            names = _called(context, every, texts)
            if names is not None:
                return partial(_behind, sorted(names))
            return _beginning(context, (every,), texts)
        case Named(texts):
            return _beginning(context, (every,), texts)
        case WithAttribute(name, texts, is_exact):
            ends = {f"{text}{END}" for text in texts} if is_exact else texts
            return _beginning(context, (things.LISTED_BY_ATTRIBUTE, name), ends)
        case OfType(texts):
            types = _items(context, THING_TYPE, THING_TYPE, texts)
            if types is not None:
                return _under(context, {things.LISTED_BY[things.TYPE]: types})
        case InGroup(texts):
            groups = _items(context, THING_GROUP, thing_groups.LISTED, texts)
            billing = _items(context, BILLING_GROUP, BILLING_GROUP, texts)
            if groups is not None and billing is not None:
                heads = {
                    memberships.LISTED_BY_GROUP: groups,
                    things.LISTED_BY[things.BILLING_GROUP]: billing,
                }
                return _under(context, heads)
    return lambda after: context.listed(every, after=after)


def _behind(names: list[str], after: str | None) -> Iterator[str]:
    return (name for name in names if after is None or name > after)


def _beginning(context: Context, path: Path, texts: Iterable[str]) -> KeysAfter:
    """What is listed under a path and begins with one of these folded texts."""
    prefixes = outermost([each for text in texts for each in _spelled(context, path, text)])

    def keys(after: str | None) -> Iterator[str]:
        for prefix in prefixes:
            yield from context.beginning(*path, prefix=prefix, after=after)

    return keys


def _under(context: Context, heads: Mapping[str, list[Item]]) -> KeysAfter:
    """What is listed under any of these items, each once."""

    def keys(after: str | None) -> Iterator[str]:
        lists = (
            context.of_lives(head, item, after=after)
            for head, items in heads.items()
            for item in items
        )
        return (name for name, _ in groupby(merge(*lists)))

    return keys


def _items(context: Context, kind: str, head: str, texts: Iterable[str]) -> list[Item] | None:
    names = _called(context, head, texts)
    return None if names is None else [context.get(kind, name) for name in names]


def _called(context: Context, head: str, texts: Iterable[str]) -> list[str] | None:
    """The names in a list that are one of these folded texts; None where they are too many."""
    found = []
    for text in texts:
        for spelled in _spelled(context, (head,), text):
            if len(spelled) < len(text):
                return None
            # It comes before all that begins with it.
            if next(context.beginning(head, prefix=spelled, after=None)) == spelled:
                found.append(spelled)
    return found


def _spelled(context: Context, path: Path, text: str) -> list[str]:
    def begins(spelled: str) -> bool:
        return next(context.beginning(*path, prefix=spelled, after=None), None) is not None

    return spellings(text, begins)
