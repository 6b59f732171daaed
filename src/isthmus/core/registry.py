"""Things, certificates and attachments: how each is written, and what each means.

The functions take the present item (or an empty one) and return the version to write. Rules of
docs/correctness.md, section 4, that live here:

- *A revoked certificate is never active after a join*: ``revoked`` is a flag.
- A certificate is INACTIVE while a block is not lifted; activating lifts only the blocks it saw.
- An attachment names the lives of both ends and is void for another life of either.
- An attachment that was detached here while it was attached there is *contested*: its policy's
  Deny statements count, its Allow statements do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from isthmus.core import register_map
from isthmus.core.item import Item, Write
from isthmus.core.lattice import Flag, GrowSet, Live
from isthmus.core.stamp import StampClock

THING = "thing"
CERTIFICATE = "certificate"
POLICY = "policy"
POLICY_VERSION = "policy-version"
#: A policy attached to a principal, or a principal attached to a thing.
ATTACHMENT = "attachment"


class CertificateStatus(StrEnum):
    """As AWS IoT names them."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    REVOKED = "REVOKED"
    PENDING_ACTIVATION = "PENDING_ACTIVATION"


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, and when."""

    clock: StampClock
    now_ms: int

    def write(self, base: Item, *refers_to: Item) -> Write:
        return Write(base, self.clock, self.now_ms, refers_to)


def _members(item: Item, name: str) -> frozenset[str]:
    found = item.fields.get(name)
    return found.members if isinstance(found, GrowSet) else frozenset()


# Things


def put_thing(item: Item, writer: Writer, attributes: Mapping[str, str]) -> Item:
    """Create a thing, or set some of its attributes. An empty value removes one, as on AWS."""
    write = writer.write(item).create()
    changes = {name: value or None for name, value in attributes.items()}
    return register_map.put(write, item, "attributes", changes).done()


def delete(item: Item, writer: Writer) -> Item:
    """End the item's life."""
    return writer.write(item).delete().touch().done(tightens=True)


def attributes(item: Item) -> dict[str, str]:
    """A thing's attributes in its present life."""
    return register_map.values(item, "attributes")


# Certificates


def register_certificate(item: Item, writer: Writer, pem: str, *, active: bool) -> Item:
    """Register a certificate under its fingerprint, which is the item's key."""
    write = writer.write(item).create().set("pem", pem)
    return activated(write, item).done() if active else write.done()


def activated(write: Write, item: Item) -> Write:
    """Have a write activate: of the blocks, those that are known here are lifted."""
    # Of the lives that are known here: registered again after its deletion, it is not active yet.
    lives = frozenset(write.live("life").entries)
    activated = GrowSet(_members(item, "activated") | lives)
    return write.put("activated", activated).kill("blocks").touch()


def activate(item: Item, writer: Writer) -> Item:
    """Lift the blocks that are known here. A revoked certificate stays revoked."""
    return activated(writer.write(item), item).done()


def deactivate(item: Item, writer: Writer) -> Item:
    """Add a block, which stands until somebody who has seen it activates."""
    return writer.write(item).add("blocks", {}).touch().done(tightens=True)


def revoke(item: Item, writer: Writer) -> Item:
    """Revoke for good. Also of a certificate not known here: its fingerprint is then taken."""
    return writer.write(item).create().put("revoked", Flag(True)).touch().done(tightens=True)


def certificate_status(item: Item) -> CertificateStatus | None:
    """The status as AWS shows it, or None where there is no such certificate."""
    if item.fields.get("revoked") == Flag(True):
        return CertificateStatus.REVOKED
    if not item.lives:
        return None
    blocks = item.fields.get("blocks")
    if isinstance(blocks, Live) and blocks.entries:
        return CertificateStatus.INACTIVE
    if _members(item, "activated") & item.lives:
        return CertificateStatus.ACTIVE
    return CertificateStatus.PENDING_ACTIVATION


# Attachments


def attachment_key(target: str, principal: str) -> str:
    """``target`` is ``policy:<name>`` or ``thing:<name>``; ``principal`` a ``principal_text``."""
    return f"{target}:{principal}"


def principal_text(kind: str, key: str) -> str:
    """How attachments name who has what is attached: a certificate or a group, never with a colon.

    The text is an id of 64 digits for a certificate, and for a group nothing that could be one.
    """
    return key if kind == CERTIFICATE else f"{kind}/{key.replace(':', '%3A')}"


def principal_name(text: str) -> tuple[str, str]:
    """Kind and key of what such a text names."""
    kind, is_named, key = text.partition("/")
    return (kind, key.replace("%3A", ":")) if is_named else (CERTIFICATE, text)


def is_group(principal: str) -> bool:
    """Whether such a text names a group."""
    return "/" in principal


def attach(
    item: Item, writer: Writer, target: Item, principal: Item, *, exclusive: bool = False
) -> Item:
    """Attach, naming the lives of both ends and the detaches that were known."""
    write = writer.write(item, target, principal).create()
    entry: dict[str, Any] = {
        "target": [target.kind, target.key, sorted(target.lives)],
        "principal": [principal.kind, principal.key, sorted(principal.lives)],
        "saw": sorted(_members(item, "detaches")),
    }
    if exclusive:
        entry["exclusive"] = True
    return write.kill("attaches").add("attaches", entry).done()


def detach(item: Item, writer: Writer) -> Item:
    """Detach the attaches that are known here."""
    write = writer.write(item).kill("attaches")
    return write.put("detaches", GrowSet(_members(item, "detaches") | {write.dot})).done(
        tightens=True
    )


@dataclass(frozen=True, slots=True)
class Attach:
    """One attach that nobody who saw it has undone."""

    target_kind: str
    target_key: str
    target_lives: frozenset[str]
    principal_kind: str
    principal_key: str
    principal_lives: frozenset[str]
    contested: bool
    #: Whether the principal was to be attached to nothing else.
    exclusive: bool

    def holds_for(self, target: Item | None, principal: Item | None) -> bool:
        """Whether both ends still live the life that was attached."""
        return bool(
            target
            and principal
            and self.target_lives & target.lives
            and self.principal_lives & principal.lives
        )


def attaches(item: Item) -> list[Attach]:
    """What is attached, and whether a concurrent detach contests it."""
    found = item.fields.get("attaches")
    if not isinstance(found, Live):
        return []
    detaches = _members(item, "detaches")
    return [_attach(entry, detaches) for _, entry in sorted(found.entries.items())]


def _attach(entry: Mapping[str, Any], detaches: frozenset[str]) -> Attach:
    target_kind, target_key, target_lives = entry["target"]
    principal_kind, principal_key, principal_lives = entry["principal"]
    return Attach(
        target_kind,
        target_key,
        frozenset(target_lives),
        principal_kind,
        principal_key,
        frozenset(principal_lives),
        contested=bool(detaches - set(entry["saw"])),
        exclusive=entry.get("exclusive") is True,
    )
