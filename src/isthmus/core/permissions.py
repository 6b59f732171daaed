"""What a principal may do now, from a view of the items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

from isthmus.core import registry, things
from isthmus.core.item import Item
from isthmus.core.policy import Attached, Authorizer
from isthmus.core.policy_context import Asked, Context
from isthmus.core.policy_document import Policy, parse
from isthmus.core.thing_types import THING_TYPE
from isthmus.core.view import AttachedPolicy, View
from isthmus.errors import InputError

#: What stands in for a document that is not here yet or cannot be read: its Deny statements must
#: not be lost, so everything is denied.
_DENY_ALL = parse(
    '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}'
)
#: Parsed documents kept; a fleet has few policies and many certificates.
PARSED_MAX = 1_000
#: Certificates whose names are kept, of those whose policies ask for them.
NAMED_MAX = 1_000
#: Reads the names in a certificate: every one, by ``policy_keys``, with its values.
NamesOf = Callable[[str], Mapping[str, Sequence[str]]]


def _nameless(_pem: str) -> Mapping[str, Sequence[str]]:
    return {}


class Permissions:
    """Makes an authorizer for a connection.

    ``unreadable`` hears why a document cannot be read: a later release may know more than we do,
    and what we cannot read denies.
    """

    def __init__(
        self,
        account: str,
        regions: frozenset[str],
        view: View,
        unreadable: Callable[[str], None] = lambda _reason: None,
        names_of: NamesOf = _nameless,
    ) -> None:
        self._account = account
        self._regions = regions
        self._view = view
        self._unreadable = unreadable
        self._names_of: NamesOf = lru_cache(NAMED_MAX)(names_of)
        self._parsed: dict[str, Policy] = {}

    def of(
        self, principal: str, client_id: str, address: str, asked: Asked | None = None
    ) -> Authorizer:
        """What a principal may do as this client, by the items as they are now."""
        context = self.context(principal, client_id, address, asked)
        return Authorizer(self.attached(principal, context.thing_name), context)

    def without_client(self, principal: str, address: str) -> Authorizer:
        """What a principal may do where there is no connection of MQTT.

        Nothing has a value there that the client's name leads to, and that is also its thing. The
        policies of the groups count of the only thing that it is attached to, if exclusively.
        """
        context = Context(
            client_id=None,
            source_ip=address,
            certificate_id=principal,
            account=self._account,
            regions=self._regions,
            certificate_names=partial(self._names, principal),
        )
        return Authorizer(self.attached(principal, self._view.associated(principal, None)), context)

    def attached(self, principal: str, thing: str | None) -> list[Attached]:
        """The policies that count for a principal, as that thing's."""
        return [self._read(each) for each in self._view.policies(principal, thing)]

    def named(self, name: str) -> Attached:
        """A policy as if it were attached."""
        return self._read(self._view.policy(name))

    def _read(self, policy: AttachedPolicy) -> Attached:
        documents = tuple(map(self._parse, policy.documents))
        return Attached(policy.name, documents, policy.contested)

    def context(
        self,
        principal: str,
        client_id: str | None,
        address: str | None,
        asked: Asked | None = None,
    ) -> Context:
        """Who a principal is as this client; what is not known has no value."""
        thing = self._view.associated(principal, client_id)
        item = self._view.get(registry.THING, thing) if thing else None
        return Context(
            client_id=client_id,
            source_ip=address,
            certificate_id=principal,
            account=self._account,
            regions=self._regions,
            thing_name=thing,
            thing_type=self._type(item) if item else None,
            attributes=registry.attributes(item) if item else {},
            is_attached=thing is not None,
            certificate_names=partial(self._names, principal),
            asked=asked,
        )

    def _type(self, thing: Item) -> str | None:
        """A thing's type, unless it is one that is no more.

        A type with things is only deleted where regions did both at once: who is connected then
        keeps it until one of its rights changes, as nobody looks for all things of a type.
        """
        named = things.reference(thing, things.TYPE)
        held = self._view.get(THING_TYPE, named.name) if named else None
        return named.name if named and held and named.holds_for(held) else None

    def _names(self, principal: str) -> Mapping[str, Sequence[str]]:
        item = self._view.get(registry.CERTIFICATE, principal)
        pem = item.register("pem") if item else None
        return self._names_of(pem) if isinstance(pem, str) else {}

    def _parse(self, document: str) -> Policy:
        policy = self._parsed.get(document)
        if policy is None:
            try:
                policy = parse(document) if document else _DENY_ALL
            except InputError as error:
                self._unreadable(str(error))
                policy = _DENY_ALL
            if len(self._parsed) >= PARSED_MAX:
                self._parsed.clear()
            self._parsed[document] = policy
        return policy
