"""HTTP of one connection, byte by byte: requests, their bounds, and what is none."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.config import Limits
from isthmus.core.rest import Refused
from isthmus.core.session import PAYLOAD_MAX_BYTES
from isthmus.gateway.rest_connection import (
    BODY_S,
    IDLE_S,
    LINGER_S,
    Question,
    Response,
    RestConnection,
)
from isthmus.gateway.shedding import Shedding
from isthmus.gateway.stream import PlainStream
from isthmus.gateway.websocket import HEAD_MAX_BYTES


class Transport:
    """Remembers what was written, and how it ended."""

    def __init__(self) -> None:
        self.written = b""
        self.is_paused = self.is_closed = False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def get_extra_info(self, _: str) -> Any:
        return ("127.0.0.1", 1)


async def nothing(_: bytes) -> Response:
    raise AssertionError("nobody awaits it here")


class Opened:
    """A connection, whose questions are answered by hand, or at once."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.now_s = 0.0
        self.asked: list[tuple[str, str, bytes]] = []
        self.kept = 0
        self.room = 1 << 30
        self.transport = Transport()
        self._at_once = at_once
        self._head = ("", "")
        rest: Any = SimpleNamespace(
            now_s=lambda: self.now_s,
            shedding=Shedding(Limits()),
            question=self._question,
            refusal=self._refusal,
            answer=self._answer,
            takes=self._takes,
            closed=lambda _: None,
        )
        transport: Any = self.transport
        self.connection = RestConnection(rest, PlainStream("0f" * 32), transport)

    def _question(self, _: object, head: Any) -> Question:
        self._head = head.method, head.target
        match head.target:
            case "/refused":
                return Question(nothing, wants_body=False)
            case "/stranger":
                return Question(nothing, wants_body=False, is_last=True)
        return Question(nothing)

    def _refusal(self, error: Refused, *, is_last: bool, status: int) -> Question:
        self._head = error.code, str(status)
        return Question(nothing, wants_body=False, is_last=is_last)

    def _answer(self, _: object, __: Question, body: bytes) -> None:
        self.asked.append((*self._head, body))
        if self._at_once:
            self.answer()

    def answer(self) -> None:
        self.connection.respond(Response(200, {"x-number": str(len(self.asked))}, b"OK"))

    def _takes(self, size: int) -> bool:
        if self.kept + size > self.room:
            return False
        self.kept += size
        return True

    def say(self, data: bytes) -> None:
        if not self.transport.is_closed:
            self.connection.data_received(data)

    @property
    def answers(self) -> list[int]:
        """The numbers of the answers that were sent, in their order."""
        return [int(each) for each in re.findall(rb"x-number: (\d+)", self.transport.written)]


def post(target: str, body: bytes = b"", more: str = "") -> bytes:
    length = f"Content-Length: {len(body)}\r\n"
    return f"POST {target} HTTP/1.1\r\nHost: x\r\n{length}{more}\r\n".encode() + body


def chunked(target: str, *parts: bytes) -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (*parts, b""))


REQUESTS = [
    (post("/a", b"one"), ("POST", "/a", b"one")),
    (chunked("/b%2F?qos=1", b"t", b"wo"), ("POST", "/b%2F?qos=1", b"two")),
    (post("/refused", b"three"), ("POST", "/refused", b"")),
    (b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", "/c", b"")),
]


@given(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=5),
    st.lists(st.integers(1, 60), min_size=1, max_size=4),
    st.booleans(),
)
def test_requests_may_come_in_any_pieces_and_are_answered_one_by_one(given_, sizes, at_once):
    opened = Opened(at_once=at_once)
    said, expected = b"".join(raw for raw, _ in given_), [asked for _, asked in given_]
    turn = 0
    while said:
        size = sizes[turn % len(sizes)]
        opened.say(said[:size])
        said, turn = said[size:], turn + 1
    if not at_once:
        for number in range(len(expected)):
            # Not one is asked before the answer to the one before it.
            assert opened.asked == expected[: number + 1]
            assert opened.transport.is_paused
            opened.answer()
    assert opened.asked == expected
    assert opened.answers == [*range(1, len(expected) + 1)]
    assert (opened.kept, opened.transport.is_paused) == (0, False)
    assert not opened.transport.is_closed


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda more: post("/a")[:20] + more))
def test_whatever_is_said_is_answered_or_waited_for(said):
    async def say() -> None:
        opened = Opened()
        opened.say(said)
        assert opened.answers == [*range(1, len(opened.asked) + 1)]
        assert opened.asked or not opened.transport.is_closed

    asyncio.run(say())


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /a HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nx: " + b"y" * HEAD_MAX_BYTES + b"y",
    ],
)
async def test_what_is_no_request_is_refused_and_the_last(said):
    opened = Opened()
    opened.say(said)
    assert [code for code, *_ in opened.asked] == ["InvalidRequestException"]
    assert opened.transport.is_closed


