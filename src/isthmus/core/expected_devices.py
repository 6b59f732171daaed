"""Devices that are expected: whose certificates are activated as soon as they come by themselves.

A device is listed by its certificate's fingerprint, or by the CA that signs it and the common name
of its subject. It is activated if it is listed when it comes; who is taken off the list afterwards
stays as he is. Where one region lists a device while another one takes it off the list, it stays
listed until somebody who has seen that takes it off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.core import registry, resource
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.table import Path
from isthmus.errors import InputError

EXPECTED_DEVICE = "expected-device"
#: X.520's upper bound: the key of an item is no place for a longer one.
COMMON_NAME_MAX = 64
#: Registers: what the device's certificate is attached to.
THING, POLICY = "thing", "policy"
_ID = re.compile("[0-9a-f]{64}")


class Expected(NamedTuple):
    """What a listed device gets; empty for nothing."""

    thing: str
    policy: str


def key(certificate: str = "", ca: str = "", common_name: str = "") -> str:
    """The item's key; raises InputError where it names no device."""
    if certificate and not ca and not common_name:
        return _checked("certificate", certificate)
    if ca and common_name and not certificate:
        if len(common_name) > COMMON_NAME_MAX:
            raise InputError(f"common_name has more than {COMMON_NAME_MAX} characters")
        return f"{_checked('ca', ca)}:{common_name}"
    hint = "a certificate's id, or a CA's id and a common name"
    raise InputError("a device is named by its certificate or by its CA and common name", hint=hint)


def _checked(field: str, text: str) -> str:
    if not _ID.fullmatch(text):
        raise InputError(f"{field} is {text[:80]!r}", hint="64 lowercase hex digits")
    return text


def keys(certificate: str, ca: str, common_names: Iterable[str]) -> list[str]:
    """The keys under which a device that has come may be listed, the closest first."""
    names = [each for each in common_names if 0 < len(each) <= COMMON_NAME_MAX]
    return [certificate, *(f"{ca}:{name}" for name in names)]


def expect(item: Item, writer: Writer, expected: Expected) -> Item:
    """List a device; the same item where it is listed just so."""
    return resource.put(item, writer, {THING: expected.thing, POLICY: expected.policy}, {})


def forget(item: Item, writer: Writer) -> Item:
    """Take a device off the list; the same item where it is not there."""
    return registry.delete(item, writer) if item.lives else item


def expected(item: Item) -> Expected | None:
    """What a device gets; None where it is not listed."""
    if not item.lives:
        return None
    return Expected(item.register(THING) or "", item.register(POLICY) or "")


def listed(item: Item) -> Iterator[tuple[Path, str]]:
    """Where a device that is expected is listed."""
    if item.lives:
        yield (EXPECTED_DEVICE,), item.key
