"""Conflicts over the region's internal API: what gave way to what, in which item and path."""

from __future__ import annotations

from itertools import islice
from typing import Any

from aiohttp import web

from isthmus.core import conflicts
from isthmus.core.conflicts import CONFLICT, ListedConflict, Side
from isthmus.core.view import View

#: Conflicts that one answer looks at: those of one kind or key may be few of very many, and who
#: asks for them must hold up nobody.
PAGE = 200


class Conflicts:
    """What the API does with conflicts."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def list(self, request: web.Request) -> dict[str, Any]:
        """The newest first, a page at a time: the next one begins behind ``next``.

        A page may hold none of what is asked for, and have another one behind it.
        """
        query = request.query
        newest_first = self._view.catalogue.after(
            CONFLICT, name=query.get("after"), descending=True
        )
        names = list(islice(newest_first, PAGE))
        items = (self._view.get(CONFLICT, conflicts.key(name)) for name in names)
        found = (conflicts.read(item) for item in items if item)
        return {
            "conflicts": [
                _shown(each)
                for each in found
                if each
                and query.get("kind", each.kind) == each.kind
                and query.get("key", each.key) == each.key
            ],
            "next": names[-1] if len(names) == PAGE else None,
        }


def _shown(found: ListedConflict) -> dict[str, Any]:
    return {
        "id": found.id,
        "kind": found.kind,
        "key": found.key,
        "path": found.path,
        "kept": _shown_side(found.kept) if found.kept else None,
        "discarded": _shown_side(found.discarded),
    }


def _shown_side(side: Side) -> dict[str, Any]:
    return {
        "value": side.value,
        "region": side.region,
        "at_ms": side.stamp.ms if side.stamp else None,
        "write": side.dot,
    }
