"""Access keys: who signs instead of showing a certificate, and what each role may do.

An access key is an item like a certificate, with the same joins: a block that was not lifted makes
it inactive, activating lifts the blocks it saw, and deletion is a flag that only goes up, so no
merge brings a deleted key back. Its secret is in the item sealed, together with the role that it
was made for: whoever can write items can neither read it nor give it another role.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from isthmus.core import registry
from isthmus.core.item import Item
from isthmus.core.lattice import Flag, Live
from isthmus.core.registry import CertificateStatus, Writer

ACCESS_KEY = "access-key"
_ID = re.compile("AKIA[A-Z2-7]{16}")


class Role(StrEnum):
    """What a key is for."""

    ADMIN = "admin"
    OPERATOR = "operator"
    READ_ONLY = "read-only"
    PROVISIONER = "provisioner"


class AccessKeyStatus(StrEnum):
    """As AWS IAM names them."""

    ACTIVE = "Active"
    INACTIVE = "Inactive"


class Grant(NamedTuple):
    """What a key was made with."""

    role: str
    #: The secret, which opens only under this key's id and role.
    sealed: str
    created_ms: int


def is_id(principal: str) -> bool:
    """Whether a principal is an access key and no certificate: no text is both."""
    return _ID.fullmatch(principal) is not None


def sealed_for(key_id: str, role: str) -> str:
    """What a secret is sealed together with."""
    return f"{ACCESS_KEY}:{key_id}:{role}"


# Writing


def create(item: Item, writer: Writer, role: Role, sealed: str) -> Item:
    """Begin a key, active at once; its id is random and used once."""
    write = writer.write(item).create()
    write.add("grant", {"role": role.value, "sealed": sealed, "created_ms": writer.now_ms})
    return registry.activated(write, item).done()


def activate(item: Item, writer: Writer) -> Item:
    """Lift the blocks that are known here; a deleted key stays deleted."""
    return registry.activate(item, writer)


def deactivate(item: Item, writer: Writer) -> Item:
    """Add a block, which stands until somebody who has seen it activates."""
    return registry.deactivate(item, writer)


def delete(item: Item, writer: Writer) -> Item:
    """Delete for good, and the sealed secret with it."""
    write = writer.write(item).kill("grant").delete()
    return write.put("deleted", Flag(True)).done(tightens=True)


# Reading


def status(item: Item) -> AccessKeyStatus | None:
    """None where there is no such key, or none any more."""
    if item.fields.get("deleted") == Flag(True):
        return None
    match registry.certificate_status(item):
        case CertificateStatus.ACTIVE:
            return AccessKeyStatus.ACTIVE
        case CertificateStatus.INACTIVE:
            return AccessKeyStatus.INACTIVE
    return None


def grant(item: Item) -> Grant | None:
    """What the key was made with; None where that is gone, or where it is not one thing."""
    held = item.fields.get("grant")
    if not isinstance(held, Live) or len(held.entries) != 1:
        return None
    (entry,) = held.entries.values()
    match entry:
        case {"role": str(role), "sealed": str(sealed), "created_ms": int(created_ms)}:
            return Grant(role, sealed, created_ms)
    return None


# Roles


def _document(*statements: tuple[Sequence[str], Sequence[str]]) -> str:
    made = [
        {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
        for actions, resources in statements
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": made})


def _under(kind: str) -> list[str]:
    """Topics of fleet provisioning, whatever the region and the account are called."""
    names = ("certificates", "provisioning-templates")
    return [f"arn:aws:iot:*:*:{kind}/$aws/{name}/*" for name in names]


_READ = ("Describe*", "Get*", "List*", "Search*", "Test*", "Validate*")
#: What operations of AWS IoT begin with that change something; none of them is an access key.
_CHANGE = (
    *("Accept*", "Add*", "Associate*", "Attach*", "Cancel*", "Clear*", "Confirm*", "Create*"),
    *("Delete*", "Deprecate*", "Detach*", "Disable*", "Disassociate*", "Enable*", "Put*"),
    *("Register*", "Reject*", "Remove*", "Replace*", "Set*", "Start*", "Stop*", "Tag*"),
    *("Transfer*", "Untag*", "Update*"),
)
#: What tools that make devices call, and what tells them whether that is done already.
_PROVISION = (
    *("AddThingToBillingGroup", "AddThingToThingGroup", "AttachPolicy", "AttachPrincipalPolicy"),
    *("AttachThingPrincipal", "CreateCertificateFromCsr", "CreateKeysAndCertificate"),
    *("CreateThing", "DescribeCertificate", "DescribeEndpoint", "DescribeThing"),
    *("DescribeProvisioningTemplate", "DescribeThingRegistrationTask", "DescribeThingType"),
    *("GetPolicy", "ListAttachedPolicies", "ListThingPrincipals", "RegisterCertificate"),
    *("RegisterCertificateWithoutCA", "RegisterThing", "StartThingRegistrationTask"),
)


def _actions(*names: str) -> list[str]:
    return [f"iot:{name}" for name in names]


#: A role is a policy document, so that whatever asks for rights asks in one way.
DOCUMENTS: dict[str, str] = {
    Role.ADMIN: _document((["iot:*"], ["*"])),
    Role.OPERATOR: _document(
        (_actions("Connect", "Publish", "Subscribe", "Receive", *_READ, *_CHANGE), ["*"])
    ),
    Role.READ_ONLY: _document((_actions("Connect", "Subscribe", "Receive", *_READ), ["*"])),
    Role.PROVISIONER: _document(
        (_actions("Connect", *_PROVISION), ["*"]),
        (["iot:Publish", "iot:Receive"], _under("topic")),
        (["iot:Subscribe"], _under("topicfilter")),
    ),
}
