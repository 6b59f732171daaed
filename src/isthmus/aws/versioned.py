"""Versions of what has them: whose documents are immutable items beside it (``core.policies``)."""

from __future__ import annotations

from functools import partial

from isthmus.aws.context import Context
from isthmus.aws.resources import called, present
from isthmus.aws.service_error import ServiceError
from isthmus.core import policies, registry
from isthmus.core.item import Item
from isthmus.core.policies import VERSIONS_MAX, Version
from isthmus.core.registry import Writer


async def keep(context: Context, kind: str, key: str, document: str) -> None:
    """Write a document before anything refers to it."""
    keep = partial(policies.keep_version, document=document)
    await context.write(kind, key, lambda item, writer: keep(item, writer))


async def add(
    context: Context, held: Item, kind: str, document: str, *, is_default: bool
) -> tuple[Item, Version]:
    """Add a version, whose document is of this kind, to what is there; returns both."""
    key = policies.version_key(held.key, policies.last_number(held) + 1, document)
    _check_room(held, key)
    await keep(context, kind, key, document)
    put = policies.put if is_default else policies.add_version

    def listed(item: Item, writer: Writer) -> Item:
        _check_room(present(context, item), key)
        return put(item, writer, key)

    item = await context.write(held.kind, held.key, listed)
    (version,) = (each for each in policies.versions(item) if each.key == key)
    return item, version


async def end(context: Context, kind: str, key: str) -> None:
    """Delete a document that nothing refers to any more."""
    await context.write(kind, key, _ended)


def _ended(item: Item, writer: Writer) -> Item:
    return registry.delete(item, writer) if item.lives else item


def document(context: Context, kind: str, version: Version) -> str:
    """The document of a version."""
    document = context.get(kind, version.key).register("document")
    if document is None:
        message = f"The document of version {version.number} is not in this region yet"
        raise ServiceError("ServiceUnavailableException", message)
    text: str = document
    return text


def numbered(item: Item, number: str) -> Version:
    """The version of a number, as requests write it; raises ServiceError where there is none."""
    for each in policies.versions(item):
        if str(each.number) == number:
            return each
    message = f"{called(item)} has no version {number[:20]}"
    raise ServiceError("ResourceNotFoundException", message)


def _check_room(item: Item, key: str) -> None:
    """Raise ServiceError where there are as many versions as there may be, besides this one."""
    others = [each for each in policies.versions(item) if each.key != key]
    if len(others) >= VERSIONS_MAX:
        message = f"{called(item)} already has the maximum number of versions"
        raise ServiceError("VersionsLimitExceededException", f"{message} ({VERSIONS_MAX})")
