"""What a session makes of requests on reserved topics, and of their answers."""

from __future__ import annotations

import pytest
from mqtt_sessions import Rights, sent, session

from isthmus.core.connecting import Refusal, check_connect
from isthmus.core.dialect import AWS, STANDARD
from isthmus.core.session import Ask, Close, Granted, Send, Store
from isthmus.wire import packets
from isthmus.wire.packets import Connect, Filter, Publish, Will
from isthmus.wire.topics import TOPIC_BYTES_MAX

TOPIC = "$aws/certificates/create/json"
ANSWER = f"{TOPIC}/accepted"
DIALECTS = pytest.mark.parametrize("dialect", [AWS, STANDARD], ids=["aws", "standard"])
LEVELS = pytest.mark.parametrize("level", [packets.LEVEL_3, packets.LEVEL_5])


@DIALECTS
@LEVELS
def test_a_request_is_asked_and_not_stored(dialect, level):
    each = session(dialect=dialect, level=level)
    # And it is one the second time too.
    for packet_id in (1, 2):
        publish = Publish(TOPIC, b"{}", 1, packet_id=packet_id)
        (action,) = each.handle(publish)
        assert action == Ask(publish, action.ticket)
    assert each.handle(Publish(TOPIC, b"")) == [Ask(Publish(TOPIC, b""), None)]
    assert each.owed == 2


def test_the_answer_to_a_request_keeps_the_order_of_pubacks():
    each = session()
    (ask,) = each.handle(Publish(TOPIC, b"", 1, packet_id=1))
    (store,) = each.handle(Publish("t", b"", 1, packet_id=2))
    store.ticket.kept = True
    assert each.answers() == b""
    ask.ticket.kept = True
    assert [packet.packet_id for packet in sent(each.answers())] == [1, 2]


@pytest.mark.parametrize("denied", ["iot:Publish topic/$aws/certificates", "iot:RetainPublish"])
def test_a_request_takes_the_right_to_publish(denied):
    *_, action = session(denied).handle(Publish(TOPIC, b"", retain=True))
    assert isinstance(action, Close)


def test_what_is_asked_under_new_rights_is_asked_of_them():
    each = session()
    each.handle(Publish(TOPIC, b""))
    each.permissions = Rights("iot:Publish")
    *_, action = each.handle(Publish(TOPIC, b""))
    assert isinstance(action, Close)


@DIALECTS
def test_other_reserved_topics_stay_reserved(dialect):
    for topic in (ANSWER, "$aws/certificates/create", "$aws/things/car-1/jobs/get"):
        *_, action = session(dialect=dialect).handle(Publish(topic, b""))
        assert isinstance(action, Close), topic


@DIALECTS
def test_a_will_is_no_request(dialect):
    connect = Connect("car-1", will=Will(TOPIC, b""))
    assert isinstance(check_connect(connect, "id", dialect), Refusal)


def subscribed(*filters: Filter, denied: str = "nothing"):
    each = session(denied)
    actions = each.handle(packets.Subscribe(1, filters))
    (said,) = sent(b"".join(action.data for action in actions if isinstance(action, Send)))
    return each, said.codes


@pytest.mark.parametrize(
    "topic_filter",
    [ANSWER, "$aws/certificates/#", "$aws/certificates/+/json/+"],
)
def test_an_answer_is_given_to_who_subscribes_to_it(topic_filter):
    each, codes = subscribed(Filter(topic_filter, 0))
    assert codes == (0,)
    (send,) = each.answer(ANSWER, b"yes")
    assert sent(send.data) == [Publish(ANSWER, b"yes")]


def test_an_answer_comes_once_at_the_highest_qos_that_was_asked_for():
    each, codes = subscribed(Filter("$aws/certificates/#", 1), Filter(ANSWER, 0))
    assert codes == (1, 0)
    (send,) = each.answer(ANSWER, b"yes")
    assert isinstance(send, Send)
    assert sent(send.data) == [Publish(ANSWER, b"yes", 1, packet_id=1)]


def test_an_answer_is_not_given_to_who_does_not_subscribe_or_may_not_receive():
    each, _ = subscribed(Filter(f"{TOPIC}/rejected", 1), Filter("#", 1))
    assert each.answer(ANSWER, b"yes") == []
    each, _ = subscribed(Filter(ANSWER, 1), denied="iot:Receive")
    assert each.subscriptions == {ANSWER: Granted(1)}
    assert each.answer(ANSWER, b"yes") == []


def test_an_answer_whose_topic_is_longer_than_topics_can_be_is_given_to_nobody():
    each, _ = subscribed(Filter("$aws/provisioning-templates/#", 1))
    topic = "$aws/provisioning-templates/{}/provision/json/accepted"
    longest = TOPIC_BYTES_MAX - len(topic) + 2
    assert each.answer(topic.format("n" * longest), b"") != []
    assert each.answer(topic.format("n" * (longest + 1)), b"") == []


def test_subscribing_to_answers_takes_the_right_to():
    each, codes = subscribed(Filter(ANSWER, 1), denied=f"iot:Subscribe topicfilter/{ANSWER}")
    assert codes == (0x80,)
    assert not each.subscriptions


def test_messages_are_stored_as_before():
    (action,) = session().handle(Publish("aws/certificates/create/json", b""))
    assert isinstance(action, Store)
