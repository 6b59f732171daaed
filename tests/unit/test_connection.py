"""A connection over streams that are not TLS: it knows their shape and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from mqtt_sessions import Rights, sent

from isthmus.config import Limits
from isthmus.core.connecting import Refusal, begin
from isthmus.core.session import Store, Ticket
from isthmus.gateway.connection import OWED_MAX, Connection
from isthmus.gateway.shedding import Shedding
from isthmus.gateway.stream import Ended
from isthmus.wire import mqtt3
from isthmus.wire.reason_codes import ReasonCode

CONNECT = mqtt3.Connect("car-1", will=mqtt3.Will("cars/car-1/gone", b"gone"))


class Reversed:
    """A stream that turns its bytes around, and does what it is told to."""

    principal = "0" * 64

    def __init__(self) -> None:
        self.ended: Ended | None = None
        self.last = b""

    def certificate(self) -> str:
        return "pem"

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return data[::-1], self.last

    def wrap(self, plaintext: bytes) -> bytes:
        return plaintext[::-1]

    def close(self) -> bytes:
        return b"bye"


class Transport:
    """Remembers what was written, and how it ended."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = ""
        self.is_paused = False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = "closed"

    def abort(self) -> None:
        self.closed = "aborted"

    def get_extra_info(self, _: str) -> Any:
        return ("127.0.0.1", 1)

    def set_write_buffer_limits(self, **_: int) -> None:
        pass


class Opened:
    """A connection whose client has connected."""

    def __init__(self, *, begins_later: bool = False) -> None:
        self.now_s = 0.0
        #: Lets the session begin, where it does not do so at once.
        self.begin: Callable[[], None] = lambda: None
        self.stream, self.transport = Reversed(), Transport()
        self.stored: list[Any] = []
        self.owed: list[Ticket] = []
        gateway: Any = SimpleNamespace(
            now_s=lambda: self.now_s,
            notice_pause=lambda: False,
            shedding=Shedding(Limits()),
            opened=lambda _: None,
            admit=lambda _, connect: begin(connect, Rights()),
            store=self._store,
            sessions=SimpleNamespace(begin=self._begins, went_on=lambda _: None),
            presence=SimpleNamespace(came=lambda *_: None),
        )
        self._begins_later = begins_later
        self.connection = Connection(gateway, self.stream)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]
        self.says(CONNECT)
        assert self.connection.session is not None
        self.session = self.connection.session

    def _begins(self, _: object, __: object, begun: Callable[[bool], None]) -> None:
        if self._begins_later:
            self.begin = lambda: begun(False)
        else:
            begun(False)

    def _store(self, _: Any, action: Store) -> None:
        self.stored.append(action.publish.payload)
        if action.ticket:
            self.owed.append(action.ticket)

    def says(self, *found: mqtt3.Packet) -> None:
        self.connection.data_received(b"".join(mqtt3.encode(each) for each in found)[::-1])

    def heard(self) -> list[Any]:
        return [each for data in self.transport.written for each in sent(data[::-1])]


async def test_packets_go_through_the_stream_both_ways() -> None:
    opened = Opened()
    opened.says(mqtt3.Publish("cars/car-1/x", b"hello"), mqtt3.Pingreq())
    assert opened.heard() == [mqtt3.Connack(False, 0), mqtt3.Pingresp()]
    assert opened.stored == [b"hello"]
    assert opened.connection.principal == Reversed.principal


async def test_what_the_stream_says_last_leaves_last() -> None:
    opened = Opened()
    opened.connection.close("enough")
    assert opened.transport.written[-1] == b"bye"
    assert opened.transport.closed == "closed"


async def test_nothing_is_said_where_the_connection_is_cut_at_once() -> None:
    opened = Opened()
    opened.connection.close("enough", at_once=True)
    assert len(opened.transport.written) == 1
    assert opened.transport.closed == "aborted"


async def test_only_packets_keep_a_client_alive() -> None:
    opened = Opened()
    opened.now_s = 20.0
    opened.connection.data_received(b"")
    assert opened.connection.heard_s == 0.0
    opened.says(mqtt3.Pingreq())
    assert opened.connection.heard_s == 20.0


