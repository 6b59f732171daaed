"""Certificates as AWS's API registers them; their status is ``core.registry``'s."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from isthmus.core import lists, registry
from isthmus.core.item import Item
from isthmus.core.lattice import Flag
from isthmus.core.registry import CERTIFICATE, CertificateStatus, Writer
from isthmus.core.table import Path

#: The path of those that a CA has signed, followed by its id.
LISTED_BY_CA = "certificate-by-ca"


class Mode(StrEnum):
    """How a certificate's account is found; as AWS IoT names it."""

    DEFAULT = "DEFAULT"
    SNI_ONLY = "SNI_ONLY"


def register(
    item: Item,
    writer: Writer,
    pem: str,
    status: CertificateStatus,
    mode: Mode,
    ca: str | None = None,
) -> Item:
    """Begin a certificate; ``ca`` is the id of the registered CA that has signed it."""
    write = writer.write(item).create().set("pem", pem).set("mode", mode.value).set("ca", ca)
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


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a certificate is listed."""
    if not item.lives:
        return
    yield (CERTIFICATE,), lists.by_creation(item)
    ca = item.register("ca")
    if ca is not None:
        yield (LISTED_BY_CA, ca), lists.by_creation(item)
