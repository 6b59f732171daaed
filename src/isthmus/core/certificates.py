"""Certificates as AWS's API registers them; their status is ``core.registry``'s."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from isthmus.core import lists, registry
from isthmus.core.item import Item
from isthmus.core.lattice import Flag
from isthmus.core.registry import CERTIFICATE, CertificateStatus, Writer
from isthmus.core.table import Path

#: The path of those that a CA has signed, followed by its id.
LISTED_BY_CA = "certificate-by-ca"
#: The paths of claims, and of those that wait for their activation, in the order in which they end.
LISTED_CLAIMS, LISTED_WAITING = "certificate-claim", "certificate-waiting"


class Mode(StrEnum):
    """How a certificate's account is found; as AWS IoT names it."""

    DEFAULT = "DEFAULT"
    SNI_ONLY = "SNI_ONLY"


class Expiry(NamedTuple):
    """When a certificate is deleted, in milliseconds since 1970."""

    at_ms: int
    #: In any case; any other one only if it waits for its activation until then.
    is_claim: bool = False


def register(
    item: Item,
    writer: Writer,
    pem: str,
    status: CertificateStatus,
    mode: Mode,
    ca: str | None = None,
    expiry: Expiry | None = None,
) -> Item:
    """Begin a certificate; ``ca`` is the id of the registered CA that has signed it."""
    write = writer.write(item).create().set("pem", pem).set("mode", mode.value).set("ca", ca)
    if expiry is not None:
        write.set("expiry", list(expiry))
    match status:
        case CertificateStatus.ACTIVE:
            registry.activated(write, item)
        case CertificateStatus.INACTIVE:
            write.add("blocks", {})
        case CertificateStatus.REVOKED:
            write.put("revoked", Flag(True))
    return write.done()


def mode(item: Item) -> Mode:
    return Mode.SNI_ONLY if item.register("mode") == Mode.SNI_ONLY else Mode.DEFAULT


def expiry(item: Item) -> Expiry | None:
    """When a certificate ends by itself; None of one that does not, or not any more."""
    match item.register("expiry"):
        case [int(at_ms), bool(is_claim)] if item.lives:
            waiting = CertificateStatus.PENDING_ACTIVATION
            if is_claim or registry.certificate_status(item) is waiting:
                return Expiry(at_ms, is_claim)
    return None


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a certificate is listed."""
    if not item.lives:
        return
    yield (CERTIFICATE,), lists.by_creation(item)
    ca = item.register("ca")
    if ca is not None:
        yield (LISTED_BY_CA, ca), lists.by_creation(item)
    ends = expiry(item)
    if ends is not None:
        path = LISTED_CLAIMS if ends.is_claim else LISTED_WAITING
        yield (path,), f"{lists.at(ends.at_ms)} {item.key}"
