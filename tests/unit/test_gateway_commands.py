"""To whom a gateway gives the commands that wait, and what it costs to look."""

from __future__ import annotations

import asyncio
from typing import Any

from mqtt_sessions import sent, session

from isthmus.clock import now_ms
from isthmus.core import command_executions, registry
from isthmus.core.command_executions import BY_GATEWAYS, COMMAND_EXECUTION, Asked
from isthmus.core.item import Item
from isthmus.core.lattice import GrowSet
from isthmus.core.log_view import LogView
from isthmus.core.registry import ATTACHMENT, CERTIFICATE, THING, Writer
from isthmus.core.session import Action, Join, Send
from isthmus.core.stamp import StampClock
from isthmus.core.table import MemoryTable, Row
from isthmus.gateway.commands import Commands
from isthmus.wire.packets import Filter, Publish, Subscribe

CERTIFICATE_ID, OTHER_ID = "c" * 64, "d" * 64


class Table(MemoryTable):
    """Counts how often executions are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def get(self, kind: str, key: str) -> Row | None:
        self.reads += kind == COMMAND_EXECUTION
        return super().get(kind, key)


class Gateway:
    """One without sockets: whom it has, and what it says has been delivered."""

    def __init__(self) -> None:
        self.table = Table()
        self.view = LogView(self.table, BY_GATEWAYS)
        self.carried: list[bytes] = []
        self.clients: dict[str, Device] = {}
        self.commands = Commands(self.view, self, self.clients.get)  # type: ignore[arg-type]
        self._clock = StampClock("eu", "i")
        self._revision = 0

    def writer(self) -> Writer:
        return Writer(self._clock, now_ms())

    def carry(self, encoded: bytes, _carrying: object) -> None:
        self.carried.append(encoded)

    def has(self, kind: str, key: str) -> Item:
        """A thing or certificate, made where there is none."""
        item = self.view.get(kind, key)
        if not item.lives:
            write = self.writer().write(item).create()
            item = write.put("activated", GrowSet(frozenset({write.dot}))).done()
            self.apply(item)
        return item

    def attach(self, name: str, *, exclusive: bool = False) -> None:
        ends = self.has(THING, name), self.has(CERTIFICATE, CERTIFICATE_ID)
        item = self.view.get(ATTACHMENT, registry.attachment_key(f"thing:{name}", CERTIFICATE_ID))
        self.apply(registry.attach(item, self.writer(), *ends, exclusive=exclusive))

    def apply(self, item: Item) -> None:
        """Have the log's next entry, and say whose rights it may have changed, as gateways do."""
        self._revision += 1
        change = self.view.take(self._revision, item.kind, item.key, item.encode())
        assert change
        concerned = self.view.view.concerned([change])
        for device in self.clients.values():
            if concerned.is_anybody or device.principal in concerned.principals:
                self.commands.rights_changed(device)  # type: ignore[arg-type]

    def starts(self, key: str, name: str = "lamp", **asked: Any) -> None:
        """An execution is heard of."""
        given = {"kind": "thing", "content": "eA==", "content_type": "text/plain", **asked}
        wanted = Asked(command="say", name=name, timeout_s=600, **given)
        item = Item(COMMAND_EXECUTION, key)
        thing = self.view.get(THING, name) if wanted.kind == THING else None
        self.apply(command_executions.start(item, self.writer(), wanted, thing))


class Device:
    """A connection that has its CONNACK."""

    is_open = True

    def __init__(
        self,
        gateway: Gateway,
        client: str = "lamp",
        denied: str = "nothing",
        principal: str = CERTIFICATE_ID,
    ) -> None:
        self.principal = principal
        self.session = session(denied)
        self.session.client_id = client
        self.given: list[str] = []
        self._gateway = gateway
        gateway.clients[client] = self

    def subscribes(self, *topic_filters: str) -> None:
        """All in one packet."""
        self.perform(self.session.handle(Subscribe(1, tuple(Filter(f, 1) for f in topic_filters))))

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Join):
                self._gateway.commands.joined(self, action.topic_filter)  # type: ignore[arg-type]
            if isinstance(action, Send):
                found = [each for each in sent(action.data) if isinstance(each, Publish)]
                self.given += [each.topic.split("/")[5] for each in found]


def requests(name: str = "lamp", last: str = "", execution: str = "+") -> str:
    return f"$aws/commands/things/{name}/executions/{execution}/request{last}"


def with_things(*names: str, exclusive: bool = False) -> Gateway:
    """A gateway that knows these things, which the devices' certificate is attached to."""
    gateway = Gateway()
    for name in names:
        gateway.attach(name, exclusive=exclusive)
    return gateway


