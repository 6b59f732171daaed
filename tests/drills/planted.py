"""Starts isthmus with one promise broken on purpose: `python planted.py NAME serve ...`.

The product has no switch for any of this. Each bug is of a kind that really happens, and the drill
must find it from outside.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from mistreated_shadows import mistreat_shadows

from isthmus.cli import main
from isthmus.core import item as items
from isthmus.core.admission import Admission, Gate
from isthmus.core.confirm import Window
from isthmus.core.item import Item
from isthmus.core.lattice import Fields
from isthmus.region.items import ItemStore, Merged
from isthmus.region.peer import PeerLink


def forget_certificates() -> None:
    """Replication drops one certificate in three, silently; the first, the canary's, arrives."""
    merge = ItemStore.merge
    seen: dict[str, int] = {}

    async def forgetful(self: ItemStore, theirs: Item) -> Merged:
        if theirs.kind == "certificate" and seen.setdefault(theirs.key, len(seen)) % 3 == 2:
            return Merged(theirs, theirs, 0)
        return await merge(self, theirs)

    ItemStore.merge = forgetful  # type: ignore[method-assign]


def acknowledge_when_stored_here() -> None:
    """The gateway does not wait for the second region."""
    Window._promise_is_local = lambda self: True  # type: ignore[method-assign]
    Window._note_alone = lambda self, batch: None  # type: ignore[method-assign]


def admit_at_once() -> None:
    """A gateway is open from its first moment, while catching up takes a second."""
    Gate.admission = property(lambda self: Admission.OPEN)  # type: ignore[method-assign, assignment]
    contact = PeerLink._contact

    async def slow(self: PeerLink) -> None:
        await asyncio.sleep(1.0)
        await contact(self)

    PeerLink._contact = slow  # type: ignore[method-assign]


def revive_what_was_revoked() -> None:
    """A copied certificate arrives as it was created: active."""
    decode = items.decode

    def without_revocation(raw: bytes) -> Item:
        item = decode(raw)
        if item.kind != "certificate" or "revoked" not in item.fields.values:
            return item
        kept = {name: value for name, value in item.fields.values.items() if name != "revoked"}
        return Item(item.kind, item.key, item.vv, Fields(kept))

    items.decode = without_revocation


BUGS: dict[str, Callable[[], None]] = {
    "mistreat-shadows": mistreat_shadows,
    "none": lambda: None,
    "forget-certificates": forget_certificates,
    "acknowledge-when-stored-here": acknowledge_when_stored_here,
    "admit-at-once": admit_at_once,
    "revive-what-was-revoked": revive_what_was_revoked,
}

if __name__ == "__main__":
    BUGS[sys.argv.pop(1)]()
    main()
