"""What a request names, and what is answered where it is not there or not as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from isthmus.aws.context import Context
from isthmus.aws.operations import Parameters
from isthmus.aws.service_error import ServiceError, invalid
from isthmus.core import lives, registry
from isthmus.core.billing_groups import BILLING_GROUP
from isthmus.core.ca_certificates import CA_CERTIFICATE
from isthmus.core.commands import COMMAND
from isthmus.core.domain_configurations import DOMAIN_CONFIGURATION
from isthmus.core.item import Item
from isthmus.core.provisioning_templates import PROVISIONING_TEMPLATE
from isthmus.core.settings import ROLE_ALIAS, TOPIC_RULE
from isthmus.core.thing_groups import THING_GROUP
from isthmus.core.thing_types import THING_TYPE
from isthmus.errors import InputError

#: What an ARN calls an item of each kind, and a message.
ARN_KINDS = {
    BILLING_GROUP: "billinggroup",
    registry.THING: "thing",
    registry.CERTIFICATE: "cert",
    registry.POLICY: "policy",
    CA_CERTIFICATE: "cacert",
    COMMAND: "command",
    DOMAIN_CONFIGURATION: "domainconfiguration",
    PROVISIONING_TEMPLATE: "provisioningtemplate",
    ROLE_ALIAS: "rolealias",
    TOPIC_RULE: "rule",
    THING_GROUP: "thinggroup",
    THING_TYPE: "thingtype",
}
#: AWS gives them no other id, and creates none of them twice, be it the same.
KNOWN_BY_KEY = {
    registry.CERTIFICATE,
    registry.POLICY,
    CA_CERTIFICATE,
    COMMAND,
    DOMAIN_CONFIGURATION,
    PROVISIONING_TEMPLATE,
    ROLE_ALIAS,
    TOPIC_RULE,
}
#: Of a domain configuration's id, in its ARN.
SHORT_ID_CHARACTERS = 5
NAMES = {
    "billinggroup": "Billing group",
    "thing": "Thing",
    "cert": "Certificate",
    "policy": "Policy",
    "cacert": "CA certificate",
    "command": "Command",
    "domainconfiguration": "Domain configuration",
    "provisioningtemplate": "Provisioning template",
    "rolealias": "Role alias",
    "rule": "Rule",
    "thinggroup": "Thing group",
    "thingtype": "Thing type",
}


def arn(context: Context, item: Item) -> str:
    return context.naming.arn(ARN_KINDS[item.kind], name_in_arn(item))


def name_in_arn(item: Item) -> str:
    """The last part of an ARN: the key, and of a domain configuration a short id too."""
    if item.kind != DOMAIN_CONFIGURATION:
        return item.key
    return f"{item.key}/{lives.resource_id(item)[:SHORT_ID_CHARACTERS]}"


def called(item: Item) -> str:
    """As a message calls it."""
    return f"{NAMES[ARN_KINDS[item.kind]]} {item.key}"


def refuse(context: Context, message: str) -> ServiceError:
    """What this operation answers to what cannot be done."""
    return invalid(context.call.operation, message)


def present(context: Context, item: Item) -> Item:
    """The item itself; raises ServiceError where it is none, or none any more."""
    if not item.lives:
        raise absent(context, item)
    return item


def vacant(context: Context, item: Item) -> Item:
    """The item itself, for what is to begin; raises ServiceError where it is there already."""
    if item.lives:
        raise already(context, item)
    return item


def absent(context: Context, item: Item) -> ServiceError:
    """What is asked for is not there."""
    declared = {shape.name for shape in context.call.operation.error_shapes}
    message = f"{called(item)} does not exist"
    if "ResourceNotFoundException" not in declared:
        return refuse(context, message)
    return ServiceError("ResourceNotFoundException", message)


def existing(context: Context, kind: str, key: str) -> Item:
    """The item of this key; raises ServiceError where there is none."""
    return present(context, context.get(kind, key))


def already(context: Context, item: Item) -> ServiceError:
    """What is to be created is there, and is something else."""
    message, resource_id = f"{called(item)} already exists", item.key
    if item.kind not in KNOWN_BY_KEY:
        message += " in current account with different properties"
        resource_id = lives.resource_id(item)
    members = {"resourceId": resource_id, "resourceArn": arn(context, item)}
    return ServiceError("ResourceAlreadyExistsException", message, members)


def check_version(item: Item, parameters: Parameters) -> None:
    """Raise ServiceError where a client expects another version than there is."""
    expected = parameters.get("expectedVersion")
    if expected is not None and expected != item.version:
        thing = NAMES[ARN_KINDS[item.kind]].lower()
        message = f"The version for {thing} {item.key} does not match the expected version."
        raise ServiceError("VersionConflictException", message)


def named_by_arn(context: Context, kind: str, text: str) -> str:
    """The key of the item of a kind that an ARN names."""
    try:
        found, name = context.naming.read(text)
    except InputError as error:
        raise refuse(context, str(error)) from None
    if found != ARN_KINDS[kind]:
        raise refuse(context, f"{text!r} is the ARN of a {found}, not of a {ARN_KINDS[kind]}")
    return name


def named(context: Context, kind: str, parameters: Mapping[str, Any], member: str) -> str:
    """The key of an item that is given by ``<member>Name``, ``<member>Arn`` or both."""
    name, text = parameters.get(f"{member}Name"), parameters.get(f"{member}Arn")
    if name is None and text is None:
        message = (
            f"Both {member}Arn and {member}Name are empty. Need to specify at least one of them"
        )
        raise refuse(context, message)
    of_arn = None if text is None else named_by_arn(context, kind, text)
    if name is not None and of_arn is not None and name != of_arn:
        raise refuse(context, f"{member}Arn does not match specified {member}Name in request")
    return str(of_arn if name is None else name)


def moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def dates(item: Item) -> dict[str, datetime]:
    """When an item was created and when it was changed last, as most descriptions say it."""
    return {
        "creationDate": moment(lives.created_ms(item)),
        "lastModifiedDate": moment(item.modified_ms),
    }
