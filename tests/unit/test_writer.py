"""Nothing is answered past a gap or before its promise is kept, and nobody is forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core.batch import Batch, Source, encode
from isthmus.core.confirm import AloneRange, Durability, Load
from isthmus.core.writer import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, Writer
from isthmus.wire.properties import PublishProperties

ONE = Source("c1", "vehicle-1", "p1")
OTHER = Source("c2", "vehicle-2", "p2")


def writer(durability: Durability = Durability.TWO_REGIONS) -> Writer[str]:
    return Writer("eu", "w", durability)


def add(
    each: Writer[str], token: str | None = "t", *, source: Source = ONE, payload: bytes = b"x"
) -> bool:
    return each.add(source, "a/b", payload, qos=1, dup=False, at_ms=7, token=token)


def send(each: Writer[str], *tokens: str, now_s: float = 0.0) -> Batch:
    for token in tokens:
        add(each, token)
    batch = each.flush(now_s)
    assert batch is not None
    return batch


def sent(each: Writer[str], *batches: str) -> Writer[str]:
    """Send one batch of one token each, and have this region store them all."""
    for token in batches:
        assert each.stored(send(each, token).number)
    return each


def go_alone(each: Writer[str]) -> None:
    assert each.set_alone(True)
    each.recorded()


# Batches


def test_batches_are_numbered_from_1_without_gaps():
    each = writer()
    assert [send(each, "a").number, send(each, "b").number] == [1, 2]
    assert each.flush(0.0) is None
    assert send(each, "c").number == 3


def test_a_batch_says_who_sent_what():
    each = writer()
    each.add(ONE, "a/b", b"1", qos=1, dup=True, at_ms=5, token="a", identity="m1")
    each.add(OTHER, "a/c", b"2", qos=0, dup=False, at_ms=6, token=None)
    batch = each.flush(0.0)
    assert (batch.origin, batch.writer, batch.sources) == ("eu", "w", (ONE, OTHER))
    first, second = batch.messages
    assert (first.source, first.topic, first.payload, first.qos) == (0, "a/b", b"1", 1)
    assert (first.dup, first.at_ms, first.id) == (True, 5, "m1")
    assert (second.source, second.topic, second.payload, second.qos) == (1, "a/c", b"2", 0)
    assert (second.dup, second.at_ms, second.id) == (False, 6, "")


def test_messages_of_one_connection_share_its_source():
    each = writer()
    for source in (ONE, OTHER, ONE, OTHER, OTHER):
        add(each, source=source)
    batch = each.flush(0.0)
    assert batch.sources == (ONE, OTHER)
    assert [message.source for message in batch.messages] == [0, 1, 0, 1, 1]


def test_sources_begin_anew_in_every_batch():
    each = writer()
    add(each, source=ONE)
    each.flush(0.0)
    add(each, source=OTHER)
    batch = each.flush(0.0)
    assert batch.sources == (OTHER,)
    assert [message.source for message in batch.messages] == [0]


def test_a_batch_is_full_by_its_count():
    each = writer()
    for _ in range(2):
        full = [add(each, payload=b"") for _ in range(BATCH_MESSAGES_MAX)]
        assert full.index(True) == BATCH_MESSAGES_MAX - 1
        assert len(each.flush(0.0).messages) == BATCH_MESSAGES_MAX


def test_a_batch_is_full_by_its_bytes():
    each = writer()
    for _ in range(2):
        assert not add(each, payload=bytes(BATCH_BYTES_MAX - 1))
        assert add(each)
        assert len(each.flush(0.0).messages) == 2


def test_an_item_goes_with_the_messages_and_is_answered_with_them():
    each = writer(Durability.REGION)
    each.carry(b"item", "session")
    add(each, "message")
    batch = each.flush(0.0)
    assert (batch.items, len(batch.messages)) == ((b"item",), 1)
    assert each.release() == []
    each.stored(1)
    assert each.release() == ["session", "message"]
    add(each, "later")
    assert each.flush(0.0).items == ()


def test_items_alone_are_a_batch_too():
    each = writer()
    each.carry(b"item", None)
    assert each.flush(0.0).items == (b"item",)
    assert each.flush(0.0) is None


def test_a_batch_is_full_by_its_items():
    each = writer()
    assert not any(each.carry(b"", None) for _ in range(BATCH_MESSAGES_MAX - 1))
    assert each.carry(b"", None)
    each = writer()
    assert each.carry(bytes(BATCH_BYTES_MAX), None)


def test_a_batch_is_full_by_its_messages_properties():
    """Or batches of tiny payloads would grow past what the stream takes in one message."""
    each = writer()
    pairs = (("k" * 4_000, "v" * 4_000), *((("", ""),) * 100))
    heavy = PublishProperties(correlation_data=bytes(8_000), user_properties=pairs)

    def add_heavy() -> bool:
        said = {"qos": 1, "dup": False, "at_ms": 7, "token": None, "properties": heavy}
        return each.add(ONE, "a/b", b"", **said)

    added = 1
    while not add_heavy():
        added += 1
    batch = each.flush(0.0)
    assert len(batch.messages) == added == BATCH_BYTES_MAX // 16_500 + 1
    assert len(encode(batch)) < 2 * BATCH_BYTES_MAX
    assert batch.messages[-1].properties == heavy


# Promises


def test_two_regions_means_stored_here_and_confirmed_there():
    each = writer()
    send(each, "a", "b")
    send(each, "c")
    assert each.release() == []
    assert each.stored(1)
    assert each.stored(2)
    assert each.release() == []
    assert each.confirmed(1)
    assert each.release() == ["a", "b"]
    assert each.confirmed(2)
    assert each.release() == ["c"]
    assert each.release() == []


def test_what_a_peer_has_before_we_heard_of_our_own_stream_waits_for_it():
    each = writer()
    send(each, "a")
    assert each.confirmed(1)
    assert each.release() == []
    assert each.stored(1)
    assert each.release() == ["a"]


def test_one_region_is_enough_where_that_was_promised():
    each = writer(Durability.REGION)
    send(each, "a")
    assert each.release() == []
    assert each.stored(1)
    assert each.release() == ["a"]
    assert each.newly_alone() == 0
    assert each.ranges() == []


def test_where_one_region_is_enough_nothing_is_ever_recorded():
    each = writer(Durability.REGION)
    assert not each.set_alone(True)
    assert not each.set_alone(False)
    each.recorded()
    assert each.ranges() == []


def test_a_publish_that_nobody_waits_for_is_stored_and_answers_nobody():
    each = writer()
    add(each, None)
    add(each, "a")
    assert len(each.flush(0.0).messages) == 2
    assert each.stored(1)
    assert each.confirmed(1)
    assert each.release() == ["a"]


def test_a_confirmation_is_news_once():
    each = writer()
    assert not each.confirmed(0)
    assert each.confirmed(2)
    assert not each.confirmed(2)
    assert not each.confirmed(1)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_what_was_stored_out_of_order_is_refused_and_moves_nothing(number):
    each = sent(writer(), "a")
    send(each, "b")
    send(each, "c")
    assert not each.stored(number)
    each.confirmed(3)
    assert each.release() == ["a"]
    assert each.stored(2)
    assert each.release() == ["b"]


def test_a_promise_is_overdue_when_its_oldest_batch_is():
    each = writer()
    assert not each.overdue(100.0, 10.0)
    add(each, "a")
    each.flush(1.0)
    add(each, "b")
    each.flush(9.0)
    assert not each.overdue(11.0, 10.0)
    assert each.overdue(11.1, 10.0)
    each.stored(1)
    each.confirmed(1)
    each.release()
    assert not each.overdue(11.1, 10.0)


def test_whoever_waits_when_a_writer_is_given_up_is_named_once_and_never_answered():
    each = sent(writer(), "a", "b")
    send(each, "c", "d")
    add(each, "e")
    each.confirmed(1)
    assert each.release() == ["a"]
    assert each.abandon() == ["b", "c", "d", "e"]
    assert each.abandon() == []
    each.stored(3)
    each.confirmed(3)
    assert each.release() == []
    assert not each.overdue(1000.0, 10.0)


# Alone


def test_nothing_is_answered_alone_before_that_is_recorded():
    each = sent(writer(), "a")
    assert each.set_alone(True)
    assert each.release() == []
    each.recorded()
    assert each.release() == ["a"]


def test_what_is_not_stored_here_is_not_answered_alone_either():
    each = writer()
    go_alone(each)
    send(each, "a")
    assert each.release() == []


def test_nothing_is_answered_alone_after_leaving_recorded_or_not():
    each = writer()
    go_alone(each)
    assert each.set_alone(False)
    sent(each, "a")
    assert each.release() == []
    each.recorded()
    assert each.release() == []


def test_a_second_time_alone_is_recorded_like_the_first():
    each = writer()
    go_alone(each)
    assert each.set_alone(False)
    assert each.set_alone(True)
    sent(each, "a")
    assert each.release() == []
    each.recorded()
    assert each.release() == ["a"]


def test_a_state_that_is_known_is_not_recorded_again():
    each = writer()
    assert not each.set_alone(False)
    go_alone(each)
    assert not each.set_alone(True)
    sent(each, "a")
    assert each.release() == ["a"]


def test_a_range_is_open_while_alone_and_closed_after_leaving():
    each = sent(writer(), "a", "b", "c")
    each.confirmed(1)
    assert each.release() == ["a"]
    assert each.ranges() == []
    each.set_alone(True)
    assert each.ranges() == [AloneRange(2, 0, 0)]
    each.recorded()
    assert each.release() == ["b", "c"]
    each.set_alone(False)
    assert each.ranges() == [AloneRange(2, 3, 2)]
    each.confirmed(3)
    each.set_alone(True)
    assert each.ranges() == [AloneRange(2, 3, 2), AloneRange(4, 0, 0)]


def test_ranges_that_are_being_written_down_do_not_change_meanwhile():
    each = sent(writer(), "a")
    go_alone(each)
    each.release()
    before = each.ranges()
    sent(each, "b")
    each.release()
    assert before == [AloneRange(1, 1, 1), AloneRange(1, 0, 0)]


def test_a_publish_that_nobody_waits_for_is_not_counted_as_answered_alone():
    each = writer()
    go_alone(each)
    add(each, None)
    add(each, "a")
    each.flush(0.0)
    each.stored(1)
    assert each.release() == ["a"]
    assert each.newly_alone() == 1
    each.set_alone(False)
    assert each.ranges() == [AloneRange(1, 1, 1)]


def test_messages_answered_alone_are_counted_once():
    each = writer()
    go_alone(each)
    assert each.stored(send(each, "a", "b").number)
    assert each.newly_alone() == 0
    each.release()
    assert each.newly_alone() == 2
    assert each.newly_alone() == 0
    sent(each, "c")
    each.release()
    assert each.newly_alone() == 1
    sent(each, "d")
    each.confirmed(4)
    each.release()
    assert each.newly_alone() == 0


STEP = st.one_of(
    st.tuples(st.just("add"), st.booleans()),
    st.tuples(st.just("flush"), st.none()),
    st.tuples(st.just("stored"), st.none()),
    st.tuples(st.just("stored-late"), st.integers(-1, 3)),
    st.tuples(st.just("confirmed"), st.integers(0, 8)),
    st.tuples(st.just("alone"), st.booleans()),
    st.tuples(st.just("recorded"), st.none()),
    st.tuples(st.just("release"), st.none()),
)
#: What mostly comes together, so that histories get far; and anything, so that they go wrong.
STEPS = st.lists(
    st.one_of(
        STEP.map(lambda step: [step]),
        st.booleans().map(lambda alone: [("alone", alone)]),
        st.booleans().map(lambda waits: [("add", waits), ("flush", None), ("stored", None)]),
        st.booleans().map(lambda alone: [("alone", alone), ("recorded", None)]),
    ),
    max_size=50,
).map(lambda groups: [step for group in groups for step in group])


@dataclass
class Naive:
    """Remembers the tokens of every batch, and what became true of them."""

    durability: Durability
    gathered: list[int] = field(default_factory=list)
    is_batch_open: bool = False
    sent: list[list[int]] = field(default_factory=list)
    stored: int = 0
    confirmed: int = 0
    alone: bool = False
    may_alone: bool = False
    #: Batches that were answered, and of those the ones that no peer had.
    answered: int = 0
    unconfirmed: list[int] = field(default_factory=list)
    disk: list[AloneRange] = field(default_factory=list)
    count: int = 0

    def expected(self) -> list[int]:
        is_local = self.may_alone or self.durability is Durability.REGION
        limit = self.stored if is_local else min(self.stored, self.confirmed)
        if limit <= self.answered:
            return []
        numbers = range(self.answered + 1, limit + 1)
        if self.durability is Durability.TWO_REGIONS:
            self.unconfirmed += [number for number in numbers if number > self.confirmed]
        self.answered = limit
        return [token for number in numbers for token in self.sent[number - 1]]


def step(each: Writer[int], naive: Naive, what: str, value) -> list[int]:
    match what:
        case "add":
            naive.is_batch_open = True
            naive.count += value
            naive.gathered += [naive.count] if value else []
            token = naive.count if value else None
            each.add(ONE, "a", b"", qos=1, dup=False, at_ms=0, token=token)
        case "flush":
            batch = each.flush(0.0)
            assert (batch is not None) == naive.is_batch_open
            if batch is not None:
                naive.sent.append(naive.gathered)
                naive.gathered, naive.is_batch_open = [], False
                assert batch.number == len(naive.sent)
        case "stored":
            if naive.stored < len(naive.sent):
                naive.stored += 1
                assert each.stored(naive.stored)
        case "stored-late":
            if value != 1:
                assert not each.stored(naive.stored + value)
        case "confirmed":
            number = min(value, len(naive.sent))
            assert each.confirmed(number) == (number > naive.confirmed)
            naive.confirmed = max(number, naive.confirmed)
        case "alone":
            is_news = value != naive.alone and naive.durability is Durability.TWO_REGIONS
            assert each.set_alone(value) == is_news
            if is_news:
                naive.alone, naive.may_alone = value, False
        case "recorded":
            naive.disk = each.ranges()
            each.recorded()
            naive.may_alone = naive.alone
        case _:
            released = each.release()
            assert released == naive.expected()
            return released
    return []


def covers(ranges: list[AloneRange], number: int) -> bool:
    return any(each.first <= number and (not each.last or number <= each.last) for each in ranges)


@settings(max_examples=400)
@given(st.sampled_from(Durability), STEPS)
def test_in_any_history_a_promise_is_answered_in_order_once_and_only_when_it_is_kept(
    durability, steps
):
    each: Writer[int] = Writer("eu", "w", durability)
    naive = Naive(durability)
    released: list[int] = []
    counted = 0
    for what, value in [*steps, ("release", None)]:
        released += step(each, naive, what, value)
        counted += each.newly_alone()
        assert released == list(range(1, len(released) + 1))
        # What is answered alone is in a range that was on disk before.
        assert all(covers(naive.disk, number) for number in naive.unconfirmed)
        assert counted == sum(len(naive.sent[number - 1]) for number in naive.unconfirmed)
    assert each.abandon() == list(range(len(released) + 1, naive.count + 1))


# What it weighs


def test_everything_weighs_until_its_promise_is_kept_whether_it_is_answered_or_not():
    each = writer()
    assert each.load() == Load(0, 0)
    add(each, None, payload=b"12345")
    each.carry(b"item", None)
    assert each.load() == Load(2, 9)
    first = each.flush(0.0)
    add(each, "t", payload=b"123")
    assert each.load() == Load(3, 12)
    assert first is not None
    each.stored(first.number)
    each.release()
    assert each.load() == Load(3, 12)
    each.confirmed(first.number)
    each.release()
    assert each.load() == Load(1, 3)


def test_what_was_given_up_weighs_nothing():
    each = sent(writer(), "a", "b")
    assert each.load() == Load(2, 2)
    each.abandon()
    assert each.load() == Load(0, 0)
