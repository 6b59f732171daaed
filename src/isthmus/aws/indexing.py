"""The two indexes, and what is indexed in them: nothing until somebody configures it.

Nothing is built: searches read the lists that there are anyway, so an index is complete from the
moment it is switched on. Of shadows and violations there are none yet, and none are found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isthmus.aws.context import Context
from isthmus.aws.resources import refuse
from isthmus.aws.service_error import ServiceError
from isthmus.core.search.planning import ATTRIBUTE
from isthmus.core.settings import ALL, GROUPS, INDEXING, THINGS

AWS_THINGS, AWS_THING_GROUPS = "AWS_Things", "AWS_ThingGroups"
#: By index: the register that has its configuration.
REGISTERS = {AWS_THINGS: THINGS, AWS_THING_GROUPS: GROUPS}
OFF = "OFF"
#: What nobody has configured.
DEFAULTS: dict[str, dict[str, Any]] = {
    THINGS: {
        "thingIndexingMode": OFF,
        "thingConnectivityIndexingMode": OFF,
        "deviceDefenderIndexingMode": OFF,
        "namedShadowIndexingMode": OFF,
    },
    GROUPS: {"thingGroupIndexingMode": OFF},
}
#: Types of managed fields, by the part of an index that has them.
MANAGED = {
    "registry": {
        "thingName": "String",
        "thingId": "String",
        "registry.version": "Number",
        "registry.thingTypeName": "String",
        "registry.thingGroupNames": "String",
    },
    "shadow": {"shadow.version": "Number", "shadow.hasDelta": "Boolean"},
    "shadow.name": {"shadow.name.*.version": "Number", "shadow.name.*.hasDelta": "Boolean"},
    "connectivity": {
        "connectivity.connected": "Boolean",
        "connectivity.timestamp": "Number",
        "connectivity.disconnectReason": "String",
        "connectivity.clientId": "String",
        "connectivity.version": "Number",
    },
    "deviceDefender": {"deviceDefender.violationCount": "Number"},
    "groups": {
        "thingGroupName": "String",
        "thingGroupId": "String",
        "description": "String",
        "parentGroupNames": "String",
        "version": "Number",
    },
}
#: What a query may ask of, besides attributes and what is in a part of its own. Versions are
#: managed fields and no query may ask for them, but for those of connections.
_THING_FIELDS = {"thingName", "thingId", "thingTypeName", "thingGroupNames"}
_GROUP_FIELDS = {"thingGroupName", "thingGroupId", "description", "parentGroupNames"}
#: What a field begins with whose part may be switched off, as AWS's message calls that.
_PARTS = {
    "connectivity": "Connectivity",
    "shadow": "Shadow",
    "deviceDefender": "Devicedefender",
}


class Index:
    """One index, as it is configured."""

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self.name = name
        self.configuration = configuration(context, REGISTERS[name])
        self.has_things = name == AWS_THINGS

    @property
    def parts(self) -> set[str]:
        """What it has; nothing where it is off."""
        modes = self.configuration
        if not self.has_things:
            return {"groups"} if modes["thingGroupIndexingMode"] == "ON" else set()
        switched_on = {
            "registry": modes["thingIndexingMode"] != OFF,
            "shadow": modes["thingIndexingMode"] == "REGISTRY_AND_SHADOW",
            "shadow.name": modes["namedShadowIndexingMode"] == "ON",
            "connectivity": modes["thingConnectivityIndexingMode"] == "STATUS",
            "deviceDefender": modes["deviceDefenderIndexingMode"] == "VIOLATIONS",
        }
        return {part for part, is_on in switched_on.items() if is_on}

    @property
    def managed(self) -> dict[str, str]:
        """The types of its managed fields."""
        return {
            name: kind
            for part in MANAGED
            if part in self.parts
            for name, kind in MANAGED[part].items()
        }

    def type_of(self, field: str) -> str | None:
        """The type of a field that may be counted; None for any other."""
        custom = {each["name"]: each["type"] for each in self.configuration.get("customFields", ())}
        return self.managed.get(field) or custom.get(field)

    @property
    def schema(self) -> str:
        """What DescribeIndex calls what it has."""
        if not self.has_things:
            return "THING_GROUPS"
        if self.parts & {"shadow.name", "deviceDefender"}:
            return "MULTI_INDEXING_MODE"
        connectivity = "_AND_CONNECTIVITY_STATUS" if "connectivity" in self.parts else ""
        return f"{self.configuration['thingIndexingMode']}{connectivity}"

    def check(self, fields: Iterable[str]) -> None:
        """Raise ServiceError for a field that no query may ask for."""
        for field in fields:
            head, _, rest = field.partition(".")
            is_known = field in (_THING_FIELDS if self.has_things else _GROUP_FIELDS)
            if is_known or (field.startswith(ATTRIBUTE) and rest):
                continue
            if not self.has_things or head not in _PARTS or not rest:
                raise invalid_query(f"invalid field name, field name: {field}")
            if head == "connectivity" and field not in MANAGED[head]:
                raise invalid_query(f"invalid field name, field name: {field}")
            is_named = head == "shadow" and rest.startswith("name.")
            if ("shadow.name" if is_named else head) not in self.parts:
                raise refuse(
                    self._context,
                    f"Query includes one or more constraints for {_PARTS[head]} attribute, but "
                    f"{_PARTS[head]} indexing is not enabled for {self.name} index",
                )


def invalid_query(reason: str) -> ServiceError:
    return ServiceError("InvalidQueryException", f"Unable to parse query, {reason}")


def configuration(context: Context, register: str) -> dict[str, Any]:
    """What was configured of things, or of groups."""
    held = context.get(INDEXING, ALL).register(register)
    return {**DEFAULTS[register], **(held if isinstance(held, dict) else {})}


def named(context: Context, name: str) -> Index:
    """An index by its name; raises ServiceError where there is none, or it is off."""
    if name not in REGISTERS:
        raise refuse(context, f"Unrecognized indexName {name}")
    index = Index(context, name)
    if not index.parts:
        message = f"Index {name} does not exist. Please enable index by calling "
        raise ServiceError("ResourceNotFoundException", f"{message}UpdateIndexingConfiguration")
    return index
