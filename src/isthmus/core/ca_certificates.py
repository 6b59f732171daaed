"""CA certificates that customers register, and the codes that prove that a CA is theirs.

A CA is active, and registers what it has signed by itself, by the scheme of certificates: what one
region has switched off stays so until somebody who has seen that switches it on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from isthmus.core import lists, register_map, registry
from isthmus.core.certificates import Mode
from isthmus.core.item import Item, Write
from isthmus.core.lattice import GrowSet, Live
from isthmus.core.registry import CertificateStatus, Writer
from isthmus.core.table import Path

CA_CERTIFICATE = "ca-certificate"
#: Paths, followed by a subject and by the name of a template.
LISTED_BY_SUBJECT = "ca-by-subject"
LISTED_BY_TEMPLATE = "ca-by-template"
#: AWS's limit.
SAME_SUBJECT_MAX = 10

REGISTRATION_CODE = "registration-code"
#: The item's key.
CODES = "codes"

Config = Mapping[str, str]


# Writing


def register(
    item: Item,
    writer: Writer,
    pem: str,
    subject: str,
    mode: Mode,
    *,
    is_active: bool,
    auto_registers: bool,
    config: Config | None = None,
    tags: Mapping[str, str] | None = None,
) -> Item:
    """Begin a CA."""
    write = writer.write(item).create().set("pem", pem).set("subject", subject)
    write.set("mode", mode.value).set("config", dict(config) if config else None)
    register_map.put(write, item, "tags", tags or {})
    _set_active(write, item, is_active)
    return _switch(write, item, auto_registers).done()


def set_active(item: Item, writer: Writer, *, is_active: bool) -> Item:
    """Have it active or not."""
    if (registry.certificate_status(item) is CertificateStatus.ACTIVE) == is_active:
        return item
    return _set_active(writer.write(item), item, is_active).done(tightens=not is_active)


def _set_active(write: Write, item: Item, is_active: bool) -> Write:
    return registry.activated(write, item) if is_active else write.add("blocks", {}).touch()


def set_auto_registration(item: Item, writer: Writer, *, is_on: bool) -> Item:
    """Have it register what it has signed, or not."""
    if auto_registers(item) == is_on:
        return item
    return _switch(writer.write(item), item, is_on).done(tightens=not is_on)


def _switch(write: Write, item: Item, is_on: bool) -> Write:
    if not is_on:
        return write.add("auto_blocks", {}).touch()
    lives = frozenset(write.live("life").entries)
    on = GrowSet(_auto(item) | lives)
    return write.put("auto", on).kill("auto_blocks").touch()


def set_config(item: Item, writer: Writer, config: Config | None) -> Item:
    """Say what is made of a device that is registered by itself; None for nothing."""
    if registration_config(item) == (dict(config) if config else None):
        return item
    return writer.write(item).set("config", dict(config) if config else None).done()


# Reading


def _auto(item: Item) -> frozenset[str]:
    found = item.fields.get("auto")
    return found.members if isinstance(found, GrowSet) else frozenset()


def is_active(item: Item) -> bool:
    return registry.certificate_status(item) is CertificateStatus.ACTIVE


def auto_registers(item: Item) -> bool:
    """Whether it registers what it has signed; while it is active, that is."""
    blocks = item.fields.get("auto_blocks")
    is_blocked = isinstance(blocks, Live) and bool(blocks.entries)
    return not is_blocked and bool(_auto(item) & item.lives)


def is_registering(item: Item) -> bool:
    """Whether devices that it has signed are registered now, when they come."""
    return is_active(item) and auto_registers(item)


def registration_config(item: Item) -> dict[str, Any] | None:
    config = item.register("config")
    return dict(config) if config else None


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a CA is listed."""
    if not item.lives:
        return
    name = lists.by_creation(item)
    yield (CA_CERTIFICATE,), name
    subject = item.register("subject")
    if subject is not None:
        yield (LISTED_BY_SUBJECT, subject), name
    template = (registration_config(item) or {}).get("templateName")
    if template is not None:
        yield (LISTED_BY_TEMPLATE, template), name


# Registration codes


# There is one at any time, so that to ask for it writes nothing: who may only read asks too.


def replace_codes(item: Item, writer: Writer, code: str) -> Item:
    """Have this code and none of those that are known here.

    Of codes that regions made at once, each is valid until somebody who knows it replaces it.
    """
    return writer.write(item).create().kill("codes").add("codes", code).done(tightens=True)


def codes(item: Item, first: str) -> list[str]:
    """The valid codes, the one that is told before others; ``first`` until it is replaced."""
    held = item.fields.get("codes")
    found = sorted(set(held.entries.values())) if isinstance(held, Live) else []
    return found or [first]
