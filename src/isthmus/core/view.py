"""A region's items in memory, and what they say about a principal.

Fed by the region's own change log, so it is as new as the log's position it has applied. The
gateway and the API each keep one. ``digest`` covers what is held here, so that two regions can be
compared by what their services believe and not only by what their disks have.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from isthmus.core import access_keys, memberships, policies, registry, thing_groups
from isthmus.core.access_keys import AccessKeyStatus
from isthmus.core.item import Item
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.registry import Attach, CertificateStatus
from isthmus.core.thing_groups import THING_GROUP


@dataclass(frozen=True, slots=True)
class AttachedPolicy:
    """A policy that counts for a principal: every default version of it, and whether contested."""

    name: str
    documents: tuple[str, ...]
    contested: bool


class View:
    """Items by kind and key, with the attachments of each principal beside them."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, str], Item] = {}
        self._hashes: dict[tuple[str, str], int] = {}
        self._digest = 0
        self._attachments: dict[str, set[str]] = defaultdict(set)
        #: Which principals a policy or a policy version matters to, through its attachments.
        self._principals: dict[tuple[str, str], set[str]] = defaultdict(set)
        #: Which things and groups have ever been in a group, by the texts of groups.
        self._things: dict[str, set[str]] = defaultdict(set)
        self._below: dict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._items)

    def get(self, kind: str, key: str) -> Item | None:
        return self._items.get((kind, key))

    def of_kind(self, kind: str) -> Iterator[Item]:
        """Every item of a kind, by key; looks at all items, so for people and not for messages."""
        return (self._items[at] for at in sorted(self._items) if at[0] == kind)

    def apply(self, item: Item) -> frozenset[str]:
        """Take a newer version in; return the principals whose rights may have changed by it."""
        at = (item.kind, item.key)
        self._items[at] = item
        fresh = int.from_bytes(hashlib.sha256(item.encode()).digest()[:16], "big")
        self._digest ^= self._hashes.get(at, 0) ^ fresh
        self._hashes[at] = fresh
        match item.kind:
            case registry.CERTIFICATE | access_keys.ACCESS_KEY:
                return frozenset({item.key})
            case registry.ATTACHMENT:
                return self._index(item)
            case registry.POLICY | registry.THING:
                return self._with(item.kind, item.key)
            case registry.POLICY_VERSION:
                return self._with(registry.POLICY, item.key.rsplit(":", 2)[0])
            case thing_groups.THING_GROUP:
                named = thing_groups.parent(item)
                if named is not None:
                    self._below[_group(named.name)].add(_group(item.key))
                return self._in_group(_group(item.key))
            case memberships.MEMBERSHIPS:
                for name in memberships.names(item):
                    self._things[_group(name)].add(item.key)
                return self._with(registry.THING, item.key)
        return frozenset()

    def _index(self, item: Item) -> frozenset[str]:
        principal = item.key.rsplit(":", 1)[1]
        self._attachments[principal].add(item.key)
        for attach in registry.attaches(item):
            self._principals[attach.target_kind, attach.target_key].add(principal)
        return self._in_group(principal)

    def _with(self, kind: str, key: str) -> frozenset[str]:
        """The principals that a policy or a thing matters to."""
        found = self._principals.get((kind, key), ())
        return frozenset().union(*map(self._in_group, found))

    def _in_group(self, principal: str) -> frozenset[str]:
        """Of a group, the principals of the things in it and below it; any other is its own."""
        if not registry.is_group(principal):
            return frozenset({principal})
        groups, left = set(), {principal}
        while left:
            groups |= left
            left = set().union(*(self._below.get(each, ()) for each in left)) - groups
        things = {thing for group in groups for thing in self._things.get(group, ())}
        return frozenset().union(*(self._principals.get((registry.THING, t), ()) for t in things))

    def status(self, principal: str) -> CertificateStatus | None:
        """The status of a certificate, or None where it is not known."""
        item = self.get(registry.CERTIFICATE, principal)
        return registry.certificate_status(item) if item else None

    def refusal(self, principal: str) -> str:
        """Why a principal may not be here at all, be it certificate or access key; or nothing."""
        if access_keys.is_id(principal):
            item = self.get(access_keys.ACCESS_KEY, principal)
            found = access_keys.status(item) if item else None
            is_active = found is AccessKeyStatus.ACTIVE
            return "" if is_active else f"the access key is {found or 'unknown'}"
        status = self.status(principal)
        is_active = status is CertificateStatus.ACTIVE
        return "" if is_active else f"the certificate is {status or 'unknown'}"

    def policies(self, principal: str, thing: str | None = None) -> tuple[AttachedPolicy, ...]:
        """The policies that count for a principal now, as a thing's: those of its groups too.

        An access key has that of its role.
        """
        if access_keys.is_id(principal):
            return self._role(principal)
        groups = self.groups(thing) if thing else ()
        return tuple(
            replace(self.policy(attach.target_key), contested=attach.contested)
            for text in (principal, *(_group(each.key) for each in groups))
            for attach in self._attaches(text, registry.POLICY)
        )

    def policy(self, name: str) -> AttachedPolicy:
        """A policy as if it were attached."""
        return AttachedPolicy(name, self._documents(name), contested=False)

    def groups(self, thing: str) -> list[Item]:
        """The groups that a thing is in, and those that these are in, each once."""
        item, held = self.get(registry.THING, thing), self.get(MEMBERSHIPS, thing)
        found: dict[str, Item] = {}
        for each in memberships.groups(held, item) if item and held else ():
            group = self._thing_group(each.name)
            if each.holds_for(group):
                above = thing_groups.above(group, self._thing_group)
                found |= {one.key: one for one in (*above, group)}
        return [found[name] for name in sorted(found)]

    def _thing_group(self, name: str) -> Item:
        return self.get(THING_GROUP, name) or Item(THING_GROUP, name)

    def _role(self, principal: str) -> tuple[AttachedPolicy, ...]:
        item = self.get(access_keys.ACCESS_KEY, principal)
        grant = access_keys.grant(item) if item else None
        if grant is None:
            return ()
        # A role of a later release has no document here: everything is denied.
        documents = (access_keys.DOCUMENTS.get(grant.role, ""),)
        return (AttachedPolicy(f"role {grant.role}", documents, contested=False),)

    def things(self, principal: str) -> tuple[str, ...]:
        """The things a principal is attached to, contested attachments left out."""
        return tuple(
            attach.target_key
            for attach in self._attaches(principal, registry.THING)
            if not attach.contested
        )

    def _attaches(self, principal: str, kind: str) -> Iterator[Attach]:
        for key in sorted(self._attachments.get(principal, ())):
            item = self._items[registry.ATTACHMENT, key]
            for attach in registry.attaches(item):
                target = self.get(attach.target_kind, attach.target_key)
                holder = self.get(attach.principal_kind, attach.principal_key)
                if attach.target_kind == kind and attach.holds_for(target, holder):
                    yield attach

    def _documents(self, policy: str) -> tuple[str, ...]:
        """The documents of all default versions; a version not here yet reads as deny all."""
        item = self.get(registry.POLICY, policy)
        keys = policies.default_versions(item) if item else []
        versions = (self.get(registry.POLICY_VERSION, key) for key in keys)
        return tuple((each and each.register("document")) or "" for each in versions)

    @property
    def digest(self) -> str:
        """One hash over everything that is held, tombstones included, kept as items come."""
        return f"{self._digest:032x}"

    def digests(self) -> dict[str, str]:
        """A short hash of every item, tombstones included."""
        return {
            f"{kind}/{key}": f"{self._hashes[kind, key]:032x}"[:16]
            for kind, key in sorted(self._items)
        }


def _group(name: str) -> str:
    return registry.principal_text(THING_GROUP, name)
