"""The CAs that a system signs devices' certificates with, where it makes them itself.

One item for the whole system. The region that needs a CA first makes it; two that do so at once
make two, and either signs for everybody from then on. A CA's key is in the item sealed, together
with the CA that it is the key of: whoever can write items can neither read it nor put another one
in its place.
"""

from __future__ import annotations

from typing import NamedTuple

from isthmus.core.item import Item
from isthmus.core.lattice import Live
from isthmus.core.registry import Writer

ISSUING_CA = "issuing-ca"
#: The item's key.
DEVICES = "devices"


class Authority(NamedTuple):
    """One CA."""

    id: str
    pem: str
    #: The private key, which opens only as this CA's.
    sealed: str


def sealed_for(authority_id: str) -> str:
    """What a key is sealed together with."""
    return f"{ISSUING_CA}:{authority_id}"


def add(item: Item, writer: Writer, authority: Authority) -> Item:
    """Have a CA beside those that there are."""
    return writer.write(item).create().add("authorities", authority._asdict()).done()


def authorities(item: Item) -> list[Authority]:
    """All CAs, in an order that is the same in every region."""
    held = item.fields.get("authorities")
    found = []
    for entry in held.entries.values() if isinstance(held, Live) else ():
        match entry:
            case {"id": str(authority_id), "pem": str(pem), "sealed": str(sealed)}:
                found.append(Authority(authority_id, pem, sealed))
    return sorted(found)
