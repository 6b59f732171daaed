"""What a principal may do now, from a view of the items."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.core import registry
from isthmus.core.policy import Attached, Authorizer, Context
from isthmus.core.policy_document import Policy, parse
from isthmus.core.view import AttachedPolicy, View
from isthmus.errors import InputError

#: What stands in for a document that is not here yet or cannot be read: its Deny statements must
#: not be lost, so everything is denied.
_DENY_ALL = parse(
    '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}'
)
#: Parsed documents kept; a fleet has few policies and many certificates.
PARSED_MAX = 1_000


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
    ) -> None:
        self._account = account
        self._regions = regions
        self._view = view
        self._unreadable = unreadable
        self._parsed: dict[str, Policy] = {}

    def of(self, principal: str, client_id: str, address: str) -> Authorizer:
        """What a principal may do as this client, by the items as they are now."""
        context = self.context(principal, client_id, address)
        return Authorizer(self.attached(principal, context.thing_name), context)

    def attached(self, principal: str, thing: str | None) -> list[Attached]:
        """The policies that count for a principal, as that thing's."""
        return [self._read(each) for each in self._view.policies(principal, thing)]

    def named(self, name: str) -> Attached:
        """A policy as if it were attached."""
        return self._read(self._view.policy(name))

    def _read(self, policy: AttachedPolicy) -> Attached:
        documents = tuple(map(self._parse, policy.documents))
        return Attached(policy.name, documents, policy.contested)

    def context(self, principal: str, client_id: str | None, address: str | None) -> Context:
        """Who a principal is as this client; what is not known has no value."""
        things = self._view.things(principal)
        # The connection belongs to a thing whose name is its client id and which the certificate
        # is attached to.
        thing = client_id if client_id in things else None
        item = self._view.get(registry.THING, thing) if thing else None
        return Context(
            client_id=client_id,
            source_ip=address,
            certificate_id=principal,
            account=self._account,
            regions=self._regions,
            thing_name=thing,
            attributes=registry.attributes(item) if item else {},
            is_attached=thing is not None,
        )

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
