"""Who is asked again what he may do, in which order, and at what cost to the rest of a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from isthmus.config import Limits
from isthmus.core import memberships, policies, registry, suspensions, thing_groups
from isthmus.core.item import Item
from isthmus.core.memberships import MEMBERSHIPS
from isthmus.core.permissions import Permissions
from isthmus.core.policy_context import Asked
from isthmus.core.rechecks import Rechecks
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, POLICY, POLICY_VERSION, THING, Writer
from isthmus.core.stamp import StampClock
from isthmus.core.suspensions import SUSPENSION
from isthmus.core.table import MemoryTable, Path, Row
from isthmus.core.thing_groups import THING_GROUP
from isthmus.core.view import NAMED_MAX, Change, Concerned, View
from isthmus.gateway.live_rights import LiveRights
from isthmus.gateway.rest import Rest
from isthmus.gateway.rest_connection import RestConnection
from isthmus.gateway.shedding import Shedding
from isthmus.gateway.stream import Http, PlainStream

WRITER = Writer(StampClock("eu", "i"), 1)
DOCUMENT = (
    '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}}'
)


class CountedTable(MemoryTable):
    """Counts what is read of it: items, and names in lists."""

    read = 0

    def get(self, kind: str, key: str) -> Row | None:
        self.read += 1
        return super().get(kind, key)

    def names(self, path: Path, start: str | None, *, inclusive: bool) -> Iterator[str]:
        for name in super().names(path, start, inclusive=inclusive):
            self.read += 1
            yield name


class Fleet:
    """Things with a certificate each, all of them in one group and under one policy."""

    def __init__(self, size: int) -> None:
        self.table = CountedTable()
        self.view = View(self.table)
        self.ids = [f"{number:064x}" for number in range(size)]
        self.group = thing_groups.create(Item(THING_GROUP, "trucks"), WRITER, {}, {}, None)
        key = policies.version_key("drive", 1, DOCUMENT)
        version = policies.keep_version(Item(POLICY_VERSION, key), WRITER, DOCUMENT)
        self.policy = policies.put(Item(POLICY, "drive"), WRITER, key)
        for item in (self.group, version, self.policy):
            self.view.apply(item)
        for number, each in enumerate(self.ids):
            self._add(f"truck-{number}", each)

    def _add(self, name: str, principal: str) -> None:
        thing = registry.put_thing(Item(THING, name), WRITER, {})
        new = Item(CERTIFICATE, principal)
        certificate = registry.register_certificate(new, WRITER, "pem", active=True)
        held = memberships.changed(Item(MEMBERSHIPS, name), WRITER, thing, add=[self.group])
        for item in (thing, certificate, held):
            self.view.apply(item)
        for target in (thing, self.policy):
            key = registry.attachment_key(f"{target.kind}:{target.key}", principal)
            item = registry.attach(Item(ATTACHMENT, key), WRITER, target, certificate)
            self.view.apply(item)

    def suspend(self) -> Change:
        new = Item(SUSPENSION, suspensions.key(THING_GROUP, "trucks"))
        return self.view.apply(suspensions.suspend(new, WRITER, self.group, "stolen"))

    def delete_group(self) -> Change:
        return self.view.apply(thing_groups.delete(self.group, WRITER))

    def delete_policy(self) -> Change:
        return self.view.apply(registry.delete(self.policy, WRITER))

    def revoke(self, number: int) -> Change:
        certificate = self.view.get(CERTIFICATE, self.ids[number])
        assert certificate is not None
        return self.view.apply(registry.revoke(certificate, WRITER))

    def concerned(self, *changes: Change) -> Concerned:
        return self.view.concerned(changes)

    def rechecks(self) -> Rechecks[str]:
        """With everybody here, each as one connection that has the name of its principal."""
        found: Rechecks[str] = Rechecks()
        for each in self.ids:
            found.came(each, each)
        return found


def asked(rechecks: Rechecks[str]) -> list[str]:
    return [rechecks.next() for _ in range(len(rechecks))]


FLEET_CHANGES: list[Callable[[Fleet], Change]] = [
    Fleet.suspend,
    Fleet.delete_group,
    Fleet.delete_policy,
]


@pytest.mark.parametrize("change", FLEET_CHANGES)
def test_a_change_for_a_fleet_reads_as_much_as_one_for_a_few_more_than_are_named(
    change: Callable[[Fleet], Change],
) -> None:
    reads = []
    for size in (NAMED_MAX + 1, 10 * NAMED_MAX):
        fleet = Fleet(size)
        before = fleet.table.read
        assert fleet.concerned(change(fleet)) == Concerned((), True)
        reads.append(fleet.table.read - before)
    assert reads[0] == reads[1]


@pytest.mark.parametrize("change", FLEET_CHANGES)
def test_a_change_for_a_fleet_is_asked_of_everybody_who_is_here(
    change: Callable[[Fleet], Change],
) -> None:
    fleet = Fleet(NAMED_MAX + 1)
    rechecks = fleet.rechecks()
    rechecks.went(fleet.ids[7], fleet.ids[7])
    rechecks.changed(fleet.concerned(change(fleet)))
    assert asked(rechecks) == [each for each in fleet.ids if each != fleet.ids[7]]


def test_a_policy_that_few_have_is_asked_of_them_alone() -> None:
    fleet = Fleet(3)
    rechecks = fleet.rechecks()
    rechecks.came("f" * 64, "stranger")
    rechecks.changed(fleet.concerned(fleet.delete_policy()))
    assert sorted(asked(rechecks)) == fleet.ids


def test_who_is_named_comes_first_and_is_asked_once() -> None:
    fleet = Fleet(3)
    rechecks = fleet.rechecks()
    rechecks.changed(fleet.concerned(fleet.suspend()))
    rechecks.changed(fleet.concerned(fleet.revoke(1)))
    assert asked(rechecks) == [fleet.ids[1], fleet.ids[0], fleet.ids[2]]


def test_who_was_asked_already_is_asked_again_behind_those_who_were_not() -> None:
    fleet = Fleet(3)
    rechecks = fleet.rechecks()
    rechecks.changed(fleet.concerned(fleet.suspend()))
    assert rechecks.next() == fleet.ids[0]
    rechecks.changed(fleet.concerned(fleet.delete_group()))
    assert asked(rechecks) == [fleet.ids[1], fleet.ids[2], fleet.ids[0]]


def test_who_has_left_is_not_asked() -> None:
    fleet = Fleet(2)
    rechecks = fleet.rechecks()
    rechecks.came(fleet.ids[0], "another of the same principal")
    rechecks.changed(fleet.concerned(fleet.suspend(), fleet.revoke(0)))
    # A connection that another one has taken over is closed twice.
    rechecks.went(fleet.ids[0], fleet.ids[0])
    rechecks.went(fleet.ids[0], fleet.ids[0])
    assert asked(rechecks) == ["another of the same principal", fleet.ids[1]]
    rechecks.changed(fleet.concerned(fleet.delete_group()))
    assert asked(rechecks) == ["another of the same principal", fleet.ids[1]]


def test_what_changes_nobodys_rights_asks_nobody() -> None:
    fleet = Fleet(1)
    rechecks = fleet.rechecks()
    group = thing_groups.update(fleet.group, WRITER, {}, {"colour": "red"})
    empty = thing_groups.create(Item(THING_GROUP, "empty"), WRITER, {}, {}, group)
    policy = policies.put(Item(POLICY, "spare"), WRITER, policies.version_key("spare", 1, "{}"))
    rechecks.changed(fleet.concerned(*map(fleet.view.apply, (group, empty, policy))))
    assert not rechecks


class Connection:
    """One of a gateway's, that remembers how it was closed."""

    address = "192.0.2.1"

    def __init__(self, principal: str) -> None:
        self.principal = principal
        self.session = SimpleNamespace(client_id="any", asked=Asked(), permissions=None)
        self.closed: list[str] = []

    def close(self, reason: str, **_how: Any) -> None:
        self.closed.append(reason)


