"""Commands that a session is given: when it has one, and what becomes of the others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mqtt_sessions import sent, session

from isthmus.core import command_topics, dialect
from isthmus.core.command_topics import Device
from isthmus.core.commanding import Has, give
from isthmus.core.place import Owed
from isthmus.core.session import Close, Send
from isthmus.wire import packets
from isthmus.wire.packets import LEVEL_3, LEVEL_5, Filter, Publish
from isthmus.wire.properties import PublishProperties

TOPIC = "$aws/commands/things/car-1/executions/e/request"
COMMAND = Publish(TOPIC, b"x", 1, properties=PublishProperties(message_expiry_s=10))


def subscribed(*denied, qos=1, topic_filter="$aws/commands/things/car-1/executions/+/request", **f):
    found = session(*denied, **f)
    found.handle(packets.Subscribe(1, (Filter(topic_filter, qos),)))
    return found


def publishes(actions, level=LEVEL_3):
    data = b"".join(action.data for action in actions if isinstance(action, Send))
    return [each for each in sent(data, level) if isinstance(each, Publish)]


@pytest.mark.parametrize("level", [LEVEL_3, LEVEL_5])
def test_at_qos_1_a_client_has_a_command_when_it_acknowledges_it(level):
    client = subscribed(level=level)
    (message,) = publishes(actions := give(client, COMMAND, 0, 1_000, "e"), level)
    assert (message.topic, message.payload, message.qos) == (TOPIC, b"x", 1)
    assert Has("e") not in actions
    if level == LEVEL_5:
        assert message.properties.message_expiry_s == 9
    acknowledged = packets.Puback(message.packet_id)
    assert client.handle(acknowledged) == [Has("e")]
    assert client.handle(acknowledged) == []


def test_at_qos_0_it_has_what_it_was_sent():
    send, has = give(subscribed(qos=0), COMMAND, 0, 0, "e")
    assert [each.qos for each in publishes([send])] == [0]
    assert has == Has("e")


@pytest.mark.parametrize(
    "client",
    [
        session(),
        subscribed("iot:Receive"),
        subscribed(topic_filter="$aws/commands/things/car-1/executions/+/request/json"),
        subscribed(topic_filter="$aws/commands/things/car-2/executions/+/request"),
    ],
)
def test_who_does_not_subscribe_or_may_not_have_it_is_not_given_a_command(client):
    assert give(client, COMMAND, 0, 0, "e") is None


def test_what_has_expired_while_it_waited_is_had_by_nobody():
    client = subscribed(receive_max=1)
    (first,) = publishes(give(client, COMMAND, 0, 0, "a"))
    assert give(client, COMMAND, 0, 0, "b") == []
    assert client.handle(packets.Puback(first.packet_id), 10_000) == [Has("a")]
    assert give(client, COMMAND, 0, 10_000, "c") == []


def test_what_the_bus_owes_is_told_without_commands():
    client = subscribed(receive_max=2)
    owed = Owed("eu", 1, "b:1", 0)
    give(client, COMMAND, 0, 0, "a")
    client.deliver(COMMAND, 0, 0, owed)
    give(client, COMMAND, 0, 0, "b")
    assert [each.sequence for each in client.unacknowledged()] == [1]


@given(st.lists(st.sampled_from(["command", "message", "acknowledge"]), max_size=30))
@settings(deadline=None)
def test_each_command_is_sent_once_in_order_and_had_once(steps):
    client, unacknowledged = subscribed(receive_max=2), []
    commanded, arrived, had = [], [], []
    for number, step in enumerate(steps):
        actions = []
        if step == "command":
            name = f"{number}"
            actions = give(client, COMMAND._replace(payload=name.encode()), 0, 0, name)
            commanded.append(name)
        elif step == "message":
            actions = client.deliver(COMMAND._replace(payload=b""), 0, 0, Owed("eu", 1, "b", 0))
        elif unacknowledged:
            actions = client.handle(packets.Puback(unacknowledged.pop(0)))
        had += [action.execution for action in actions if isinstance(action, Has)]
        assert not any(isinstance(action, Close) for action in actions)
        for message in publishes(actions):
            unacknowledged.append(message.packet_id)
            arrived += [message.payload.decode()] if message.payload else []
    assert arrived == commanded[: len(arrived)]
    assert had == arrived[: len(had)]
    while unacknowledged:
        actions = client.handle(packets.Puback(unacknowledged.pop(0)))
        had += [action.execution for action in actions if isinstance(action, Has)]
        unacknowledged += [each.packet_id for each in publishes(actions)]
    assert had == commanded


@pytest.mark.parametrize(
    ("content_type", "last"),
    [
        ("application/json", "/json"),
        ("application/cbor", "/cbor"),
        ("text/plain", ""),
        ("application/json; charset=utf-8", ""),
    ],
)
def test_the_type_of_a_command_is_the_end_of_its_topic_if_it_is_one_of_two(content_type, last):
    topic = command_topics.request("client", "car-1", "e", content_type)
    assert topic == f"$aws/commands/clients/car-1/executions/e/request{last}"


def test_a_topic_says_which_device_answers_what():
    topic = "$aws/commands/things/car-1/executions/e/response/json"
    assert command_topics.responding(topic) == (Device("thing", "car-1"), "e")
    assert command_topics.responding(topic.replace("things", "cars"))[0].kind == ""
    expected = "$aws/commands/things/car-1/executions/e/response/accepted/json"
    assert command_topics.answer(topic, "accepted") == expected


def test_the_longest_of_these_topics_may_be_used_and_subscribed_to():
    name, execution = "n" * 128, "e" * 64
    topic = f"$aws/commands/clients/{name}/executions/{execution}/response/accepted/json"
    assert dialect.AWS.takes_topic(topic)
    assert dialect.AWS.is_for_subscribers(topic)
    assert dialect.AWS.is_reserved(TOPIC)
    assert not dialect.AWS.is_for_subscribers("$aws/#")
