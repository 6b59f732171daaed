"""A region's items as one process has them, and what they say about a principal.

Fed by the region's own change log, so it is as new as the log's position it has applied. Every
process of a region that needs items keeps one, in a table of its own. ``digest`` covers what is
held here, so that two regions can be compared by what their services believe and not only by what
their disks have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

from isthmus.core import (
    access_keys,
    attachments,
    expected_devices,
    memberships,
    policies,
    registry,
    suspensions,
    thing_groups,
)
from isthmus.core.access_keys import AccessKeyStatus
from isthmus.core.attachments import BY_PRINCIPAL, BY_TARGET
from isthmus.core.catalogue import Catalogue, Listed
from isthmus.core.expected_devices import EXPECTED_DEVICE
from isthmus.core.item import Item
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.registry import Attach, CertificateStatus
from isthmus.core.suspensions import SUSPENSION, Suspension
from isthmus.core.table import MemoryTable, Table
from isthmus.core.thing_groups import THING_GROUP


@dataclass(frozen=True, slots=True)
class AttachedPolicy:
    """A policy that counts for a principal: every default version of it, and whether contested."""

    name: str
    documents: tuple[str, ...]
    contested: bool


class Change(NamedTuple):
    """A newer version of an item, and the one before it, if any."""

    before: Item | None
    item: Item


class Concerned(NamedTuple):
    """Whose rights may be others now."""

    principals: tuple[str, ...]
    #: Whether anybody's may be, beside these.
    is_anybody: bool


#: When a policy or a thing changes that more principals have than this, it may be anybody's.
NAMED_MAX = 50
#: Policies of which a view keeps what they say.
POLICIES_KEPT_MAX = 1_000
#: What a view itself finds items by: what is attached to whom, who is in which group, and what is
#: suspended; and who is expected, for operators.
RIGHTS: Mapping[str, Listed] = {
    registry.ATTACHMENT: attachments.listed,
    MEMBERSHIPS: memberships.listed,
    SUSPENSION: suspensions.listed,
    EXPECTED_DEVICE: expected_devices.listed,
    THING_GROUP: thing_groups.listed,
}


class View:
    """Items by kind and key, and the lists by which they are found."""

    def __init__(
        self, table: Table | None = None, listed: Mapping[str, Listed] | None = None
    ) -> None:
        self.table = MemoryTable() if table is None else table
        self.catalogue = Catalogue({**RIGHTS, **(listed or {})}, self.table)
        #: How many suspensions hold: where it is none, a CONNECT asks nothing.
        self._suspensions = self.catalogue.count(suspensions.LISTED)
        #: Policies that were asked for since they last changed, each with its documents.
        self._policies: dict[str, tuple[Item, AttachedPolicy]] = {}

    def __len__(self) -> int:
        return len(self.table)

    def get(self, kind: str, key: str) -> Item | None:
        row = self.table.get(kind, key)
        return row.item if row else None

    def of_kind(self, kind: str) -> Iterator[Item]:
        """Every item of a kind, by key: for people and for starts, and not for messages."""
        return self.table.of_kind(kind)

    def apply(self, item: Item, revision: int | None = None) -> Change:
        """Take a newer version in.

        Without a revision it is not from the log, and the one that the log has stays.
        """
        row = self.table.get(item.kind, item.key)
        before = row.item if row else None
        if revision is None:
            revision = row.revision if row else 0
        self.table.put(item, revision)
        self.catalogue.note(before, item)
        match item.kind:
            case registry.POLICY | registry.POLICY_VERSION:
                self._policies.pop(_policy_name(item), None)
            case suspensions.SUSPENSION:
                self._suspensions = self.catalogue.count(suspensions.LISTED)
        return Change(before, item)

    def concerned(self, changes: Iterable[Change]) -> Concerned:
        """Whose rights may be others by what was applied; nothing was applied since.

        Who has a group or a policy of many is not looked for, as that may be a whole fleet.
        """
        named: dict[str, None] = {}
        is_anybody = False
        for change in changes:
            principals = self._named(change)
            is_anybody |= principals is None
            named |= dict.fromkeys(principals or ())
        return Concerned(tuple(named), is_anybody)

    def _named(self, change: Change) -> tuple[str, ...] | None:
        """The principals that a change is about; None where that may be anybody."""
        before, item = change
        match item.kind:
            case registry.CERTIFICATE | access_keys.ACCESS_KEY:
                return (item.key,)
            case registry.ATTACHMENT:
                principal = item.key.rsplit(":", 1)[1]
                return None if registry.is_group(principal) else (principal,)
            case registry.THING | memberships.MEMBERSHIPS:
                return self._having(registry.THING, item.key)
            case registry.POLICY | registry.POLICY_VERSION:
                return self._having(registry.POLICY, _policy_name(item))
            case thing_groups.THING_GROUP:
                return None if self._has_moved(item, before) else ()
            case suspensions.SUSPENSION:
                kind, name = suspensions.target(item.key)
                return self._having(kind, name) if kind == registry.THING else None
        return ()

    def _having(self, kind: str, key: str) -> tuple[str, ...] | None:
        """The principals of a policy or a thing, where they are few and no groups."""
        for _ in self._other_ends(BY_TARGET, kind, key, THING_GROUP):
            return None
        few = islice(self._other_ends(BY_TARGET, kind, key, registry.CERTIFICATE), NAMED_MAX + 1)
        found = tuple(few)
        return found if len(found) <= NAMED_MAX else None

    def _has_moved(self, group: Item, before: Item | None) -> bool:
        """Whether a group that anything is in is another one now, or in another one."""
        before = before or Item(group.kind, group.key)
        if (before.lives, thing_groups.parent(before)) == (group.lives, thing_groups.parent(group)):
            return False
        return any(
            True
            for life in before.lives | group.lives
            for path in (memberships.LISTED_BY_GROUP, thing_groups.LISTED_BY_PARENT)
            for _ in self.catalogue.after(path, group.key, life)
        )

    def _other_ends(self, path: str, kind: str, key: str, other: str) -> Iterator[str]:
        """The keys of what is attached to an item, or what that is attached to, of a kind."""
        prefix = attachments.names(kind, key, other)
        for name in self.catalogue.beginning(path, prefix=prefix):
            yield name.removeprefix(prefix)

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
        if status is not CertificateStatus.ACTIVE:
            return f"the certificate is {status or 'unknown'}"
        return self._suspended(principal) if self._suspensions else ""

    def _suspended(self, principal: str) -> str:
        """What is suspended that a certificate belongs to, as a reason; or nothing.

        It belongs to a thing also where that is contested, or void as the thing was deleted.
        """
        certificate, thing_kind = registry.CERTIFICATE, registry.THING
        for thing in self._other_ends(BY_PRINCIPAL, certificate, principal, thing_kind):
            if self._suspension(thing_kind, thing):
                return f"the thing {thing} is suspended"
            group = self._suspended_group(thing)
            if group:
                return f"the thing group {group} is suspended"
        return ""

    def _suspended_group(self, thing: str) -> str:
        """One that a thing is in, directly or not."""
        item, held = self.get(registry.THING, thing), self.get(MEMBERSHIPS, thing)
        left, passed = memberships.groups(held, item) if item and held else [], set[str]()
        while left:
            named = left.pop()
            group = self._thing_group(named.name)
            suspended = self._suspension(THING_GROUP, named.name)
            is_there = named.holds_for(group)
            # Who deletes a group that is suspended resumes nobody.
            if suspended and (is_there or suspended.lives & named.lives):
                return named.name
            above = thing_groups.parent(group)
            if is_there and above and group.key not in passed:
                passed.add(group.key)
                left.append(above)
        return ""

    def _suspension(self, kind: str, name: str) -> Suspension | None:
        item = self.get(SUSPENSION, suspensions.key(kind, name))
        return suspensions.suspension(item) if item else None

    def policies(self, principal: str, thing: str | None = None) -> tuple[AttachedPolicy, ...]:
        """The policies that count for a principal now, as a thing's: those of its groups too.

        An access key has that of its role.
        """
        if access_keys.is_id(principal):
            return self._role(principal)
        groups = self.groups(thing) if thing else ()
        return tuple(
            _contested(self.policy(attach.target_key), attach.contested)
            for text in (principal, *(_group(each.key) for each in groups))
            for attach in self._attaches(text, registry.POLICY)
        )

    def policy(self, name: str) -> AttachedPolicy:
        """A policy as if it were attached."""
        return self._policy(name)[1]

    def _policy(self, name: str) -> tuple[Item, AttachedPolicy]:
        """A policy's item, and what it says: few policies count for many principals."""
        found = self._policies.get(name)
        if found is None:
            item = self.get(registry.POLICY, name) or Item(registry.POLICY, name)
            policy = AttachedPolicy(name, self._documents(item), contested=False)
            if len(self._policies) >= POLICIES_KEPT_MAX:
                self._policies.clear()
            found = self._policies[name] = item, policy
        return found

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

    def associated(self, principal: str, client_id: str | None) -> str | None:
        """The thing that a principal's connection belongs to.

        That is the one whose name is its client id, if the principal is attached to it; else the
        only one that it is attached to, if that is exclusively. Where regions attached it to
        several at once, none of them is the only one.
        """
        if client_id is not None and self._is_attached(principal, client_id):
            return client_id
        return self.exclusive_thing(principal)

    def exclusive_thing(self, principal: str) -> str | None:
        """The only thing that a principal is attached to, if that is exclusively."""
        only: str | None = None
        for attach in self._attaches(principal, registry.THING):
            if attach.contested:
                continue
            if not attach.exclusive or only not in (None, attach.target_key):
                return None
            only = attach.target_key
        return only

    def _is_attached(self, principal: str, thing: str) -> bool:
        holder = self.get(*registry.principal_name(principal))
        item = self.get(registry.ATTACHMENT, attachments.key(thing, principal))
        return any(
            not each.contested and each.holds_for(self.get(registry.THING, thing), holder)
            for each in (registry.attaches(item) if item else ())
        )

    def _attaches(self, principal: str, kind: str) -> Iterator[Attach]:
        name = registry.principal_name(principal)
        holder = self.get(*name)
        for target_key in self._other_ends(BY_PRINCIPAL, *name, kind):
            key = registry.attachment_key(f"{kind}:{target_key}", principal)
            is_policy = kind == registry.POLICY
            target = self._policy(target_key)[0] if is_policy else self.get(kind, target_key)
            for attach in registry.attaches(self.get(registry.ATTACHMENT, key) or Item("", "")):
                if attach.holds_for(target, holder):
                    yield attach

    def _documents(self, policy: Item) -> tuple[str, ...]:
        """The documents of all default versions; a version not here yet reads as deny all."""
        keys = policies.default_versions(policy)
        versions = (self.get(registry.POLICY_VERSION, key) for key in keys)
        return tuple((each and each.register("document")) or "" for each in versions)

    @property
    def digest(self) -> str:
        """One hash over everything that is held, tombstones included."""
        return f"{self.table.digest:032x}"

    def digests(self) -> dict[str, str]:
        """A short hash of every item, tombstones included."""
        return {f"{kind}/{key}": f"{each:032x}"[:16] for kind, key, each in self.table.hashes()}


def _policy_name(item: Item) -> str:
    """The policy that an item or a version of one is of."""
    return item.key if item.kind == registry.POLICY else item.key.rsplit(":", 2)[0]


def _contested(policy: AttachedPolicy, is_contested: bool) -> AttachedPolicy:
    return replace(policy, contested=True) if is_contested else policy


def _group(name: str) -> str:
    return registry.principal_text(THING_GROUP, name)
