"""Who a client is, as policies see it: what keys and variables stand for in one session.

The names in a certificate are read only when a policy asks for one. What a CONNECT asks for is
known for ``iot:Connect`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from isthmus.core import policy_keys as keys
from isthmus.core.policy_fields import Resource, System

_CONNECT = "iot:connect"


class Asked(NamedTuple):
    """What a CONNECT asks for: that the session stays, and a will on a topic."""

    is_persistent: bool = False
    will_topic: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Who the client is, and which names this system goes by in ARNs.

    ``thing_*``, ``attributes`` and ``is_attached`` are those of the thing associated with the
    connection, and absent where there is none; so is any value that is not known.
    """

    client_id: str | None
    source_ip: str | None
    certificate_id: str
    account: str
    regions: frozenset[str]
    thing_name: str | None = None
    thing_type: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    is_attached: bool = False
    #: Every name in the certificate, by ``policy_keys``, with its values.
    certificate_names: Callable[[], Mapping[str, Sequence[str]]] = dict
    #: None where no CONNECT is known.
    asked: Asked | None = None


class Known:
    """What has a value in a session, while it does one thing or another."""

    __slots__ = ("_asked", "_names", "_of_certificate", "_single", "system")

    def __init__(self, context: Context) -> None:
        self.system = System(context.account, context.regions)
        self._single = _single(context)
        self._names = context.certificate_names
        self._of_certificate: dict[str, tuple[str, ...]] | None = None
        self._asked = _asked(context.asked)

    def get(self, key: str) -> str | None:
        """The value of a key that has one, whatever is done."""
        if key.startswith(keys.CERTIFICATE):
            found = self.all(key)
            return found[0] if found else None
        return self._single.get(key)

    def all(self, key: str) -> tuple[str, ...]:
        """All values of a key, for anything but iot:Connect."""
        if key.startswith(keys.CERTIFICATE):
            if self._of_certificate is None:
                self._of_certificate = keys.of_certificate(self._names())
            return self._of_certificate.get(key, ())
        value = self._single.get(key)
        return () if value is None else (value,)

    def is_ours(self, resource: Resource) -> bool:
        """Whether an ARN is this system's."""
        return resource.is_of(self.system)

    def doing(self, action: str) -> Known | Connecting:
        """What is known for an action, which is in lower case."""
        return Connecting(self, self._asked) if action == _CONNECT else self


class Connecting:
    """What is known for iot:Connect."""

    __slots__ = ("_asked", "_known", "get", "is_ours")

    def __init__(self, known: Known, asked: Mapping[str, tuple[str, ...]]) -> None:
        self._known = known
        self._asked = asked
        self.get = known.get
        self.is_ours = known.is_ours

    def all(self, key: str) -> tuple[str, ...]:
        """All values of a key."""
        found = self._asked.get(key)
        return self._known.all(key) if found is None else found


def _single(context: Context) -> dict[str, str]:
    known = (
        (keys.CLIENT_ID, context.client_id),
        (keys.SOURCE_IP, context.source_ip),
        (keys.CERTIFICATE_ID, context.certificate_id),
        (keys.THING_NAME, context.thing_name),
        (keys.THING_TYPE, context.thing_type),
        (keys.IS_ATTACHED, "true" if context.is_attached else "false"),
    )
    found = {key: value for key, value in known if value is not None}
    for name, value in context.attributes.items():
        found[f"{keys.ATTRIBUTE}{name}]"] = value
    return found


def _asked(asked: Asked | None) -> dict[str, tuple[str, ...]]:
    if asked is None:
        return {}
    attributes = (
        *((keys.PERSISTENT_CONNECT,) if asked.is_persistent else ()),
        *((keys.LAST_WILL,) if asked.will_topic is not None else ()),
    )
    topics = () if asked.will_topic is None else (f"topic/{asked.will_topic}",)
    return {keys.CONNECT_ATTRIBUTES: attributes, keys.LAST_WILL_TOPIC: topics}