@asynccontextmanager
async def connected(fleet: Fleet) -> AsyncIterator[tuple[LiveRights, list[Connection]]]:
    """A gateway with everybody connected."""
    told: list[Any] = []
    permissions = Permissions("1", frozenset({"eu"}), fleet.view)
    rights = LiveRights(fleet.view, permissions, told.append)
    connections = [Connection(each) for each in fleet.ids]
    for each in connections:
        rights.came(each.principal, each)  # type: ignore[arg-type]
    task = asyncio.create_task(rights.run())
    try:
        yield rights, connections
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_others_have_their_turns_while_a_fleet_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each turn is as short as it can be: one connection, and the clock says that it is over."""
    monkeypatch.setattr("isthmus.gateway.live_rights.TURN_S", 0)
    fleet = Fleet(20)
    async with connected(fleet) as (rights, connections):
        rights.changed(fleet.concerned(fleet.suspend()))
        closed = sum(bool(each.closed) for each in connections)
        assert closed == 1
        while closed < len(connections):
            await asyncio.sleep(0)
            before, closed = closed, sum(bool(each.closed) for each in connections)
            assert closed <= before + 1
    assert {tuple(each.closed) for each in connections} == {
        ("the thing group trucks is suspended now",)
    }


async def test_who_is_named_is_closed_before_anything_else_happens() -> None:
    fleet = Fleet(2)
    async with connected(fleet) as (rights, connections):
        rights.changed(fleet.concerned(fleet.revoke(1)))
        assert [each.closed for each in connections] == [[], ["the certificate is REVOKED now"]]


async def test_who_may_stay_has_new_permissions() -> None:
    fleet = Fleet(NAMED_MAX + 1)
    async with connected(fleet) as (rights, connections):
        rights.changed(fleet.concerned(fleet.delete_group()))
        for _ in connections:
            await asyncio.sleep(0)
        assert all(each.session.permissions for each in connections)
        assert not any(each.closed for each in connections)


class Transport:
    """Takes over the connection that is made for it."""

    def set_protocol(self, connection: RestConnection) -> None:
        self.connection = connection


@pytest.mark.parametrize("change", [Fleet.suspend, lambda fleet: fleet.revoke(0)])
def test_who_asks_by_https_has_new_rights_for_the_next_request(
    change: Callable[[Fleet], Change],
) -> None:
    fleet, nobody = Fleet(2), cast("Any", None)
    permissions = Permissions("1", frozenset({"eu"}), fleet.view)
    rest = Rest(fleet.view, permissions, nobody, Shedding(Limits()), nobody, nobody)
    transports = [Transport() for _ in fleet.ids]
    for each, principal in zip(transports, fleet.ids, strict=True):
        rest.take(cast("Any", each), Http(PlainStream(principal), b""))
        each.connection.rights = permissions.without_client(principal, "")
    concerned = fleet.concerned(change(fleet))
    rest.changed(concerned)
    has_old = [each.connection.rights is not None for each in transports]
    assert has_old == [False, not concerned.is_anybody]
