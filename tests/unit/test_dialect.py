"""What a listener of the standard dialect takes that one of AWS IoT Core's does not."""

from __future__ import annotations

import pytest
from mqtt_sessions import Rights, said

from isthmus.core.connecting import Refusal, accept, begin, check_connect
from isthmus.core.dialect import AWS, STANDARD
from isthmus.core.session import Close, Session, Store
from isthmus.wire import mqtt5, packets
from isthmus.wire.packets import Connect, Filter, Publish, Will
from isthmus.wire.properties import ConnectProperties

BOTH = pytest.mark.parametrize("dialect", [AWS, STANDARD], ids=["aws", "standard"])
DEEP, LONG = "a/" * 8 + "b", "x" * 257


def session(dialect) -> Session:
    connect = Connect("car", level=packets.LEVEL_5)
    return begin(connect, Rights(), 60, dialect)


@BOTH
@pytest.mark.parametrize("topic", [DEEP, LONG, "$SYS/x"])
def test_topics_have_no_limits_but_the_wires(dialect, topic):
    *_, action = session(dialect).handle(Publish(topic, b""))
    assert isinstance(action, Store if dialect is STANDARD else Close)
    (answer,) = said(session(dialect).handle(packets.Subscribe(1, (Filter(topic, 1),))))
    assert answer.codes == ((1,) if dialect is STANDARD else (0x8F,))
    connect = Connect("car", level=packets.LEVEL_5, will=Will(topic, b""))
    assert isinstance(check_connect(connect, "id", dialect), Refusal) is (dialect is AWS)


@BOTH
def test_a_client_may_have_many_subscriptions(dialect):
    filters = tuple(Filter(f"f{number}") for number in range(9))
    (answer,) = said(session(dialect).handle(packets.Subscribe(1, filters)))
    assert answer.codes == (0,) * 8 + ((0,) if dialect is STANDARD else (0x97,))


@pytest.mark.parametrize("asked_s", [0, 1, 5, 65_535])
def test_a_keep_alive_is_the_clients(asked_s):
    connect = Connect("car", keep_alive_s=asked_s, level=packets.LEVEL_5)
    found = begin(connect, Rights(), 0, STANDARD)
    assert found.keep_alive_s == (1.5 * asked_s if asked_s else float("inf"))
    (connack,) = mqtt5.Decoder().feed(accept(connect, is_assigned=False, dialect=STANDARD))
    assert connack.properties.server_keep_alive_s is None


@BOTH
def test_in_3_1_1_a_client_with_a_clean_session_needs_no_name(dialect):
    found = check_connect(Connect(""), "assigned", dialect)
    assert (found.client_id if dialect is STANDARD else found.code) in ("assigned", 0x85)
    assert isinstance(check_connect(Connect("", clean_session=False), "x", dialect), Refusal)


@BOTH
def test_a_client_may_take_small_packets_only(dialect):
    asked = ConnectProperties(max_packet_bytes=64)
    connect = Connect("car", level=packets.LEVEL_5, properties=asked)
    found = check_connect(connect, "id", dialect)
    assert isinstance(found, Refusal) is (dialect is AWS)
    assert len(accept(connect, is_assigned=False, dialect=STANDARD)) <= 64
