"""Things and groups as the fleet index has them: to be searched, and to be shown.

Made for one search, of what items and services say at that moment. What a query does not ask for
is not looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from isthmus.aws import group_tree
from isthmus.aws.context import Context
from isthmus.aws.referring import refers_to
from isthmus.core import lives, registry, thing_groups, things
from isthmus.core.item import Item
from isthmus.core.presence import Word
from isthmus.core.search.matching import Scalar
from isthmus.core.search.planning import ATTRIBUTE

#: A field without a value has none; one may have several.
_Found = Sequence[Scalar | None]


class ThingDocument:
    """A thing."""

    #: Searched where a query names no field, besides the attributes.
    _ANYWHERE = ("thingName", "thingId", "thingTypeName", "thingGroupNames")

    def __init__(self, context: Context, item: Item) -> None:
        self._context = context
        self.item = item
        self.is_connectivity_known = False
        self._connectivity: Mapping[str, Scalar] = {}

    def know(self, word: Word | None) -> None:
        """Take in what is known of the client that is called like the thing."""
        self.is_connectivity_known = True
        self._connectivity = connectivity(word)

    def values(self, field: str) -> list[Scalar]:
        return [each for each in self._values(field) if each is not None]

    def anywhere(self) -> Iterator[tuple[str, Scalar]]:
        for field in self._ANYWHERE:
            yield from ((field, each) for each in self.values(field))
        for name, value in registry.attributes(self.item).items():
            yield f"{ATTRIBUTE}{name}", value

    def _values(self, field: str) -> _Found:
        match field.removeprefix("registry."):
            case "thingName":
                return (self.item.key,)
            case "thingId":
                return (lives.resource_id(self.item),)
            case "thingTypeName":
                return (refers_to(self._context, self.item, things.TYPE),)
            case "thingGroupNames":
                return self._groups()
            case "version":
                return (self.item.version,)
        if field.startswith(ATTRIBUTE):
            return (registry.attributes(self.item).get(field.removeprefix(ATTRIBUTE)),)
        head, _, name = field.partition(".")
        return (self._connectivity.get(name) if head == "connectivity" else None,)

    def _groups(self) -> list[str]:
        """The groups that it is right in, and its billing group."""
        billing = refers_to(self._context, self.item, things.BILLING_GROUP)
        names = [group.key for group in group_tree.groups_of(self._context, self.item)]
        return names if billing is None else [*names, billing]

    def shown(self) -> dict[str, Any]:
        """As SearchIndex answers it; what it has nothing of is left out."""
        known = {name: each for name, each in self._connectivity.items() if name != "version"}
        return {
            "thingName": self.item.key,
            "thingId": lives.resource_id(self.item),
            "thingTypeName": refers_to(self._context, self.item, things.TYPE),
            "thingGroupNames": self._groups() or None,
            "attributes": registry.attributes(self.item) or None,
            "connectivity": known or None,
        }


def connectivity(word: Word | None) -> Mapping[str, Scalar]:
    """What the index has of a connection, by name; of one that is forgotten, that there is none."""
    if word is None:
        return {"connected": False}
    found: dict[str, Scalar] = {"connected": not word.has_ended, "version": word.version}
    found["clientId"] = word.client
    if not word.has_ended:
        found["timestamp"] = word.present.at_ms
    elif word.ended_ms:
        found["timestamp"], found["disconnectReason"] = word.ended_ms, word.reason
    present = word.present
    if present.keep_alive_s is not None:
        found["keepAliveDuration"] = present.keep_alive_s
    if present.session_expiry_s is not None:
        found["cleanSession"] = not present.session_expiry_s
        found["sessionExpiry"] = present.session_expiry_s
    return found


class GroupDocument:
    """A thing group."""

    _ANYWHERE = ("thingGroupName", "thingGroupId", "description", "parentGroupNames")

    def __init__(self, context: Context, item: Item) -> None:
        self._context = context
        self.item = item

    def values(self, field: str) -> list[Scalar]:
        return [each for each in self._values(field) if each is not None]

    def anywhere(self) -> Iterator[tuple[str, Scalar]]:
        for field in self._ANYWHERE:
            yield from ((field, each) for each in self.values(field))
        for name, value in thing_groups.attributes(self.item).items():
            yield f"{ATTRIBUTE}{name}", value

    def _values(self, field: str) -> _Found:
        match field:
            case "thingGroupName":
                return (self.item.key,)
            case "thingGroupId":
                return (lives.resource_id(self.item),)
            case "description":
                return (self.item.register(thing_groups.DESCRIPTION),)
            case "parentGroupNames":
                return self._above()
            case "version":
                return (self.item.version,)
        return (thing_groups.attributes(self.item).get(field.removeprefix(ATTRIBUTE)),)

    def _above(self) -> list[str]:
        """The groups that it is in, from the root to its parent."""
        return [group.key for group in group_tree.above(self._context, self.item)]

    def shown(self) -> dict[str, Any]:
        """As SearchIndex answers it; what it has nothing of is left out."""
        return {
            "thingGroupName": self.item.key,
            "thingGroupId": lives.resource_id(self.item),
            "thingGroupDescription": self.item.register(thing_groups.DESCRIPTION),
            "attributes": thing_groups.attributes(self.item) or None,
            "parentGroupNames": self._above() or None,
        }


Document = ThingDocument | GroupDocument
