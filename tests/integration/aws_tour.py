"""A way through all operations of the API, for whichever client goes it.

Every step is an operation as the models call it, its input, and the error that it must end in, if
any. Input may need what earlier steps gave: ``Seen`` has their outputs by operation, the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

Seen = dict[str, Any]
Input = Mapping[str, Any] | Callable[[Seen], dict[str, Any]]

SERVICE = "iot"
PARENT, CHILD = "tour-house", "tour-kitchen"
THING, BILLING = "tour-lamp-1", "tour-bill"
TAGS = [{"Key": "colour", "Value": "red"}]


class Step(NamedTuple):
    """One call."""

    operation: str
    input: Input = MappingProxyType({})
    error: str = ""

    def parameters(self, seen: Seen) -> dict[str, Any]:
        return dict(self.input(seen) if callable(self.input) else self.input)


def _certificate(seen: Seen) -> str:
    arn: str = seen["certificateArn"]
    return arn


def tour(thing_type: str) -> tuple[Step, ...]:
    """All steps; the type stays, as it can be deleted only minutes after its deprecation."""
    return (*_registry(thing_type), *_end(thing_type))


def _registry(thing_type: str) -> tuple[Step, ...]:
    return (
        Step("DescribeEndpoint", {"endpointType": "iot:Data-ATS"}),
        Step("CreateThingType", {"thingTypeName": thing_type, "tags": TAGS}),
        Step("UpdateThingType", {"thingTypeName": thing_type, "thingTypeProperties": {}}),
        Step("DescribeThingType", {"thingTypeName": thing_type}),
        Step("ListThingTypes", {"thingTypeName": thing_type}),
        Step("CreateBillingGroup", {"billingGroupName": BILLING}),
        Step(
            "CreateThing",
            {
                "thingName": THING,
                "thingTypeName": thing_type,
                "attributePayload": {"attributes": {"room": "kitchen", "colour": "red"}},
            },
        ),
        Step("DescribeThing", {"thingName": THING}),
        Step(
            "UpdateThing",
            lambda seen: {
                "thingName": THING,
                "expectedVersion": seen["DescribeThing"]["version"],
                "attributePayload": {"attributes": {"colour": "blue"}, "merge": True},
            },
        ),
        Step("UpdateThing", {"thingName": THING, "expectedVersion": 9}, "VersionConflictException"),
        Step("ListThings", {"attributeName": "colour", "attributeValue": "blue", "maxResults": 5}),
        Step("CreateThingGroup", {"thingGroupName": PARENT}),
        Step("CreateThingGroup", {"thingGroupName": CHILD, "parentGroupName": PARENT}),
        Step(
            "UpdateThingGroup",
            {
                "thingGroupName": CHILD,
                "thingGroupProperties": {"thingGroupDescription": "where we cook"},
            },
        ),
        Step("DescribeThingGroup", {"thingGroupName": CHILD}),
        Step("ListThingGroups", {"parentGroup": PARENT, "recursive": True}),
        Step("DeleteThingGroup", {"thingGroupName": PARENT}, "InvalidRequestException"),
        Step("AddThingToThingGroup", {"thingGroupName": CHILD, "thingName": THING}),
        Step("ListThingsInThingGroup", {"thingGroupName": PARENT, "recursive": True}),
        Step("ListThingGroupsForThing", {"thingName": THING}),
        Step("RemoveThingFromThingGroup", {"thingGroupName": CHILD, "thingName": THING}),
        Step("UpdateThingGroupsForThing", {"thingName": THING, "thingGroupsToAdd": [PARENT]}),
        Step("UpdateThingGroupsForThing", {"thingName": THING, "thingGroupsToRemove": [PARENT]}),
        Step("AddThingToBillingGroup", {"billingGroupName": BILLING, "thingName": THING}),
        Step("ListThingsInBillingGroup", {"billingGroupName": BILLING}),
        Step("DescribeBillingGroup", {"billingGroupName": BILLING}),
        Step(
            "UpdateBillingGroup",
            {
                "billingGroupName": BILLING,
                "billingGroupProperties": {"billingGroupDescription": "who pays"},
            },
        ),
        Step("ListBillingGroups"),
        Step("RemoveThingFromBillingGroup", {"billingGroupName": BILLING, "thingName": THING}),
        Step(
            "AttachThingPrincipal",
            lambda seen: {"thingName": THING, "principal": _certificate(seen)},
        ),
        Step("ListThingPrincipals", {"thingName": THING}),
        Step("ListThingPrincipalsV2", {"thingName": THING}),
        Step("ListPrincipalThings", lambda seen: {"principal": _certificate(seen)}),
        Step("ListPrincipalThingsV2", lambda seen: {"principal": _certificate(seen)}),
        Step("DeleteThing", {"thingName": THING}, "InvalidRequestException"),
        Step(
            "DetachThingPrincipal",
            lambda seen: {"thingName": THING, "principal": _certificate(seen)},
        ),
        Step(
            "TagResource",
            lambda seen: {"resourceArn": seen["CreateThingType"]["thingTypeArn"], "tags": TAGS},
        ),
        Step(
            "ListTagsForResource",
            lambda seen: {"resourceArn": seen["CreateThingType"]["thingTypeArn"]},
        ),
        Step(
            "UntagResource",
            lambda seen: {
                "resourceArn": seen["CreateThingType"]["thingTypeArn"],
                "tagKeys": ["colour"],
            },
        ),
    )


def _end(thing_type: str) -> tuple[Step, ...]:
    return (
        Step("DeleteThing", {"thingName": THING}),
        Step("DescribeThing", {"thingName": THING}, "ResourceNotFoundException"),
        Step("DeleteThingGroup", {"thingGroupName": CHILD}),
        Step("DeleteThingGroup", {"thingGroupName": PARENT}),
        Step("DeleteBillingGroup", {"billingGroupName": BILLING}),
        Step("DeprecateThingType", {"thingTypeName": thing_type}),
        # It may be five minutes later, and not before.
        Step("DeleteThingType", {"thingTypeName": thing_type}, "InvalidRequestException"),
        Step("DeprecateThingType", {"thingTypeName": thing_type, "undoDeprecate": True}),
    )
