"""A CA takes another one's place: what the new one gets of the old one, and how the old one ends.

Both are active in between, so devices of either register by themselves; what is registered stays
as it is. Every step may be taken again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from isthmus.adapters.ca_proof import verification
from isthmus.adapters.pki import certificate_id, load_certificate
from isthmus.cli.aws_calls import AwsCalls, Refused
from isthmus.errors import InputError

#: Certificates of a CA that are counted where nothing depends on there being no more.
COUNTED_MAX = 10_000
#: The most that AWS puts into one page.
PAGE = 250
DEFAULT = "DEFAULT"
ACTIVE, INACTIVE = "ACTIVE", "INACTIVE"
#: Statuses of certificates that let somebody in, or that somebody else may still change to that.
_USABLE = (ACTIVE, "PENDING_ACTIVATION")


class Authority(NamedTuple):
    """A registered CA."""

    id: str
    arn: str
    status: str
    auto_registration: str
    mode: str
    subject: str
    not_after: str
    #: How a device is registered by itself, as it was given.
    config: dict[str, Any]


def authority(calls: AwsCalls, ca_id: str) -> Authority:
    answer = calls("DescribeCACertificate", certificateId=ca_id)
    said = answer["certificateDescription"]
    certificate = load_certificate(said["certificatePem"])
    return Authority(
        said["certificateId"],
        said["certificateArn"],
        said["status"],
        said["autoRegistrationStatus"],
        said.get("certificateMode", DEFAULT),
        certificate.subject.rfc4514_string(),
        certificate.not_valid_after_utc.isoformat(timespec="seconds"),
        answer.get("registrationConfig") or {},
    )


def authorities(calls: AwsCalls) -> Iterator[Authority]:
    for each in calls.pages("ListCACertificates", "certificates", pageSize=PAGE):
        yield authority(calls, each["certificateId"])


def signed(calls: AwsCalls, ca_id: str) -> Iterator[dict[str, Any]]:
    """The registered certificates that a CA has signed."""
    return calls.pages("ListCertificatesByCA", "certificates", caCertificateId=ca_id, pageSize=PAGE)


def count(calls: AwsCalls, ca_id: str) -> int:
    """How many of these there are, ``COUNTED_MAX`` at most."""
    return sum(1 for _ in islice(signed(calls, ca_id), COUNTED_MAX))


def _active(calls: AwsCalls, ca_id: str) -> int:
    return sum(1 for each in signed(calls, ca_id) if each["status"] == ACTIVE)


def rotate(calls: AwsCalls, old_id: str, pem: str, key: bytes, proof: str) -> str:
    """Register a CA as the old one is, and leave that as it is; returns the new one's id.

    ``key`` is the new CA's, or ``proof`` a certificate that it has signed for the registration
    code; neither is needed where the old one is registered without such a proof.
    """
    old, new_id = authority(calls, old_id), certificate_id(pem)
    if new_id == old.id:
        raise InputError("the new CA is the old one", hint="--new FILE with another certificate")
    asked: dict[str, Any] = {
        "caCertificate": pem,
        "certificateMode": old.mode,
        "setAsActive": True,
        "allowAutoRegistration": old.auto_registration == "ENABLE",
        "tags": list(calls.pages("ListTagsForResource", "tags", resourceArn=old.arn)),
    }
    if old.config:
        asked["registrationConfig"] = old.config
    if old.mode == DEFAULT:
        asked["verificationCertificate"] = proof or _proof(calls, pem, key)
    try:
        calls("RegisterCACertificate", **asked)
    except Refused as error:
        if error.code != "ResourceAlreadyExistsException":
            raise
        # Asked again, or registered by hand: its own settings stay, and it may have been retired.
        if authority(calls, new_id).status != ACTIVE:
            raise InputError(
                f"the new CA, {new_id}, is registered and inactive",
                hint="aws iot update-ca-certificate --new-status ACTIVE, if it was not retired",
            ) from None
    return new_id


def _proof(calls: AwsCalls, pem: str, key: bytes) -> str:
    code = calls("GetRegistrationCode")["registrationCode"]
    if not key:
        raise InputError(
            "nothing shows that the new CA is yours",
            hint="--key FILE with its key, or --verification FILE with a certificate that it has "
            f"signed for the common name {code}",
        )
    return verification(pem, key, code)


def retire(
    calls: AwsCalls, ca_id: str, deactivated: Callable[[int], None] | None, *, is_forced: bool
) -> int:
    """Deactivate a CA; returns how many active certificates it leaves.

    With ``deactivated`` these are deactivated too, and those that wait for their activation, and it
    is called with how many are by then.
    """
    ca = authority(calls, ca_id)
    if deactivated is None and not is_forced and (left := _active(calls, ca.id)):
        raise InputError(
            f"{left} certificates of it are active",
            hint="move these devices first; --force leaves them as they are, --certificates "
            "deactivates them",
        )
    # First: or it would go on registering those that come.
    calls(
        "UpdateCACertificate",
        certificateId=ca.id,
        newStatus=INACTIVE,
        newAutoRegistrationStatus="DISABLE",
    )
    if deactivated is None:
        return _active(calls, ca.id)
    number, before = 0, -1
    # More than once: another region registers devices until it hears that the CA is inactive.
    while number != before:
        before = number
        for each in signed(calls, ca.id):
            if each["status"] in _USABLE:
                calls("UpdateCertificate", certificateId=each["certificateId"], newStatus=INACTIVE)
                number += 1
                deactivated(number)
    return 0
