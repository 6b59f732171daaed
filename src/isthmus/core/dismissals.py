"""Connections that are to end because somebody asked for that, in whichever region they are.

One item per client id, of the newest of its connections that was to end. The stamp is made of that
connection's version (``core.presence``): of two regions that ask at once the newer connection's
dismissal holds, and the older connection ends without it, as it is not the client's any more. What
is asked for at once of one connection holds together. A connection that begins later has another
name, so no dismissal is ever of it.

A gateway does what it reads of its own connections. If its process is killed first, the connection
has ended, and its session and its will are as those of any client of a gateway that died.
"""

from __future__ import annotations

from typing import NamedTuple

from isthmus.core import item as items
from isthmus.core.item import Item
from isthmus.core.lattice import Fields, Latest, Lattice
from isthmus.core.presence import Word
from isthmus.core.stamp import Stamp

DISMISSAL = "dismissal"
_ENDS, _CLEANS, _SILENCES = "ends", "cleans", "silences"


class Dismissal(NamedTuple):
    """What is to become of a connection."""

    #: Its name, as ``core.presence.Present`` has it.
    session: str
    #: Its session ends with it.
    cleans: bool = False
    #: Its will is not published.
    silences: bool = False


def dismiss(item: Item, word: Word, *, cleans: bool, silences: bool) -> Item:
    """End the connection of a word."""
    name = word.present.session
    latest = Latest(Stamp(word.version, 0, word.region, name), name)
    fields: dict[str, Lattice] = {_ENDS: latest}
    if cleans:
        fields[_CLEANS] = latest
    if silences:
        fields[_SILENCES] = latest
    return items.join(item, Item(DISMISSAL, word.client, {}, Fields(fields)))


def read(item: Item) -> Dismissal | None:
    """What an item says; what a later release wrote and we cannot read is nothing."""
    found = {
        name: value.value
        for name, value in item.fields.values.items()
        if isinstance(value, Latest) and isinstance(value.value, str)
    }
    session = found.get(_ENDS)
    if session is None:
        return None
    return Dismissal(session, found.get(_CLEANS) == session, found.get(_SILENCES) == session)
