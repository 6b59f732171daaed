"""A region's items as one process has them, and what they say about a principal.

Fed by the region's own change log, so it is as new as the log's position it has applied. Every
process of a region that needs items keeps one, in a table of its own. ``digest`` covers what is
held here, so that two regions can be compared by what their services believe and not only by what
their disks have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from isthmus.core import access_keys, attachments, memberships, policies, registry, thing_groups
from isthmus.core.access_keys import AccessKeyStatus
from isthmus.core.attachments import BY_PRINCIPAL, BY_TARGET
from isthmus.core.catalogue import Catalogue, Listed
from isthmus.core.item import Item
from isthmus.core.lattice import Dot
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.registry import Attach, CertificateStatus
from isthmus.core.table import MemoryTable, Table
from isthmus.core.thing_groups import THING_GROUP


@dataclass(frozen=True, slots=True)
class AttachedPolicy:
    """A policy that counts for a principal: every default version of it, and whether contested."""

    name: str
    documents: tuple[str, ...]
    contested: bool


#: What a view itself finds items by: what is attached to whom, and who is in which group.
RIGHTS: Mapping[str, Listed] = {
    registry.ATTACHMENT: attachments.listed,
    MEMBERSHIPS: memberships.listed,
    THING_GROUP: thing_groups.listed,
}


class View:
    """Items by kind and key, and the lists by which they are found."""

    def __init__(
        self, table: Table | None = None, listed: Mapping[str, Listed] | None = None
    ) -> None:
        self.table = MemoryTable() if table is None else table
        self.catalogue = Catalogue({**RIGHTS, **(listed or {})}, self.table)

    def __len__(self) -> int:
        return len(self.table)

    def get(self, kind: str, key: str) -> Item | None:
        row = self.table.get(kind, key)
        return row.item if row else None

    def of_kind(self, kind: str) -> Iterator[Item]:
        """Every item of a kind, by key: for people and for starts, and not for messages."""
        return self.table.of_kind(kind)

    def apply(self, item: Item, revision: int | None = None) -> frozenset[str]:
        """Take a newer version in; return the principals whose rights may have changed by it.

        Without a revision it is not from the log, and the one that the log has stays.
        """
        row = self.table.get(item.kind, item.key)
        before = row.item if row else None
        if revision is None:
            revision = row.revision if row else 0
        self.table.put(item, revision)
        self.catalogue.note(before, item)
        match item.kind:
            case registry.CERTIFICATE | access_keys.ACCESS_KEY:
                return frozenset({item.key})
            case registry.ATTACHMENT:
                return self._in_group(item.key.rsplit(":", 1)[1])
            case registry.POLICY | registry.THING:
                return self._with(item.kind, item.key)
            case registry.POLICY_VERSION:
                return self._with(registry.POLICY, item.key.rsplit(":", 2)[0])
            case thing_groups.THING_GROUP:
                # Who was in a life of it that has just ended is concerned too.
                return self._below(item.key, item.lives | (before.lives if before else set()))
            case memberships.MEMBERSHIPS:
                return self._with(registry.THING, item.key)
        return frozenset()

    def _with(self, kind: str, key: str) -> frozenset[str]:
        """The principals that a policy or a thing matters to."""
        found: set[str] = set()
        for holder in (registry.CERTIFICATE, THING_GROUP):
            for name in self._other_ends(BY_TARGET, kind, key, holder):
                found |= self._in_group(registry.principal_text(holder, name))
        return frozenset(found)

    def _in_group(self, principal: str) -> frozenset[str]:
        """Of a group, the principals of the things in it and below it; any other is its own."""
        if not registry.is_group(principal):
            return frozenset({principal})
        _, name = registry.principal_name(principal)
        return self._below(name, self._thing_group(name).lives)

    def _below(self, group: str, group_lives: Iterable[Dot]) -> frozenset[str]:
        """The principals of the things in a group and below it, in any of these lives of it."""
        found: set[str] = set()
        left, passed = [(group, life) for life in group_lives], set[tuple[str, Dot]]()
        while left:
            at = left.pop()
            # Items of another make might lead in a circle.
            if at in passed:
                continue
            passed.add(at)
            for thing in self.catalogue.after(memberships.LISTED_BY_GROUP, *at):
                found |= self._with(registry.THING, thing)
            for name in self.catalogue.after(thing_groups.LISTED_BY_PARENT, *at):
                left += [(name, life) for life in self._thing_group(name).lives]
        return frozenset(found)

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
        holder = registry.principal_name(principal)
        for name in self._other_ends(BY_PRINCIPAL, *holder, kind):
            key = registry.attachment_key(f"{kind}:{name}", principal)
            for attach in registry.attaches(self.get(registry.ATTACHMENT, key) or Item("", "")):
                target = self.get(attach.target_kind, attach.target_key)
                if attach.holds_for(target, self.get(*holder)):
                    yield attach

    def _documents(self, policy: str) -> tuple[str, ...]:
        """The documents of all default versions; a version not here yet reads as deny all."""
        item = self.get(registry.POLICY, policy)
        keys = policies.default_versions(item) if item else []
        versions = (self.get(registry.POLICY_VERSION, key) for key in keys)
        return tuple((each and each.register("document")) or "" for each in versions)

    @property
    def digest(self) -> str:
        """One hash over everything that is held, tombstones included."""
        return f"{self.table.digest:032x}"

    def digests(self) -> dict[str, str]:
        """A short hash of every item, tombstones included."""
        return {f"{kind}/{key}": f"{each:032x}"[:16] for kind, key, each in self.table.hashes()}


def _group(name: str) -> str:
    return registry.principal_text(THING_GROUP, name)
