"""Shadows: what a request to get, update or delete one makes of its item, and what is answered.

An item holds one document (``core/shadow_tree.py``). Nothing of it is in another item: a shadow
lives without its thing, and a thing that is deleted leaves its shadows.

Two regions may update one shadow at once: both are accepted, and the document is as if one region
had taken both in the order of their stamps. The version is the number of updates that are in it, so
it never goes down, regions that hold the same have the same, and two that were accepted at once
under one version are told of the same next one; the exchange adds both. Who deletes a shadow while
another region updates it leaves of it what is later: nothing, or that update alone. What gave way
unseen is listed as a conflict.

A deletion is no version. A shadow that is created again has the next one, as on AWS within 48 hours
of the deletion; here always, as a region that did not hear of it has the old version still.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from isthmus.core import shadow_answers as answers
from isthmus.core import shadow_tree
from isthmus.core.catalogue import ByKey
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import (
    CONFLICT,
    DESIRED,
    REPORTED,
    TOO_LARGE,
    ShadowRefused,
    UpdateRequest,
)
from isthmus.core.shadow_tree import ShadowTree
from isthmus.core.shadow_view import seconds, size, view
from isthmus.core.table import Path
from isthmus.errors import InputError

SHADOW = "shadow"
#: A path, followed by a thing's name: its named shadows, by name.
LISTED_BY_THING = "shadow-by-thing"
#: AWS's, in bytes of the sections without their metadata. Regions that were apart may together
#: have come to more: then an update may be no growth.
DOCUMENT_MAX = 8 * 1024
#: Bytes of the item, beyond which an update may be no growth either: a document of the smallest
#: leaves has 100 KB with its stamps, and the rest is marks of what was taken away.
STORED_MAX = 160 * 1024

_DOCUMENT = "document"
#: In no name of a thing or a shadow; AWS joins them so in errors.
_BETWEEN = "~"


def key(thing: str, name: str | None = None) -> str:
    """The key of a thing's shadow; the classic one has no name."""
    return thing if name is None else f"{thing}{_BETWEEN}{name}"


def of(key: str) -> tuple[str, str | None]:
    """Thing and name of the shadow that has a key."""
    thing, is_named, name = key.partition(_BETWEEN)
    return thing, name if is_named else None


def names(key: str) -> Iterator[tuple[Path, str]]:
    """Where a named shadow is listed, by its name."""
    thing, name = of(key)
    if name is not None:
        yield (LISTED_BY_THING, thing), name


def is_there(item: Item) -> bool:
    """Whether there is a shadow, be it an empty one."""
    return _tree(item).root.is_object


listed = ByKey(names, is_there)


def version(item: Item) -> int:
    """What AWS's clients see as the version; of a deleted shadow its last one, 0 of none."""
    return item.version - sum(_tree(item).deletes.values())


def _tree(item: Item) -> ShadowTree:
    found = item.fields.get(_DOCUMENT)
    return found if isinstance(found, ShadowTree) else ShadowTree()


class Documents:
    """A shadow before and after something was written, and what clients are told of that.

    Nothing is said before it is asked for: most shadows have nobody who listens to all of it.
    """

    def __init__(self, before: Item, item: Item, client_token: str | None = None) -> None:
        self.before = before
        self.item = item
        self.client_token = client_token
        self.version = version(item)
        tree = _tree(item)
        self.at_s = seconds(tree.root.newest[0])
        self.current = view(tree)

    def delta(self) -> bytes | None:
        """For ``update/delta``; None where the device is as desired."""
        return answers.delta(self.current, self.version, self.at_s, self.client_token)

    def documents(self) -> bytes:
        """For ``update/documents``."""
        previous = None
        if is_there(self.before):
            previous = answers.document(view(_tree(self.before)), version(self.before))
        current = answers.document(self.current, self.version)
        return answers.documents(previous, current, self.at_s, self.client_token)


class Updated(Documents):
    """An update that is carried out: its item, and what clients are told once that is kept."""

    def __init__(self, before: Item, item: Item, request: UpdateRequest) -> None:
        super().__init__(before, item, request.client_token)
        self._request = request

    def accepted(self) -> bytes:
        """For ``update/accepted``."""
        return answers.accepted(self._request, self.version, self.at_s)


def update(item: Item, writer: Writer, request: UpdateRequest) -> Updated:
    """Create a shadow, or merge into it; raises ShadowRefused."""
    if request.version is not None and request.version != version(item):
        raise ShadowRefused(*CONFLICT, request.client_token)
    state = {DESIRED: None, REPORTED: None} if request.state is None else request.state
    write = writer.write(item)
    tree = _tree(item).updated(state, shadow_tree.mark(write.stamp, write.dot))
    try:
        updated = Updated(item, write.put(_DOCUMENT, tree).done(), request)
    except InputError:
        # So much was taken away one by one; to take its section away, or the shadow, makes room.
        raise ShadowRefused(*TOO_LARGE, request.client_token) from None
    stored = len(updated.item.encode())
    # All of the document is in the item, and its stamps beside it.
    if stored > DOCUMENT_MAX:
        after = size(updated.current)
        if after > DOCUMENT_MAX and after > size(view(_tree(item))):
            raise ShadowRefused(*TOO_LARGE, request.client_token)
    if stored > STORED_MAX and stored > len(item.encode()):
        raise ShadowRefused(*TOO_LARGE, request.client_token)
    return updated


class Deleted(NamedTuple):
    """A deletion that is carried out."""

    item: Item
    #: For ``delete/accepted``.
    accepted: bytes


def delete(item: Item, writer: Writer, client_token: str | None = None) -> Deleted:
    """Delete a shadow; raises ShadowRefused where there is none."""
    _check_there(item, client_token)
    write = writer.write(item)
    mark = shadow_tree.mark(write.stamp, write.dot)
    tree = _tree(item).deleted(writer.clock.actor, mark)
    after = write.put(_DOCUMENT, tree).done()
    return Deleted(after, answers.deleted(version(item), seconds(mark[0]), client_token))


def get(item: Item, now_ms: int, client_token: str | None = None) -> bytes:
    """The document, for ``get/accepted``; raises ShadowRefused where there is none."""
    _check_there(item, client_token)
    return answers.got(view(_tree(item)), version(item), seconds(now_ms), client_token)


def _check_there(item: Item, client_token: str | None) -> None:
    if not is_there(item):
        thing, name = of(item.key)
        raise ShadowRefused(404, f"No shadow exists with name: '{name or thing}'", client_token)


def changed(before: Item, after: Item) -> Documents | None:
    """What the devices of this region are told as another region's word arrives by the log.

    None where that says nothing new, or the shadow is not there any more.
    """
    if before.vv == after.vv or not is_there(after):
        return None
    return Documents(before, after)
