"""Suspensions: things and groups whose devices are let in nowhere until somebody resumes them.

One item for each thing or group that was ever suspended. An entry of it is one suspension; to
suspend puts one in place of those that are known, and to resume removes those that are known. So
what is suspended here while it is resumed there stays suspended, also where it was before, until
somebody who has seen this suspension resumes it.

Certificates are left as they are. Gateways ask at CONNECT whose a certificate is
(``core.view``), so one write holds for a group of any size, for a thing that joins it later and for
a certificate that is attached later, and activating a certificate by hand lifts nothing. Whose it
is, attachments and memberships say: who detaches a certificate or takes a thing out of a group has
said that the suspension is not about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from isthmus.core import lives
from isthmus.core.item import Item
from isthmus.core.lattice import Dot, Live
from isthmus.core.registry import Writer
from isthmus.core.table import Path

SUSPENSION = "suspension"
#: The path of those that hold.
LISTED = "suspension"
#: Why, and the lives of what is suspended as far as they were known.
_ENTRIES = "suspensions"
#: Of a reason.
REASON_CHARACTERS_MAX = 256


class Suspension(NamedTuple):
    """What holds of one thing or group."""

    #: ``THING`` or ``THING_GROUP``.
    kind: str
    name: str
    #: More than one where regions have suspended it at once.
    reasons: tuple[str, ...]
    #: Things that were in a group in one of these are suspended, though the group be deleted.
    lives: frozenset[Dot]
    since_ms: int


def key(kind: str, name: str) -> str:
    """The key of the item for a thing or a group."""
    return f"{kind}:{name}"


def target(item_key: str) -> tuple[str, str]:
    """The kind and the name of what such a key is for."""
    kind, _, name = item_key.partition(":")
    return kind, name


def suspend(item: Item, writer: Writer, suspended: Item, reason: str) -> Item:
    """Suspend, or suspend again: whoever resumes at the same time has not seen this one.

    Also what is not known here: it may be new elsewhere.
    """
    entry = {"reason": reason, "lives": sorted(suspended.lives)}
    write = writer.write(item, suspended).begin().kill(_ENTRIES).add(_ENTRIES, entry)
    return write.done(tightens=True)


def resume(item: Item, writer: Writer) -> Item:
    """End the suspensions that are known here; the same item where there are none."""
    if suspension(item) is None:
        return item
    return writer.write(item).kill(_ENTRIES).delete().done()


def suspension(item: Item) -> Suspension | None:
    """What holds; None where nothing does."""
    held = item.fields.get(_ENTRIES)
    if not isinstance(held, Live) or not held.entries:
        return None
    reasons, lives_meant = set[str](), set[Dot]()
    for entry in held.entries.values():
        match entry:
            case {"reason": str(reason), "lives": list(meant)}:
                reasons.add(reason)
                lives_meant.update(meant)
    return Suspension(
        *target(item.key), tuple(sorted(reasons)), frozenset(lives_meant), lives.created_ms(item)
    )


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a suspension is listed."""
    if suspension(item):
        yield (LISTED,), item.key
