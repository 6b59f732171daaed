"""The default view holds each content once, whatever was sent again and wherever copies arrive."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import repeat
from isthmus.core.repeat import IN_DOUBT_MAX, IN_DOUBT_MS, RepeatIndex


@dataclass(frozen=True)
class Copy:
    """One stored copy of a message."""

    connection: int
    number: int
    content: bytes
    at_ms: int
    identity: str = ""

    @property
    def position(self) -> str:
        return f"w{self.connection}:{self.number}:0"


def view(copies: list[Copy]) -> tuple[list[Copy], dict[str, str | None]]:
    """The default view of copies in the order of their arrival, and what each was marked with."""
    index, marks = RepeatIndex(), {}
    for each in copies:
        marks[each.position] = index.mark(
            "car-1",
            "p",
            f"c{each.connection}",
            "t",
            each.content,
            each.identity,
            each.position,
            each.at_ms,
        )
    return [each for each in copies if marks[each.position] is None], marks


def client(draw, *, identities: bool = False, connections_max: int = 4) -> list[list[Copy]]:
    """A client that sends, loses acknowledgements and connections, and sends again, in order.

    On each connection what is stored is a prefix of what was sent, and what is acknowledged a
    prefix of what is stored: whatever its promise, no gateway answers past a gap. The last
    connection stays until all is stored.
    """
    waiting: list[bytes] = []
    connections, made, now_ms = [], 0, 0
    count = draw(st.integers(1, connections_max))
    for connection in range(count):
        last = connection == count - 1
        fresh = draw(st.integers(0, 5))
        waiting += [b"%d" % (made + each) for each in range(fresh)]
        made += fresh
        stored = len(waiting) if last else draw(st.integers(0, len(waiting)))
        acknowledged = len(waiting) if last else draw(st.integers(0, stored))
        copies = []
        for number, content in enumerate(waiting[:stored]):
            now_ms += draw(st.integers(0, 100))
            identity = content.decode() if identities else ""
            copies.append(Copy(connection, number, content, now_ms, identity))
        connections.append(copies)
        waiting = waiting[acknowledged:]
        now_ms += draw(st.integers(1, 60_000))
    return connections


def interleaved(draw, connections: list[list[Copy]]) -> list[Copy]:
    """Any order of arrival that keeps each connection's own, as its writer's batches do."""
    left = [list(each) for each in connections if each]
    arrived = []
    while left:
        chosen = draw(st.integers(0, len(left) - 1))
        arrived.append(left[chosen].pop(0))
        left = [each for each in left if each]
    return arrived


@given(st.data())
def test_each_content_is_in_the_default_view_once_in_both_lakes(data):
    connections = client(data.draw)
    sent = {each.content for copies in connections for each in copies}
    for _ in ("eu", "us"):
        arrived = interleaved(data.draw, connections)
        default, marks = view(arrived)
        assert Counter(each.content for each in default) == dict.fromkeys(sent, 1)
        assert len(marks) == len(arrived)


@given(st.data())
def test_that_holds_in_any_order_at_all(data):
    connections = client(data.draw)
    arrived = data.draw(st.permutations([each for copies in connections for each in copies]))
    default, _ = view(list(arrived))
    assert all(count == 1 for count in Counter(each.content for each in default).values())
    assert {each.content for each in default} == {each.content for each in arrived}


@given(st.data())
def test_what_carries_an_identity_is_there_once_however_often_it_was_sent(data):
    connections = client(data.draw, identities=True, connections_max=12)
    default, _ = view(interleaved(data.draw, connections))
    sent = {each.content for copies in connections for each in copies}
    assert Counter(each.content for each in default) == dict.fromkeys(sent, 1)


@given(st.data())
def test_a_mark_names_an_earlier_copy_of_the_same_content_on_another_connection(data):
    connections = client(data.draw)
    arrived = interleaved(data.draw, connections)
    _, marks = view(arrived)
    by_position = {each.position: each for each in arrived}
    for each in arrived:
        original = by_position.get(marks[each.position] or "")
        if original is not None:
            assert original.content == each.content
            assert original.connection != each.connection
            assert arrived.index(original) < arrived.index(each)


@given(st.data())
def test_a_client_that_repeats_itself_keeps_the_greater_number_of_each_connection(data):
    """The same content n times before and m times after: nobody can tell which are repeats."""
    before, after = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20))
    copies = [
        [Copy(0, number, b"closed", number) for number in range(before)],
        [Copy(1, number, b"closed", 1_000 + number) for number in range(after)],
    ]
    default, _ = view(interleaved(data.draw, copies))
    assert len(default) == max(before, after)


@given(st.data())
def test_no_order_of_arrival_takes_two_of_one_connection_for_one(data):
    """Copies on one connection are different messages, whatever comes late from another region."""
    now_ms, connections = 0, []
    for connection in range(data.draw(st.integers(1, 4))):
        copies = []
        for number in range(data.draw(st.integers(0, 4))):
            now_ms += data.draw(st.sampled_from((1, IN_DOUBT_MS + 1)))
            copies.append(Copy(connection, number, b"closed", now_ms))
        connections.append(copies)
    default, _ = view(interleaved(data.draw, connections))
    assert len(default) >= max(len(copies) for copies in connections)


def test_what_comes_late_is_not_taken_for_a_repeat_twice():
    first, second = Copy(0, 0, b"closed", 0), Copy(0, 1, b"closed", IN_DOUBT_MS + 1)
    after = Copy(1, 0, b"closed", IN_DOUBT_MS + 2)
    default, _ = view([after, first, second])
    assert len(default) == 2


@given(st.integers(1, 50), st.integers(0, 3))
def test_a_sensor_that_says_closed_once_a_minute_loses_at_most_one_for_each_connection(n, more):
    copies = [
        Copy(connection, number, b"closed", (connection * n + number) * 60_000)
        for connection in range(more + 1)
        for number in range(n)
    ]
    default, _ = view(copies)
    assert len(default) >= len(copies) - more
    on_one_connection, _ = view(copies[:n])
    assert len(on_one_connection) == n


def test_what_was_acknowledged_long_before_the_connection_ended_is_no_original():
    early = Copy(0, 0, b"closed", 0)
    late = Copy(0, 1, b"other", IN_DOUBT_MS + 1)
    again = Copy(1, 0, b"closed", IN_DOUBT_MS + 2)
    default, _ = view([early, late, again])
    assert default == [early, late, again]


def test_what_comes_after_the_opening_of_a_connection_is_new():
    """A client resends what was in doubt first of all, and never more than its window."""
    old = Copy(0, 0, b"closed", 0)
    opening = [Copy(1, number, b"%d" % number, 1) for number in range(IN_DOUBT_MAX)]
    default, _ = view([old, *opening, Copy(1, IN_DOUBT_MAX, b"closed", 2)])
    assert len(default) == IN_DOUBT_MAX + 2


def test_a_full_window_that_was_lost_on_a_long_connection_is_recognised():
    sent = [Copy(0, number, b"%d" % number, number) for number in range(1_000)]
    again = [Copy(1, number, each.content, 5_000) for number, each in enumerate(sent[-100:])]
    default, _ = view([*sent, *again])
    assert default == sent
    other_way, _ = view([*again, *sent])
    assert len(other_way) == len(sent)


@pytest.mark.parametrize(("client_id", "principal"), [("car-2", "p"), ("car-1", "q")])
def test_another_client_repeats_nobody(client_id, principal):
    index = RepeatIndex()
    assert index.mark("car-1", "p", "c0", "t", b"x", "", "w:1:0", 0) is None
    assert index.mark(client_id, principal, "c1", "t", b"x", "", "w:2:0", 1) is None
    assert index.mark("car-1", "p", "c1", "other", b"x", "", "w:3:0", 1) is None
    assert index.mark("car-1", "p", "c1", "t", b"x", "", "w:4:0", 1) == "w:1:0"


@pytest.mark.parametrize("clients", [1, 3, 5])
def test_memory_is_bounded(clients, monkeypatch):
    monkeypatch.setattr(repeat, "CLIENTS_MAX", 3)
    monkeypatch.setattr(repeat, "IDS_PER_CLIENT", 10)
    chance, index = random.Random(clients), RepeatIndex()
    for number in range(5_000):
        index.mark(
            f"car-{chance.randrange(clients)}",
            "p",
            f"c{number // 700}-{chance.randrange(6)}",
            "t",
            b"%d" % chance.randrange(50),
            chance.choice(["", f"id-{number}"]),
            f"w:{number}:0",
            number,
        )
    assert len(index._clients) <= 3
    for held in index._clients.values():
        assert len(held.ids) <= 10
        assert len(held.connections) <= repeat.CONNECTIONS_PER_CLIENT
        for each in held.connections.values():
            assert len(each.first) <= IN_DOUBT_MAX
            assert len(each.last) <= IN_DOUBT_MAX
