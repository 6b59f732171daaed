"""The indexes of the fleet: describe, list, configure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus.aws import indexing, paging
from isthmus.aws.context import Context
from isthmus.aws.indexing import DEFAULTS, MANAGED, OFF, REGISTERS, Index
from isthmus.aws.operations import OPERATIONS, Output, Parameters
from isthmus.aws.paging import Entry
from isthmus.aws.resources import refuse
from isthmus.core import resource
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.settings import ALL, GROUPS, INDEXING, THINGS

_MEMBERS = {
    THINGS: "thingIndexingConfiguration",
    GROUPS: "thingGroupIndexingConfiguration",
}
#: AWS's.
CUSTOM_FIELDS_MAX = 5
NAMED_SHADOWS_MAX = 10
GEO_LOCATIONS_MAX = 1


@OPERATIONS.handles("DescribeIndex")
def describe_index(context: Context, parameters: Parameters) -> Output:
    """It is complete from the moment it is switched on."""
    index = indexing.named(context, parameters["indexName"])
    return {"indexName": index.name, "indexStatus": "ACTIVE", "schema": index.schema}


@OPERATIONS.handles("ListIndices")
def list_indices(context: Context, parameters: Parameters) -> Output:
    """Those that are switched on."""

    def entries(after: str | None) -> Iterator[Entry]:
        for name in sorted(REGISTERS):
            if Index(context, name).parts and (after is None or name > after):
                yield Entry(name, name)

    return paging.page(context.call, entries)


@OPERATIONS.handles("GetIndexingConfiguration")
def get_indexing_configuration(context: Context, parameters: Parameters) -> Output:
    """Each as it was configured, with the fields that its modes bring."""
    found: dict[str, Any] = {}
    for name, register in REGISTERS.items():
        index = Index(context, name)
        managed = [{"name": field, "type": kind} for field, kind in index.managed.items()]
        found[_MEMBERS[register]] = {**index.configuration, "managedFields": managed or None}
    return found


@OPERATIONS.handles("UpdateIndexingConfiguration")
async def update_indexing_configuration(context: Context, parameters: Parameters) -> Output:
    """Each that is given is replaced whole.

    Of two regions that replace one at once the later write stands; replaced there and here, things
    and groups are both as they were said to be.
    """
    given = {
        register: parameters[member]
        for register, member in _MEMBERS.items()
        if member in parameters
    }
    if not given:
        names = " / ".join(_MEMBERS.values())
        raise refuse(context, f"At least one configuration to update ({names}) is required")
    checked = {register: _checked(context, register, each) for register, each in given.items()}

    def update(item: Item, writer: Writer) -> Item:
        return resource.put(item, writer, checked, {})

    await context.write(INDEXING, ALL, update)
    return {}


def _checked(context: Context, register: str, given: dict[str, Any]) -> dict[str, Any]:
    """What is stored of a configuration; raises ServiceError for one that says what cannot be."""
    _check_managed(context, register, given.get("managedFields", ()))
    wanted = {name: value for name, value in given.items() if name != "managedFields"}
    modes = {**DEFAULTS[register], **wanted}
    if register == GROUPS:
        _check_custom(context, wanted.get("customFields", ()), ["attributes."])
        return wanted
    on = [name for name in DEFAULTS[THINGS] if modes[name] != OFF]
    if on and modes["thingIndexingMode"] == OFF:
        mode = on[0][0].upper() + on[0][1:]
        raise refuse(context, f"ThingIndexingMode must be turned ON for enabling {mode}")
    if not on:
        # As AWS does: nothing is kept for when it is switched on again.
        return {"thingIndexingMode": OFF}
    _check_filter(context, modes)
    heads = ["attributes."]
    if modes["thingIndexingMode"] == "REGISTRY_AND_SHADOW":
        heads += ["shadow.desired.", "shadow.reported.", "shadow.delta.", "shadow.metadata."]
    if "namedShadowIndexingMode" in on:
        heads.append("shadow.name.")
    if "deviceDefenderIndexingMode" in on:
        heads.append("deviceDefender.")
    _check_custom(context, wanted.get("customFields", ()), heads)
    return wanted


def _check_managed(context: Context, register: str, fields: Any) -> None:
    """They may be given as they are, and changed by nobody."""
    parts = MANAGED if register == THINGS else {"groups": MANAGED["groups"]}
    known = {name: kind for part in parts for name, kind in MANAGED[part].items()}
    for each in fields:
        name, kind = each.get("name"), each.get("type")
        if name is None or known.get(name) != kind:
            message = "Only managed fields with expected types are allowed in managedFields. "
            raise refuse(context, f"{message}Invalid field: name:{name}, type:{kind}")


def _check_custom(context: Context, fields: Any, heads: list[str]) -> None:
    if len(fields) > CUSTOM_FIELDS_MAX:
        raise refuse(context, f"{len(fields)} customFields are more than {CUSTOM_FIELDS_MAX}")
    for each in fields:
        name, kind = each.get("name"), each.get("type")
        if name is None or kind is None:
            raise refuse(context, f"A custom field needs a name and a type: {name}, {kind}")
        if not any(name.startswith(head) and name != head for head in heads):
            message = f"The field {name} is not among what is indexed: it may begin with "
            raise refuse(context, message + ", ".join(heads))


def _check_filter(context: Context, modes: dict[str, Any]) -> None:
    selected = modes.get("filter", {})
    names, places = selected.get("namedShadowNames", ()), selected.get("geoLocations", ())
    if modes["namedShadowIndexingMode"] == "ON" and not names:
        message = "NamedShadowNames Filter must not be empty for enabling NamedShadowIndexingMode"
        raise refuse(context, message)
    if len(names) > NAMED_SHADOWS_MAX:
        raise refuse(context, f"{len(names)} namedShadowNames are more than {NAMED_SHADOWS_MAX}")
    if len(places) > GEO_LOCATIONS_MAX:
        raise refuse(context, f"{len(places)} geoLocations are more than {GEO_LOCATIONS_MAX}")