def test_a_body_that_is_too_large_is_refused_before_it_is_there():
    for said in (
        post("/a", b"x" * (PAYLOAD_MAX_BYTES + 1))[:200],
        chunked("/a", b"x" * PAYLOAD_MAX_BYTES, b"x"),
    ):
        opened = Opened()
        opened.say(said)
        assert [code for code, *_ in opened.asked] == ["RequestEntityTooLargeException"]
        assert opened.kept == 0
        # It is read on for a moment, or the client would not hear.
        assert not opened.transport.is_closed
        assert not opened.transport.is_paused
        assert opened.connection.until_s == LINGER_S
        opened.say(b"x" * 1000 + post("/a"))
        assert len(opened.asked) == 1
        # And nothing is kept of it.
        assert len(opened.connection._http.trailing_data[0]) <= len(said)


def test_bodies_of_all_connections_have_a_bound():
    opened = Opened()
    opened.room = 3
    opened.say(post("/a", b"1234")[:-1])
    assert (opened.asked, opened.kept) == ([], 3)
    opened.say(b"4")
    assert [code for code, *_ in opened.asked] == ["ServiceUnavailableException"]
    assert opened.kept == 0


def test_a_connection_that_ends_keeps_nothing():
    opened = Opened()
    opened.say(post("/a", b"1234")[:-1])
    assert opened.kept == 3
    opened.connection.connection_lost(None)
    assert opened.kept == 0


def test_who_is_turned_away_is_not_read():
    opened = Opened()
    opened.say(post("/stranger", b"1234")[:-4])
    assert opened.asked == [("POST", "/stranger", b"")]
    assert b"Connection: close" in opened.transport.written


@pytest.mark.asyncio
async def test_who_is_to_go_elsewhere_is_told_by_the_next_answer():
    opened = Opened()
    opened.say(post("/a"))
    assert b"Connection" not in opened.transport.written
    opened.connection.is_drained = True
    opened.say(post("/b"))
    assert opened.asked[-1] == ("POST", "/b", b"")
    assert b"Connection: close" in opened.transport.written
    assert opened.transport.is_closed


def test_a_client_that_asks_whether_it_may_go_on_is_told():
    opened = Opened()
    opened.say(post("/a", b"x", "Expect: 100-continue\r\n")[:-1])
    assert opened.transport.written.startswith(b"HTTP/1.1 100 ")
    opened.say(b"x")
    assert opened.asked == [("POST", "/a", b"x")]
    refused = Opened()
    refused.say(post("/refused", b"x", "Expect: 100-continue\r\n")[:-1])
    assert refused.transport.written.startswith(b"HTTP/1.1 200 ")


def test_every_step_has_its_time():
    opened = Opened(at_once=False)
    opened.say(post("/a", b"x")[:-1])
    assert opened.connection.until_s == BODY_S
    opened.now_s = 1.0
    opened.say(b"x")
    assert opened.connection.until_s == float("inf")
    opened.answer()
    assert opened.connection.until_s == 1.0 + IDLE_S


def test_who_does_not_read_his_answers_is_asked_nothing_more():
    opened = Opened()
    opened.connection.pause_writing()
    assert opened.transport.is_paused
    opened.say(post("/a"))
    assert opened.asked == []
    opened.connection.resume_writing()
    assert len(opened.asked) == 1
