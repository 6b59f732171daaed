"""The event of a certificate that came by itself, as AWS IoT publishes it.

Topic and members: developer guide, "Automatic registration", and events that others have published.
Two members are not documented: ``sourceIp``, and ``certificateRegistrationTimestamp``, which has
been seen to be null at first and a text later.
"""

from __future__ import annotations

import msgspec

from isthmus.core import lives
from isthmus.core.item import Item

_PREFIX = "$aws/events/certificates/registered"


def topic(ca: str) -> str:
    """Where the certificates that a CA has signed are told of."""
    return f"{_PREFIX}/{ca}"


def payload(
    item: Item, ca: str, status: str, *, account: str, address: str, now_ms: int, is_first: bool
) -> bytes:
    """What is told of a certificate; ``is_first`` when it is registered, and not afterwards."""
    return msgspec.json.encode(
        {
            "certificateId": item.key,
            "caCertificateId": ca,
            "timestamp": now_ms,
            "certificateStatus": status,
            "awsAccountId": account,
            "certificateRegistrationTimestamp": None if is_first else str(lives.created_ms(item)),
            "sourceIp": address,
        }
    )