@pytest.mark.parametrize("is_goodbye", [True, False])
async def test_a_transports_goodbye_is_a_disconnect_and_every_other_end_is_not(
    is_goodbye: bool,
) -> None:
    opened = Opened()
    opened.stream.ended, opened.stream.last = Ended("over", is_goodbye), b"last"
    opened.says(mqtt3.Publish("cars/car-1/x", b"before the end"))
    assert opened.stored == [b"before the end"]
    assert (opened.session.will is None) == is_goodbye
    assert opened.transport.written[1:] == [b"last", b"bye"]
    assert opened.transport.closed == "closed"


async def test_a_goodbye_before_connect_is_an_end_like_any_other() -> None:
    opened = Opened()
    opened.connection.session = None
    opened.stream.ended = Ended("over", is_goodbye=True)
    opened.connection.data_received(b"")
    assert opened.transport.closed == "closed"


async def test_a_goodbye_that_comes_before_connack_waits_for_what_was_said_before_it() -> None:
    opened = Opened(begins_later=True)
    opened.stream.ended = Ended("over", is_goodbye=True)
    opened.says(mqtt3.Publish("cars/car-1/x", b"before the end"))
    assert (opened.stored, opened.transport.closed) == ([], "")
    opened.begin()
    assert opened.stored == [b"before the end"]
    assert opened.session.will is None
    assert opened.transport.closed == "closed"


async def test_every_other_end_before_connack_is_the_end() -> None:
    opened = Opened(begins_later=True)
    opened.stream.ended = Ended("over")
    opened.says(mqtt3.Publish("cars/car-1/x", b"before the end"))
    assert opened.transport.closed == "closed"
    opened.begin()
    assert opened.stored == []
    assert opened.session.will is not None


async def test_no_more_is_in_doubt_than_may_be_however_much_comes_at_once() -> None:
    opened = Opened()
    numbers = range(1, 2 * OWED_MAX + 51)
    opened.says(*(mqtt3.Publish("t", b"%d" % n, 1, packet_id=n) for n in numbers))
    assert len(opened.stored) == OWED_MAX
    assert opened.transport.is_paused
    while opened.owed:
        tickets, opened.owed = opened.owed[:30], opened.owed[30:]
        opened.connection.kept(tickets)
        assert len(opened.owed) + len(tickets) <= 2 * OWED_MAX
        assert opened.session.owed <= OWED_MAX
    assert opened.stored == [b"%d" % n for n in numbers]
    assert [each.packet_id for each in opened.heard()[1:]] == list(numbers)
    assert not opened.transport.is_paused


async def test_what_is_gathered_is_written_once_and_in_order() -> None:
    opened = Opened()
    del opened.transport.written[:]
    opened.connection.gather()
    for payload in (b"1", b"2"):
        opened.connection.perform(opened.session.deliver(mqtt3.Publish("t", payload)))
    assert opened.transport.written == []
    opened.connection.scatter()
    assert len(opened.transport.written) == 1
    assert [each.payload for each in opened.heard()] == [b"1", b"2"]
    # From then on nothing waits.
    opened.connection.perform(opened.session.deliver(mqtt3.Publish("t", b"3")))
    assert len(opened.transport.written) == 2


async def test_a_connection_that_is_closed_meanwhile_says_first_what_was_gathered() -> None:
    opened = Opened()
    del opened.transport.written[:]
    opened.connection.gather()
    opened.connection.perform(opened.session.deliver(mqtt3.Publish("t", b"1")))
    opened.connection.close("it may no more")
    opened.connection.scatter()
    assert opened.transport.written.pop() == b"bye"
    assert [each.payload for each in opened.heard()] == [b"1"]


async def test_who_is_refused_later_is_not_read_from_and_hears_nothing_before() -> None:
    opened = Opened()
    gateway, transport = opened.connection._gateway, Transport()
    gateway.admit = lambda *_: None  # type: ignore[assignment,method-assign]
    connection = Connection(gateway, Reversed())
    connection.connection_made(transport)  # type: ignore[arg-type]
    said = (CONNECT, mqtt3.Publish("cars/car-1/x", b"early"), CONNECT)
    connection.data_received(b"".join(mqtt3.encode(each) for each in said)[::-1])
    assert transport.is_paused
    assert not connection.is_read
    assert (transport.written, opened.stored, transport.closed) == ([], [], "")
    connection.refuse(Refusal(ReasonCode.NOT_AUTHORIZED, "nobody knows it"))
    (answer, _) = transport.written
    assert sent(answer[::-1]) == [mqtt3.Connack(False, 5)]
    assert transport.closed == "closed"
    assert opened.stored == []