async def turns(count: int = 10) -> None:
    """Let the loop do what is due."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_client_may_subscribe_all_day_and_what_it_does_not_take_is_not_read() -> None:
    gateway = with_things("lamp")
    keys = [f"{number:03d}" for number in range(100)]
    for key in keys:
        gateway.starts(key)
    device = Device(gateway)
    gateway.table.reads = 0
    for number in range(40):
        device.subscribes(requests(last=f"/{number}"))
        await turns(2)
    assert (gateway.table.reads, device.given) == (0, [])
    device.subscribes(requests(), requests(execution="007"))
    await turns()
    for _ in range(10):
        device.subscribes(requests())
        await turns(2)
    assert device.given == keys, "it is in no hurry to acknowledge, and is given nothing twice"
    assert gateway.table.reads == len(keys)


async def test_who_may_subscribe_and_not_receive_costs_no_more() -> None:
    gateway = with_things("lamp")
    for key in "abc":
        gateway.starts(key)
    device = Device(gateway, denied="iot:Receive")
    gateway.table.reads = 0
    device.subscribes(requests())
    await turns()
    assert (gateway.table.reads, device.given) == (0, [])


async def test_many_who_subscribe_at_once_are_looked_at_one_in_a_turn() -> None:
    gateway = with_things("lamp", "pump", "fan")
    devices = [Device(gateway, name) for name in ("lamp", "pump", "fan")]
    for device in devices:
        gateway.starts(f"of-{device.session.client_id}", device.session.client_id)
        for number in range(8):
            device.subscribes(requests(device.session.client_id), requests(last=f"/{number}"))
    seen = []
    for _ in devices:
        await turns(1)
        seen.append(sum(len(each.given) for each in devices))
    assert seen == [1, 2, 3]


async def test_what_comes_while_a_client_is_due_is_given_once_and_in_order() -> None:
    gateway = with_things("lamp")
    gateway.starts("a")
    device = Device(gateway)
    device.subscribes(requests())
    gateway.starts("b")
    assert device.given == []
    await turns()
    gateway.starts("c")
    assert device.given == ["a", "b", "c"]


async def test_who_only_takes_a_things_name_is_not_given_its_commands() -> None:
    gateway = with_things("lamp")
    stranger = Device(gateway, principal=OTHER_ID)
    stranger.subscribes(requests(), requests().replace("things", "clients"))
    gateway.starts("a")
    await turns()
    gateway.starts("b")
    gateway.starts("c", kind="client")
    assert (stranger.given, gateway.carried) == (["c"], [])
    device = Device(gateway)
    device.subscribes(requests())
    await turns()
    assert device.given == ["a", "b"]


async def test_a_thing_under_another_name_is_given_its_commands() -> None:
    gateway = with_things("lamp", exclusive=True)
    gateway.starts("a")
    device = Device(gateway, client="dev-7")
    device.subscribes(requests())
    await turns()
    gateway.starts("b")
    assert device.given == ["a", "b"]


async def test_of_the_connections_of_a_thing_the_last_to_subscribe_is_given_what_comes() -> None:
    gateway = with_things("lamp", exclusive=True)
    devices = [Device(gateway, client=name) for name in ("one", "two", "one")]
    for number, device in enumerate(devices):
        device.subscribes(requests())
        await turns()
        gateway.starts(f"{number}")
        assert device.given[-1:] == [f"{number}"]


async def test_what_waits_is_given_when_a_certificate_is_attached() -> None:
    gateway = Gateway()
    gateway.has(THING, "lamp")
    gateway.starts("a")
    device = Device(gateway)
    device.subscribes(requests())
    await turns()
    assert device.given == []
    gateway.attach("lamp")
    await turns()
    gateway.starts("b")
    assert device.given == ["a", "b"]
    detached = gateway.view.get(ATTACHMENT, registry.attachment_key("thing:lamp", device.principal))
    gateway.apply(registry.detach(detached, gateway.writer()))
    await turns()
    gateway.starts("c")
    assert device.given == ["a", "b"]


async def test_what_was_started_for_a_thing_is_not_for_the_next_of_its_name() -> None:
    gateway = with_things("lamp")
    gateway.starts("a")
    gateway.apply(registry.delete(gateway.view.get(THING, "lamp"), gateway.writer()))
    gateway.attach("lamp")
    device = Device(gateway)
    device.subscribes(requests())
    await turns()
    gateway.starts("b")
    assert device.given == ["b"]
