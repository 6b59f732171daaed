"""The state machine of one MQTT connection: order of answers, limits, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import session as sessions
from isthmus.core.session import (
    OUTGOING_IN_FLIGHT_MAX,
    OUTGOING_QUEUED_MAX,
    OUTGOING_QUEUED_MAX_BYTES,
    PAYLOAD_MAX_BYTES,
    RC_IDENTIFIER_REJECTED,
    RC_NOT_AUTHORIZED,
    SUBSCRIPTIONS_MAX,
    Close,
    Join,
    Leave,
    Refusal,
    Send,
    Session,
    Store,
    authorize_connect,
    check_connect,
    keep_alive_limit_s,
)
from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt3, packets
from isthmus.wire.packets import Filter


class Rights:
    """Allows everything that does not contain a word."""

    def __init__(self, *denied: str) -> None:
        self.denied = denied
        self.asked: list[tuple[str, str]] = []

    def allows(self, action: str, resource_suffix: str) -> tuple[bool, str]:
        self.asked.append((action, resource_suffix))
        denied = any(word in f"{action} {resource_suffix}" for word in self.denied)
        return not denied, f"{action} on {resource_suffix} is denied" if denied else ""


def session(*denied: str) -> Session:
    return Session("car-1", Rights(*denied), 45.0)


def sent(data: bytes) -> list[packets.Packet]:
    return list(mqtt3.Decoder(2**20).feed(data))


def published(each: Session, packet_id: int, qos: int = 1) -> sessions.Ticket:
    (action,) = each.handle(packets.Publish("t", b"x", qos, packet_id=packet_id))
    assert isinstance(action, Store)
    return action.ticket


# Publishing


@given(st.lists(st.integers(1, 65_535), max_size=20), st.randoms(use_true_random=False))
def test_pubacks_leave_in_the_order_of_the_publishes_whichever_promise_is_kept_first(ids, chance):
    each = session()
    tickets = [published(each, packet_id) for packet_id in ids]
    assert each.owed == len(ids)
    order = list(range(len(ids)))
    chance.shuffle(order)
    answered: list[int] = []
    for position, kept in enumerate(order):
        tickets[kept].kept = True
        answered += [packet.packet_id for packet in sent(each.answers())]
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
        (packets.Publish("t", b"", 0, retain=True), "retained"),
        (packets.Publish("t", b"x" * (PAYLOAD_MAX_BYTES + 1)), "above"),
        (packets.Publish("a/" * 8 + "b", b""), "too deep"),
        (packets.Publish("x" * 257, b""), "too long"),
        (packets.Publish("$aws/things/car-1/shadow/update", b""), "reserved"),
        (packets.Publish("secret", b"", 1, packet_id=1), "denied"),
    ],
)
def test_a_publish_that_is_refused_closes_the_connection_and_is_never_answered(publish, reason):
    each = session("secret")
    (action,) = each.handle(publish)
    assert isinstance(action, Close)
    assert reason in action.reason
    assert each.owed == 0


def test_the_largest_payload_is_stored():
    (action,) = session().handle(packets.Publish("t", b"x" * PAYLOAD_MAX_BYTES))
    assert isinstance(action, Store)


# Subscribing


def test_a_subscription_is_granted_at_most_qos_1_and_answered_last():
    each = session()
    actions = each.handle(packets.Subscribe(5, (Filter("a/#", 0), Filter("b", 1), Filter("c", 2))))
    assert actions[:-1] == [Join("a/#", 0), Join("b", 1), Join("c", 1)]
    assert sent(actions[-1].data) == [packets.Suback(5, (0, 1, 1))]


def test_a_filter_that_is_subscribed_again_replaces_the_old_subscription():
    each = session()
    each.handle(packets.Subscribe(1, (Filter("a", 0),)))
    *changes, _ = each.handle(packets.Subscribe(2, (Filter("a", 1),)))
    assert changes == [Leave("a", 0), Join("a", 1)]
    assert each.subscriptions == {"a": 1}


@pytest.mark.parametrize("topic_filter", ["secret/#", "$aws/#", "$SYS", "x" * 257, "a/" * 8 + "b"])
def test_a_denied_filter_is_a_failed_suback_and_joins_nothing(topic_filter):
    each = session("secret")
    (answer,) = each.handle(packets.Subscribe(1, (Filter(topic_filter, 1),)))
    assert sent(answer.data) == [packets.Suback(1, (packets.SUBSCRIPTION_REFUSED,))]
    assert each.subscriptions == {}


def test_one_subscribe_carries_eight_filters_and_one_client_fifty():
    each = session()
    *joins, answer = each.handle(packets.Subscribe(1, tuple(Filter(f"f{n}", 1) for n in range(10))))
    assert len(joins) == 8
    assert sent(answer.data)[0].codes == (1,) * 8 + (packets.SUBSCRIPTION_REFUSED,) * 2
    for number in range(100, 200):
        each.handle(packets.Subscribe(2, (Filter(f"f{number}", 1),)))
    assert len(each.subscriptions) == SUBSCRIPTIONS_MAX
    # One that is there already may be changed even so.
    *changes, _ = each.handle(packets.Subscribe(3, (Filter("f0", 0),)))
    assert changes == [Leave("f0", 1), Join("f0", 0)]


def test_unsubscribing_leaves_what_was_joined_and_answers_in_any_case():
    each = session()
    each.handle(packets.Subscribe(1, (Filter("a", 1),)))
    *gone, answer = each.handle(packets.Unsubscribe(2, ("a", "never")))
    assert gone == [Leave("a", 1)]
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
                actions = each.deliver("t", b"%d" % handed_over, 1)
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
        assert not any(isinstance(action, Close) for action in each.deliver("t", b"", 1))
    (action,) = each.deliver("t", b"", 1)
    assert isinstance(action, Close)


def test_a_client_for_which_too_many_bytes_wait_is_closed():
    each = session()
    for _ in range(OUTGOING_IN_FLIGHT_MAX):
        each.deliver("t", b"", 1)
    large = bytes(OUTGOING_QUEUED_MAX_BYTES // 2)
    assert each.deliver("t", large, 1) == each.deliver("t", large, 1) == []
    each.handle(packets.Puback(1))
    assert each.deliver("t", large, 1) == []
    (action,) = each.deliver("t", b"x", 1)
    assert isinstance(action, Close)


def test_packet_ids_wrap_and_pass_over_those_in_flight():
    each = session()
    (first,) = each.deliver("t", b"", 1)
    assert sent(first.data)[0].packet_id == 1
    for _ in range(0xFFFF - 1):
        (action,) = each.deliver("t", b"", 1)
        (packet,) = sent(action.data)
        each.handle(packets.Puback(packet.packet_id))
    (action,) = each.deliver("t", b"", 1)
    assert sent(action.data)[0].packet_id == 2


def test_an_acknowledgement_of_nothing_lets_nothing_out():
    each = session()
    for _ in range(OUTGOING_IN_FLIGHT_MAX + 1):
        each.deliver("t", b"", 1)
    assert each.handle(packets.Puback(60_000)) == []
    assert len(each.handle(packets.Puback(1))) == 1
    assert each.handle(packets.Puback(1)) == []


def test_what_the_policy_does_not_let_a_client_receive_is_passed_over():
    assert session("iot:Receive topic/secret").deliver("secret", b"", 1) == []


def test_qos_0_delivery_waits_for_nobody():
    each = session()
    for _ in range(2 * OUTGOING_IN_FLIGHT_MAX):
        (action,) = each.deliver("t", b"x", 0)
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


@pytest.mark.parametrize("client_id", ["", "x" * 129, "é" * 65, "$car"])
def test_a_client_id_that_is_not_ours_to_serve_is_refused(client_id):
    found = check_connect(packets.Connect(client_id))
    assert isinstance(found, Refusal)
    assert found.return_code == RC_IDENTIFIER_REJECTED


def test_a_persistent_session_is_refused_and_not_accepted_as_if():
    found = check_connect(packets.Connect("car-1", clean_session=False))
    assert isinstance(found, Refusal)
    assert "persistent" in found.reason


@pytest.mark.parametrize(
    "will",
    [
        packets.Will("t", b"", retain=True),
        packets.Will("t", b"", qos=2),
        packets.Will("$aws/events/presence/disconnected/car-2", b""),
        packets.Will("x" * 257, b""),
        packets.Will("a/" * 8 + "b", b""),
    ],
)
def test_a_will_that_could_not_be_published_is_refused(will):
    found = check_connect(packets.Connect("car-1", will=will))
    assert isinstance(found, Refusal)
    assert found.return_code == RC_NOT_AUTHORIZED


def test_the_first_packet_is_a_connect():
    with pytest.raises(MalformedPacket, match="Pingreq"):
        check_connect(packets.Pingreq())
    connect = packets.Connect("car-1", will=packets.Will("t", b"", qos=1))
    assert check_connect(connect) is connect


@pytest.mark.parametrize(
    ("denied", "will", "refused"),
    [
        ("", None, False),
        ("iot:Connect client/car-1", None, True),
        ("iot:Publish topic/t", None, False),
        ("iot:Publish topic/t", packets.Will("t", b""), True),
    ],
)
def test_a_principal_may_connect_as_this_client_and_with_this_will(denied, will, refused):
    rights = Rights(denied) if denied else Rights()
    found = authorize_connect(packets.Connect("car-1", will=will), rights)
    assert (found is not None) == refused
    assert found is None or "denied" in found.reason


@pytest.mark.parametrize(
    ("asked_s", "limit_s"), [(0, 1800), (1, 45), (30, 45), (60, 90), (1200, 1800), (65_535, 1800)]
)
def test_keep_alive_is_bounded_as_on_aws(asked_s, limit_s):
    assert keep_alive_limit_s(asked_s) == limit_s


TOPICS = st.sampled_from(["t", "a/b", "$aws/x", "secret", "x" * 300, "é/é"])
IDS = st.integers(1, 5)
PACKETS = st.one_of(
    st.builds(packets.Publish, TOPICS, st.binary(max_size=3), st.integers(0, 2), packet_id=IDS),
    st.builds(packets.Puback, IDS),
    st.builds(
        packets.Subscribe,
        IDS,
        st.lists(
            st.tuples(st.sampled_from(["#", "a/+", "$share/g/t", "secret"]), st.integers(0, 2)),
            min_size=1,
            max_size=10,
        ).map(tuple),
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
    st.just(packets.Disconnect()),
)


@given(st.lists(PACKETS, max_size=30), st.randoms(use_true_random=False))
def test_no_packet_raises_and_joins_and_leaves_are_paired(each_packet, chance):
    each = session("secret")
    joined: set[tuple[str, int]] = set()
    owed = []
    for packet in each_packet:
        for action in each.handle(packet):
            match action:
                case Join():
                    assert action not in joined
                    joined.add((action.topic_filter, action.qos))
                case Leave():
                    joined.remove((action.topic_filter, action.qos))
                case Store(_, ticket) if ticket:
                    owed.append(ticket)
                case Send(data):
                    assert sent(data)
        assert joined == set(each.subscriptions.items())
        if owed and chance.random() < 0.5:
            chance.choice(owed).kept = True
            each.answers()
        each.deliver("t", b"x", chance.randrange(2))
