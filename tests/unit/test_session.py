"""The state machine of one MQTT connection: order of answers, limits, refusals.

Here stands what holds for both versions, said in 3.1.1; what MQTT 5 adds is in test_session5.py.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt_sessions import Rights, sent, session

from isthmus.core import session as sessions
from isthmus.core.dialect import AWS
from isthmus.core.session import (
    OUTGOING_IN_FLIGHT_MAX,
    OUTGOING_QUEUED_MAX,
    OUTGOING_QUEUED_MAX_BYTES,
    PAYLOAD_MAX_BYTES,
    Close,
    Granted,
    Join,
    Leave,
    Recall,
    Send,
    Session,
    Store,
)
from isthmus.wire import packets
from isthmus.wire.packets import Filter
from isthmus.wire.properties import DisconnectProperties, PublishProperties, SubscribeProperties

LEVELS = st.sampled_from([packets.LEVEL_3, packets.LEVEL_5])


def published(each: Session, packet_id: int, qos: int = 1) -> sessions.Ticket:
    (action,) = each.handle(packets.Publish("t", b"x", qos, packet_id=packet_id))
    assert isinstance(action, Store)
    return action.ticket


# Publishing


@given(st.lists(st.integers(1, 65_535), max_size=20), st.randoms(use_true_random=False), LEVELS)
def test_pubacks_leave_in_the_order_of_the_publishes_whichever_promise_is_kept_first(
    ids, chance, level
):
    each = session(level=level)
    tickets = [published(each, packet_id) for packet_id in ids]
    assert each.owed == len(ids)
    order = list(range(len(ids)))
    chance.shuffle(order)
    answered: list[int] = []
    for position, kept in enumerate(order):
        tickets[kept].kept = True
        answered += [packet.packet_id for packet in sent(each.answers(), level)]
        # What is answered is exactly the longest beginning whose promises are kept.
        done = set(order[: position + 1])
        beginning = next((n for n in range(len(ids)) if n not in done), len(ids))
        assert answered == ids[:beginning]
        assert each.owed == len(ids) - beginning
    assert answered == ids


def test_nothing_is_answered_before_its_promise_is_kept():
    each = session()
    published(each, 7)
    assert each.answers() == b""


def test_qos_0_is_stored_and_nobody_waits():
    each = session()
    assert published(each, 0, qos=0) is None
    assert each.owed == 0


def test_a_packet_id_that_is_used_again_is_answered_again():
    each = session()
    first, second = published(each, 7), published(each, 7)
    first.kept = second.kept = True
    assert sent(each.answers()) == [packets.Puback(7), packets.Puback(7)]


@pytest.mark.parametrize(
    ("publish", "reason"),
    [
        (packets.Publish("t", b"", 2, packet_id=1), "QoS 2"),
        (packets.Publish("kept", b"", 0, retain=True), "RetainPublish"),
        (packets.Publish("t", b"x" * (PAYLOAD_MAX_BYTES + 1)), "above"),
        (packets.Publish("a/" * 8 + "b", b""), "too deep"),
        (packets.Publish("x" * 257, b""), "too long"),
        (packets.Publish("$aws/things/car-1/jobs/get", b""), "reserved"),
        (packets.Publish("secret", b"", 1, packet_id=1), "denied"),
    ],
)
def test_a_publish_that_is_refused_closes_the_connection_and_is_never_answered(publish, reason):
    each = session("secret", "iot:RetainPublish")
    (action,) = each.handle(publish)
    assert isinstance(action, Close)
    assert reason in action.reason
    assert each.owed == 0


def test_a_topic_is_asked_for_once_and_again_when_the_rights_change():
    each = session()
    for _ in range(3):
        published(each, 1)
    assert each.permissions.asked == [("iot:Publish", "topic/t")]
    each.permissions = Rights("topic/t")
    (action,) = each.handle(packets.Publish("t", b""))
    assert isinstance(action, Close)


def test_a_right_to_publish_is_none_to_retain():
    each = session("iot:RetainPublish")
    published(each, 1)
    (action,) = each.handle(packets.Publish("t", b"", retain=True))
    assert isinstance(action, Close)


def test_no_more_topics_are_remembered_than_there_is_room_for():
    each = session()
    for number in range(10 * sessions.TOPICS_REMEMBERED_MAX):
        each.handle(packets.Publish(str(number), b""))
    assert len(each.published_to) == sessions.TOPICS_REMEMBERED_MAX


def test_the_largest_payload_is_stored():
    (action,) = session().handle(packets.Publish("t", b"x" * PAYLOAD_MAX_BYTES))
    assert isinstance(action, Store)


# Subscribing


def test_a_subscription_is_granted_at_most_qos_1_and_answered_last():
    each = session()
    actions = each.handle(packets.Subscribe(5, (Filter("a/#", 0), Filter("b", 1), Filter("c", 2))))
    granted = [Join("a/#", Granted(0)), Join("b", Granted(1)), Join("c", Granted(1))]
    assert actions[:3] == granted
    assert sent(actions[3].data) == [packets.Suback(5, (0, 1, 1))]
    # What is retained comes after the answer, so that a client knows what it is an answer to.
    assert actions[4:] == [Recall(each.topic_filter, each.granted) for each in granted]


def test_a_filter_that_is_subscribed_again_replaces_the_old_subscription():
    each = session()
    each.handle(packets.Subscribe(1, (Filter("a", 0),)))
    *changes, _, recall = each.handle(packets.Subscribe(2, (Filter("a", 1),)))
    assert changes == [Leave("a", Granted(0)), Join("a", Granted(1))]
    assert recall == Recall("a", Granted(1))
    assert each.subscriptions == {"a": Granted(1)}


@pytest.mark.parametrize("topic_filter", ["secret/#", "$aws/#", "$SYS", "x" * 257, "a/" * 8 + "b"])
def test_a_denied_filter_is_a_failed_suback_and_joins_nothing(topic_filter):
    each = session("secret")
    (answer,) = each.handle(packets.Subscribe(1, (Filter(topic_filter, 1),)))
    assert sent(answer.data) == [packets.Suback(1, (packets.SUBSCRIPTION_REFUSED,))]
    assert each.subscriptions == {}


def test_one_subscribe_carries_eight_filters_and_one_client_fifty():
    each = session()
    actions = each.handle(packets.Subscribe(1, tuple(Filter(f"f{n}", 1) for n in range(10))))
    answer = actions[8]
    assert [type(each) for each in actions] == [*[Join] * 8, Send, *[Recall] * 8]
    assert sent(answer.data)[0].codes == (1,) * 8 + (packets.SUBSCRIPTION_REFUSED,) * 2
    for number in range(100, 200):
        each.handle(packets.Subscribe(2, (Filter(f"f{number}", 1),)))
    assert len(each.subscriptions) == AWS.subscriptions_max
    # One that is there already may be changed even so.
    *changes, _, _ = each.handle(packets.Subscribe(3, (Filter("f0", 0),)))
    assert changes == [Leave("f0", Granted(1)), Join("f0", Granted(0))]


@pytest.mark.parametrize(("handling", "recalled"), [(0, [1, 1]), (1, [1, 0]), (2, [0, 0])])
def test_retained_messages_are_recalled_as_the_client_asked(handling, recalled):
    each = session(level=packets.LEVEL_5)
    wanted = packets.Subscribe(1, (Filter("a", 1, retain_handling=handling),))
    found = [each.handle(wanted), each.handle(wanted)]
    assert [sum(isinstance(one, Recall) for one in actions) for actions in found] == recalled


def test_nothing_is_recalled_for_a_filter_that_is_refused():
    (answer,) = session("secret").handle(packets.Subscribe(1, (Filter("secret", 1),)))
    assert isinstance(answer, Send)


def test_a_delivery_says_whether_its_message_was_retained():
    each = session()
    for retain in (False, True):
        (send,) = each.deliver(packets.Publish("a", b"x", 1, retain))
        (found,) = sent(send.data)
        assert found.retain is retain


def test_unsubscribing_leaves_what_was_joined_and_answers_in_any_case():
    each = session()
    each.handle(packets.Subscribe(1, (Filter("a", 1),)))
    *gone, answer = each.handle(packets.Unsubscribe(2, ("a", "never")))
    assert gone == [Leave("a", Granted(1))]
    assert sent(answer.data) == [packets.Unsuback(2)]


# Delivery


@given(st.lists(st.one_of(st.just("deliver"), st.integers(1, 5)), max_size=60), st.integers(1, 4))
def test_qos_1_delivery_keeps_its_order_and_its_window(steps, window):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "OUTGOING_IN_FLIGHT_MAX", window)
        each = session()
        arrived: list[packets.Publish] = []
        unacknowledged: list[int] = []
        handed_over = 0
        for step in steps:
            if step == "deliver":
                actions = each.deliver(packets.Publish("t", b"%d" % handed_over, 1))
                handed_over += 1
            elif unacknowledged:
                packet_id = unacknowledged.pop(step % len(unacknowledged))
                actions = each.handle(packets.Puback(packet_id))
            else:
                actions = []
            for action in actions:
                (packet,) = sent(action.data)
                assert packet.packet_id not in unacknowledged
                unacknowledged.append(packet.packet_id)
                arrived.append(packet)
            assert len(unacknowledged) <= window
            assert [int(packet.payload) for packet in arrived] == list(range(len(arrived)))
            assert len(arrived) == handed_over or len(unacknowledged) == window


def test_a_client_that_acknowledges_too_slowly_is_closed():
    each = session()
    for _ in range(OUTGOING_IN_FLIGHT_MAX + OUTGOING_QUEUED_MAX):
        assert not any(
            isinstance(action, Close) for action in each.deliver(packets.Publish("t", b"", 1))
        )
    (action,) = each.deliver(packets.Publish("t", b"", 1))
    assert isinstance(action, Close)


def test_a_client_for_which_too_many_bytes_wait_is_closed():
    each = session()
    for _ in range(OUTGOING_IN_FLIGHT_MAX):
        each.deliver(packets.Publish("t", b"", 1))
    large = bytes(OUTGOING_QUEUED_MAX_BYTES // 2)
    assert (
        each.deliver(packets.Publish("t", large, 1))
        == each.deliver(packets.Publish("t", large, 1))
        == []
    )
    each.handle(packets.Puback(1))
    assert each.deliver(packets.Publish("t", large, 1)) == []
    (action,) = each.deliver(packets.Publish("t", b"x", 1))
    assert isinstance(action, Close)


def test_packet_ids_wrap_and_pass_over_those_in_flight():
    each = session()
    (first,) = each.deliver(packets.Publish("t", b"", 1))
    assert sent(first.data)[0].packet_id == 1
    for _ in range(0xFFFF - 1):
        (action,) = each.deliver(packets.Publish("t", b"", 1))
        (packet,) = sent(action.data)
        each.handle(packets.Puback(packet.packet_id))
    (action,) = each.deliver(packets.Publish("t", b"", 1))
    assert sent(action.data)[0].packet_id == 2


def test_an_acknowledgement_of_nothing_lets_nothing_out():
    each = session()
    for _ in range(OUTGOING_IN_FLIGHT_MAX + 1):
        each.deliver(packets.Publish("t", b"", 1))
    assert each.handle(packets.Puback(60_000)) == []
    assert len(each.handle(packets.Puback(1))) == 1
    assert each.handle(packets.Puback(1)) == []


def test_what_the_policy_does_not_let_a_client_receive_is_passed_over():
    assert session("iot:Receive topic/secret").deliver(packets.Publish("secret", b"", 1)) == []


def test_qos_0_delivery_waits_for_nobody():
    each = session()
    for _ in range(2 * OUTGOING_IN_FLIGHT_MAX):
        (action,) = each.deliver(packets.Publish("t", b"x", 0))
        assert isinstance(action, Send)


# Coming and going


def test_a_ping_is_answered():
    (action,) = session().handle(packets.Pingreq())
    assert sent(action.data) == [packets.Pingresp()]


def test_who_leaves_in_good_order_leaves_no_will():
    each = Session("car-1", Rights(), 45.0, will=packets.Will("t", b"gone"))
    (action,) = each.handle(packets.Disconnect())
    assert isinstance(action, Close)
    assert each.will is None


TOPICS = st.sampled_from(["t", "a/b", "$aws/x", "secret", "x" * 300, "é/é"])
IDS = st.integers(1, 5)
PROPERTIES = st.none() | st.builds(
    PublishProperties,
    message_expiry_s=st.none() | st.integers(0, 2**32 - 1),
    correlation_data=st.none() | st.binary(max_size=3) | st.just(bytes(10_000)),
    user_properties=st.sampled_from([(), (("isthmus-id", "1"),), (("isthmus-id", "x" * 200),)]),
    subscription_ids=st.sampled_from([(), (), (), (1,)]),
)
PACKETS = st.one_of(
    st.builds(
        packets.Publish,
        TOPICS,
        st.binary(max_size=3),
        st.sampled_from([0, 1, 1, 1, 2]),
        packet_id=IDS,
        properties=PROPERTIES,
    ),
    st.builds(packets.Puback, IDS),
    st.builds(
        packets.Subscribe,
        IDS,
        st.lists(
            st.builds(
                Filter,
                st.sampled_from(["#", "a/+", "$share/g/t", "secret"]),
                st.integers(0, 2),
                st.booleans(),
            ),
            min_size=1,
            max_size=10,
        ).map(tuple),
        st.sampled_from([None, None, None, SubscribeProperties(7)]),
    ),
    st.builds(packets.Unsubscribe, IDS, st.lists(TOPICS, min_size=1).map(tuple)),
    st.builds(packets.Connect, st.text(max_size=3)),
    st.builds(packets.Connack, st.booleans(), st.integers(0, 5)),
    st.builds(packets.Pubrec, IDS),
    st.builds(packets.Pubrel, IDS),
    st.builds(packets.Pubcomp, IDS),
    st.builds(packets.Suback, IDS, st.just((0,))),
    st.builds(packets.Unsuback, IDS),
    st.just(packets.Pingreq()),
    st.just(packets.Pingresp()),
    st.builds(packets.Disconnect, st.sampled_from([0x00, 0x04, 0x80])),
    st.just(packets.Disconnect(0, DisconnectProperties(5))),
    st.just(packets.Auth()),
)


@given(st.lists(PACKETS, max_size=30), st.randoms(use_true_random=False), LEVELS)
def test_no_packet_raises_joins_and_leaves_are_paired_and_answers_keep_their_order(
    each_packet, chance, level
):
    each = session("secret", level=level, receive_max=3, max_packet_bytes=40)
    joined: set[tuple[str, Granted]] = set()
    owed, answered = [], []
    for packet in each_packet:
        for action in each.handle(packet):
            match action:
                case Join():
                    assert action not in joined
                    joined.add((action.topic_filter, action.granted))
                case Leave():
                    joined.remove((action.topic_filter, action.granted))
                case Store(_, ticket) if ticket:
                    owed.append(ticket)
                case Send(data):
                    assert sent(data, level)
        assert joined == set(each.subscriptions.items())
        if owed and chance.random() < 0.5:
            chance.choice(owed).kept = True
            answered += [packet.packet_id for packet in sent(each.answers(), level)]
            assert answered == [ticket.packet_id for ticket in owed[: len(answered)]]
        properties = PublishProperties(message_expiry_s=chance.randrange(1, 3))
        copy = packets.Publish("t", b"x", chance.randrange(2), properties=properties)
        for action in each.deliver(copy, 0, chance.randrange(3_000)):
            assert isinstance(action, Close) or len(action.data) <= 40
