"""The names of AWS IoT's condition keys and policy variables, and what each may be used for.

As the developer guide has them: "Basic AWS IoT Core policy variables", "Thing policy variables",
"X.509 Certificate AWS IoT Core policy variables", and of CONNECT "Using connectAttributes". They
are compared without case, as IAM does; here is how each is spelled.

A *list* has any number of values, so conditions on it say ForAllValues or ForAnyValue, and there is
no one value that a variable could stand for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

CLIENT_ID = "iot:ClientId"
SOURCE_IP = "aws:SourceIp"
CERTIFICATE_ID = "iot:CertificateId"
THING_NAME = "iot:Connection.Thing.ThingName"
THING_TYPE = "iot:Connection.Thing.ThingTypeName"
IS_ATTACHED = "iot:Connection.Thing.IsAttached"
#: Followed by the attribute's name and a bracket.
ATTRIBUTE = "iot:Connection.Thing.Attributes["
#: What all names that are read from the certificate itself begin with.
CERTIFICATE = "iot:Certificate."
SERIAL_NUMBER = f"{CERTIFICATE}SerialNumber"
#: A list of the certificate's names that have a value.
AVAILABLE_KEYS = f"{CERTIFICATE}AvailableKeys"
#: A list of what a CONNECT asks for, known for iot:Connect only.
CONNECT_ATTRIBUTES = "iot:ConnectAttributes"
PERSISTENT_CONNECT, LAST_WILL = "PersistentConnect", "LastWill"
#: The ARN of the will's topic, known for iot:Connect only.
LAST_WILL_TOPIC = "iot:LastWillTopic"

#: Known of a session, whatever it does.
KEYS = (CLIENT_ID, SOURCE_IP, CERTIFICATE_ID, THING_NAME, THING_TYPE, IS_ATTACHED)
#: Of a certificate's subject and of its issuer.
NAME_PARTS = (
    *("CommonName", "Country", "DistinguishedNameQualifier", "GenerationQualifier", "GivenName"),
    *("Initials", "Organization", "OrganizationalUnit", "Pseudonym", "SerialNumber", "State"),
    *("Surname", "Title"),
)
ALTERNATIVES = ("RFC822Name", "DNSName", "DirectoryName", "UniformResourceIdentifier", "IPAddress")
#: More values of one name are ignored, as on AWS.
VALUES_MAX = 5

_NAMES = tuple(
    f"{CERTIFICATE}{end}.{part}"
    for end in ("Subject", "Issuer")
    for part in (*NAME_PARTS, *(f"AlternativeName.{each}" for each in ALTERNATIVES))
)
_OTHERS = (*KEYS, SERIAL_NUMBER, AVAILABLE_KEYS, CONNECT_ATTRIBUTES, LAST_WILL_TOPIC)
_SPELLED = {name.lower(): name for name in (*_OTHERS, *_NAMES)}
_SUFFIXED = re.compile(r"(iot:certificate\.(?:subject|issuer)\..+)\.(list|[1-9][0-9]{0,3})")


def spelled(name: str) -> str | None:
    """How a key is spelled; None for one that is not evaluated here."""
    lower, prefix = name.lower(), ATTRIBUTE.lower()
    if lower.startswith(prefix) and name.endswith("]") and len(name) > len(prefix) + 1:
        return f"{ATTRIBUTE}{name[len(prefix) :]}"
    suffixed = _SUFFIXED.fullmatch(lower)
    if suffixed is None:
        return _SPELLED.get(lower)
    found = _SPELLED.get(suffixed[1])
    return found and f"{found}.{suffixed[2].capitalize()}"


def is_list(key: str) -> bool:
    """Whether a key has any number of values."""
    return key in (AVAILABLE_KEYS, CONNECT_ATTRIBUTES) or (
        key.startswith(CERTIFICATE) and key.endswith(".List")
    )


def is_variable(key: str) -> bool:
    """Whether a key may stand in a text as a variable: it has one value, of every action."""
    return key != LAST_WILL_TOPIC and not is_list(key)


def of_certificate(names: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Every key that the names of a certificate give values to.

    A name alone is its first value. By a one-based index, the guide says, 1 is the second.
    """
    keys: dict[str, tuple[str, ...]] = {AVAILABLE_KEYS: tuple(sorted(names))}
    for name, values in names.items():
        kept = tuple(values[:VALUES_MAX])
        keys |= {f"{name}.{index}": (value,) for index, value in enumerate(kept)}
        keys |= {name: kept[:1], f"{name}.List": kept}
    return keys
