"""MQTT over WebSocket, byte by byte: the one request, the frames, and what is neither."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol

from isthmus.gateway.stream import Ended, PlainStream, Stream
from isthmus.gateway.websocket import (
    FRAME_MAX_BYTES,
    HEAD_MAX_BYTES,
    Forbidden,
    Upgrade,
    WebSocketStream,
    by_certificate,
)

CERTIFICATE = "0f" * 32
#: RFC 6455, section 1.3, and what is answered to it.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
RIGHT = {
    "Host": "eu.iot.example.com:443",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": "mqtt",
}
#: The longest head of a frame that a client sends.
FRAME_HEAD_MAX_BYTES = 14


def request(line: str = "GET /mqtt HTTP/1.1", more: str = "", **changes: str | None) -> bytes:
    """A right request, with other headers where ``changes`` name them, or without them."""
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    headers = {name: value for name, value in {**RIGHT, **named}.items() if value is not None}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + f"\r\n{more}\r\n").encode("latin-1")


def new(certificate: str = CERTIFICATE) -> WebSocketStream:
    return WebSocketStream(PlainStream(certificate), by_certificate)


def opened() -> WebSocketStream:
    stream = new()
    _, answer = stream.feed(request())
    assert answer.startswith(b"HTTP/1.1 101 ")
    return stream


def frame(opcode: Opcode, data: bytes, *, fin: bool = True, masked: bool = True, **bits: Any):
    return Frame(opcode, data, fin, **bits).serialize(mask=masked)


def binary(data: bytes, **how: Any) -> bytes:
    return frame(Opcode.BINARY, data, **how)


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(Opcode.CLOSE, code.to_bytes(2) + reason.encode())


def code_of(said: bytes) -> int:
    """The code in a close frame of ours."""
    assert said[0] == 0x88, said
    return int.from_bytes(said[2:4])


def chunked(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut into pieces of these sizes, over and over."""
    pieces, position, turn = [], 0, 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        pieces.append(data[position : position + size])
        position, turn = position + size, turn + 1
    return pieces


def fed(stream: Stream, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Feed until it ends; returns all plaintext and all answers."""
    plaintext, answers = b"", b""
    for piece in pieces:
        found, said = stream.feed(piece)
        plaintext, answers = plaintext + found, answers + said
        if stream.ended is not None:
            break
    return plaintext, answers


# The request


@pytest.mark.parametrize("offered", ["mqtt", "mqttv3.1", "soap, mqttv3.1, mqtt"])
def test_a_right_request_is_answered_and_its_certificate_is_who_is_there(offered: str) -> None:
    stream = new()
    assert stream.principal == ""
    extension = "permessage-deflate; client_max_window_bits"
    head = request(Sec_WebSocket_Protocol=offered, Sec_WebSocket_Extensions=extension)
    plaintext, answer = stream.feed(head)
    assert plaintext == b""
    lines = answer.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 101 Switching Protocols"
    assert f"Sec-WebSocket-Accept: {ACCEPT}" in lines
    assert f"Sec-WebSocket-Protocol: {'mqttv3.1' if offered == 'mqttv3.1' else 'mqtt'}" in lines
    assert "extensions" not in answer.decode().lower()
    assert (stream.principal, stream.ended) == (CERTIFICATE, None)


@given(st.lists(st.integers(1, 80), min_size=1, max_size=5))
def test_it_may_come_in_any_pieces(sizes: list[int]) -> None:
    stream = new()
    _, answer = fed(stream, chunked(request(), sizes))
    assert answer.startswith(b"HTTP/1.1 101 ")


REFUSED: dict[str, tuple[int, bytes]] = {
    "no upgrade": (426, request(Upgrade=None, Connection="close")),
    "no upgrade in connection": (426, request(Connection="keep-alive")),
    "another upgrade": (426, request(Upgrade="h2c")),
    "another method": (405, request("POST /mqtt HTTP/1.1")),
    "HTTP/1.0": (505, request("GET /mqtt HTTP/1.0")),
    "no host": (400, request(Host=None)),
    "two hosts": (400, request(more="Host: x\r\n")),
    "no key": (400, request(Sec_WebSocket_Key=None)),
    "two keys": (400, request(more=f"Sec-WebSocket-Key: {KEY}\r\n")),
    "a short key": (400, request(Sec_WebSocket_Key="eA==")),
    "another version": (400, request(Sec_WebSocket_Version="8")),
    "no subprotocol": (400, request(Sec_WebSocket_Protocol=None)),
    "another subprotocol": (400, request(Sec_WebSocket_Protocol="soap")),
    "a body": (400, request(Content_Length="5") + b"12345"),
    "the promise of a body": (400, request(Content_Length="5")),
    "chunks": (400, request(Transfer_Encoding="chunked")),
    "two lengths": (400, request(Content_Length="0", more="Content-Length: 5\r\n")),
    "a second request": (400, request() + request()),
    "a frame before the answer": (400, request() + binary(b"early")),
    "a folded line": (400, request(more=" folded\r\n")),
    "a blank before the colon": (400, request(more="Content-Length : 0\r\n")),
    "a bare line feed": (400, request().replace(b"\r\n", b"\n", 1)),
    "a line feed in a value": (400, request(more="X: a\nContent-Length: 5\r\n")),
    "a blank line first": (400, b"\r\n" + request()),
    "MQTT": (400, b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"),
    "TLS in TLS": (400, b"\x16\x03\x01\x00\x05hello"),
}


@pytest.mark.parametrize(
    "sent",
    [
        request("GET / HTTP/1.1"),
        request("GET /mqtt/ HTTP/1.1"),
        request("GET https://x/mqtt HTTP/1.1"),
        request("POST /topics/mqtt?x=/mqtt HTTP/1.1", Content_Length="5") + b"12345",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_request_for_another_path_is_left_to_who_answers_it(sent: bytes, size: int) -> None:
    below = PlainStream(CERTIFICATE)
    stream = WebSocketStream(below, by_certificate)
    pieces = chunked(sent, [size])
    assert fed(stream, pieces) == (b"", b"")
    assert stream.ended is not None
    assert stream.ended.http is not None
    found, begin = stream.ended.http
    assert found is below
    # As soon as that is clear, and all that was said until then.
    assert sent.startswith(begin)
    assert begin.endswith(b"\r\n") or size > 1
    assert stream.principal == ""


@pytest.mark.parametrize("case", REFUSED)
def test_whatever_else_is_asked_is_answered_shortly_and_closed(case: str) -> None:
    status, sent = REFUSED[case]
    stream = new()
    plaintext, answer = stream.feed(sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.1 (\d+) ", head)[1] == b"%d" % status  # type: ignore[index]
    assert b"\r\nConnection: close" in head
    assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head
    assert 0 < len(body) < 250
    assert stream.ended is not None
    assert str(status) in stream.ended.reason
    assert (stream.ended.is_goodbye, stream.principal, plaintext) == (False, "", b"")
    assert stream.wrap(b"x") == stream.close() == b""


def test_who_is_refused_is_told_what_would_be_right() -> None:
    assert b"\r\nAllow: GET\r\n" in new().feed(request("POST /mqtt HTTP/1.1"))[1]
    assert b"\r\nUpgrade: websocket\r\n" in new().feed(request(Upgrade=None))[1]


def test_a_reason_is_short_however_long_what_it_speaks_of() -> None:
    stream = new()
    _, answer = stream.feed(request(Sec_WebSocket_Version="8" * 4000))
    assert b" 400 " in answer
    assert len(answer) < 500
    assert stream.ended is not None
    assert len(stream.ended.reason) < 250


@pytest.mark.parametrize("step", [1, 1000, 2 * HEAD_MAX_BYTES])
def test_a_request_without_end_is_refused_at_its_bound(step: int) -> None:
    stream = new()
    endless = b"GET /mqtt HTTP/1.1\r\n" + b"X-Long: " + b"x" * 2 * HEAD_MAX_BYTES
    fed_bytes = 0
    for piece in chunked(endless, [step]):
        assert stream.ended is None
        _, answer = stream.feed(piece)
        fed_bytes += len(piece)
        if stream.ended:
            break
    assert b" 431 " in answer
    assert fed_bytes <= HEAD_MAX_BYTES + step


@pytest.mark.parametrize("more", [0, 1])
def test_the_bound_is_exact(more: int) -> None:
    # Several lines, since the library has a bound of its own for one.
    rest = HEAD_MAX_BYTES + more - len(request())
    lines = [f"X{number}: " for number in range(4)]
    room = rest - sum(len(each) + 2 for each in lines)
    sizes = [room // 4] * 3 + [room - room // 4 * 3]
    padding = "".join(f"{x}{'x' * size}\r\n" for x, size in zip(lines, sizes, strict=True))
    head = request(more=padding)
    assert len(head) == HEAD_MAX_BYTES + more
    _, answer = new().feed(head)
    assert answer.startswith(b"HTTP/1.1 431 " if more else b"HTTP/1.1 101 ")


@given(
    where=st.integers(0, len(request()) - 1),
    what=st.binary(max_size=6),
    instead_of=st.integers(0, 6),
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=3),
)
@example(where=4, what=b"\xff", instead_of=1, sizes=[400])
def test_no_request_makes_it_raise(
    where: int, what: bytes, instead_of: int, sizes: list[int]
) -> None:
    whole = bytearray(request(Origin="https://eu.iot.example.com"))
    whole[where : where + instead_of] = what
    stream = new()
    plaintext, answer = fed(stream, chunked(bytes(whole), sizes))
    assert plaintext == b""
    if stream.ended is None and answer:
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert stream.principal == CERTIFICATE
    elif stream.ended is not None and stream.ended.http is None:
        assert re.match(rb"HTTP/1\.1 [45]\d\d ", answer)
        assert stream.principal == ""


@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=20))
def test_no_garbage_makes_it_raise_or_keep_much(pieces: list[bytes]) -> None:
    stream = new()
    for piece in pieces:
        plaintext, _ = stream.feed(b"G" + piece)
        assert plaintext == b""
        assert len(stream._head) <= HEAD_MAX_BYTES + len(piece)
        if stream.ended is not None:
            break
    else:
        assert len(stream._head) <= HEAD_MAX_BYTES


# Who is there


def test_without_a_certificate_an_upgrade_is_forbidden() -> None:
    stream = new(certificate="")
    _, answer = stream.feed(request())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.endswith(b"\r\n\r\na client certificate is needed\n")
    assert stream.ended == Ended("HTTP 403: a client certificate is needed")
    assert stream.principal == ""


@pytest.mark.parametrize(
    ("origin", "is_ours"),
    [
        ("https://eu.iot.example.com", True),
        ("https://EU.iot.example.com:8883", True),
        ("https://iot.example.com", False),
        ("https://evil.example.com", False),
        ("https://eu.iot.example.com.evil.example.com", False),
        ("https://eu.iot.example.com@evil.example.com", False),
        ("null", False),
        ("https://[", False),
        ("", False),
    ],
)
def test_a_browser_may_use_its_certificate_for_our_own_pages_only(
    origin: str, is_ours: bool
) -> None:
    stream = new()
    _, answer = stream.feed(request(Origin=origin))
    assert answer.startswith(b"HTTP/1.1 101 " if is_ours else b"HTTP/1.1 403 ")
    assert (stream.principal == CERTIFICATE) is is_ours


def test_a_page_of_nowhere_is_not_ours_where_the_host_is_nowhere_too() -> None:
    assert b" 403 " in new().feed(request(Host="", Origin="null"))[1]


@pytest.mark.parametrize("found", ["somebody", Forbidden("no")])
def test_another_way_to_say_who_is_there_sees_the_request_as_it_was_sent(
    found: str | Forbidden,
) -> None:
    asked: list[Upgrade] = []

    def authenticate(upgrade: Upgrade) -> str | Forbidden:
        asked.append(upgrade)
        return found

    stream = WebSocketStream(PlainStream(""), authenticate)
    target = "/mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0%2f"
    stream.feed(request(f"GET {target} HTTP/1.1", more="x-amz: a\r\nX-Amz: b\r\n"))
    (upgrade,) = asked
    assert (upgrade.target, upgrade.certificate) == (target, "")
    assert upgrade.headers == (*RIGHT.items(), ("x-amz", "a"), ("X-Amz", "b"))
    assert (upgrade.header("x-amz"), upgrade.header("x")) == ("a", None)
    assert stream.principal == (found if isinstance(found, str) else "")


# Frames


@st.composite
def envelopes(draw: st.DrawFn) -> tuple[bytes, bytes, list[bytes]]:
    """Frames in some order, the plaintext in them, and the pings between them."""
    sent, plaintext, pings = b"", b"", []
    for _ in range(draw(st.integers(0, 6))):
        parts = draw(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
        for number, part in enumerate(parts):
            opcode = Opcode.CONT if number else Opcode.BINARY
            sent += frame(opcode, part, fin=number == len(parts) - 1)
            plaintext += part
            for ping in draw(st.lists(st.binary(max_size=125), max_size=2)):
                sent += frame(Opcode.PING, ping) + frame(Opcode.PONG, ping)
                pings.append(ping)
    return sent, plaintext, pings


@given(envelopes(), st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_where_frames_and_chunks_begin_means_nothing(
    envelope: tuple[bytes, bytes, list[bytes]], sizes: list[int]
) -> None:
    sent, plaintext, pings = envelope
    stream = opened()
    found, answers = fed(stream, chunked(sent, sizes))
    assert found == plaintext
    assert answers == b"".join(frame(Opcode.PONG, each, masked=False) for each in pings)
    assert stream.ended is None


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, FRAME_MAX_BYTES])
def test_frames_of_every_length_go_both_ways(size: int) -> None:
    stream, data = opened(), bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    assert stream.feed(binary(data)) == (data, b"")
    assert stream.wrap(data) == binary(data, masked=False)


BROKEN: dict[str, tuple[int, bytes]] = {
    "a text": (1003, frame(Opcode.TEXT, b"text")),
    "a text and more": (1003, frame(Opcode.TEXT, b"text") + binary(b"more")),
    "the beginning of a text": (1003, frame(Opcode.TEXT, b"te", fin=False)),
    "no mask": (1002, binary(b"x", masked=False)),
    "compressed": (1002, b"\xc2" + binary(b"x")[1:]),
    "a reserved opcode": (1002, b"\x83" + binary(b"x")[1:]),
    "a continuation of nothing": (1002, frame(Opcode.CONT, b"x")),
    "a message in a message": (1002, binary(b"x", fin=False) + binary(b"y")),
    "a fragmented ping": (1002, b"\x09" + frame(Opcode.PING, b"x")[1:]),
    "a long ping": (1002, b"\x89" + binary(b"x" * 126)[1:]),
    "a close code of nobody": (1002, close_frame(5)),
    "a close of one byte": (1002, frame(Opcode.CLOSE, b"x")),
    "a close that is no text": (1007, frame(Opcode.CLOSE, b"\x03\xe8\xff")),
    "a close within a message": (1002, binary(b"x", fin=False) + close_frame(1000)),
    "a long frame": (1009, binary(b"x" * (FRAME_MAX_BYTES + 1))),
    "the head of a huge frame": (1009, b"\x82\xff\x7f" + b"\xff" * 7),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_the_rules_is_told_so_and_is_no_goodbye(case: str) -> None:
    code, sent = BROKEN[case]
    stream = opened()
    plaintext, said = stream.feed(binary(b"before") + sent)
    assert plaintext.startswith(b"before")
    assert b"more" not in plaintext
    assert code_of(said) == code
    assert stream.ended is not None
    assert not stream.ended.is_goodbye
    assert str(code) in stream.ended.reason
    assert stream.wrap(b"x") == stream.close() == b""


def test_a_frame_is_refused_by_its_head_and_never_gathered() -> None:
    stream = opened()
    stream.feed(binary(b"x" * (FRAME_MAX_BYTES + 1))[:FRAME_HEAD_MAX_BYTES])
    assert stream.ended is not None


@given(
    st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=12),
    st.sampled_from([b"", b"\x82", b"\x02\x80", b"\x80\xfe\x01\x00", b"\x88\x82", b"\x81"]),
)
def test_no_bytes_make_it_raise_or_keep_more_than_a_frame(
    pieces: list[bytes], begin: bytes
) -> None:
    stream = opened()
    pieces[0] = begin + pieces[0]
    for piece in pieces:
        stream.feed(piece)
        assert stream._frames is not None
        kept = len(stream._frames.reader.buffer)
        assert kept <= FRAME_MAX_BYTES + FRAME_HEAD_MAX_BYTES
        if stream.ended is not None:
            break
    stream.wrap(b"x")
    stream.close()


# The end


@pytest.mark.parametrize("code", [1000, 1001, 4000])
def test_a_clients_close_is_echoed_and_is_its_goodbye(code: int) -> None:
    stream = opened()
    plaintext, said = stream.feed(binary(b"last") + close_frame(code, "bye") + b"after")
    assert plaintext == b"last"
    assert code_of(said) == code
    assert stream.ended == Ended("the client closed the WebSocket", is_goodbye=True)
    assert stream.wrap(b"x") == stream.close() == b""


def test_a_close_without_a_code_is_one_too() -> None:
    stream = opened()
    assert stream.feed(frame(Opcode.CLOSE, b"")) == (b"", frame(Opcode.CLOSE, b"", masked=False))
    assert stream.ended is not None
    assert stream.ended.is_goodbye


class Below(PlainStream):
    """A stream below that has its own words, and may end."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b"below"

    def wrap(self, plaintext: bytes) -> bytes:
        return b"<" + plaintext + b">"

    def close(self) -> bytes:
        return b"bye"


def test_our_close_is_said_in_every_layer_from_above() -> None:
    stream = WebSocketStream(Below(CERTIFICATE), by_certificate)
    _, answer = stream.feed(request())
    assert answer.startswith(b"below<HTTP/1.1 101 ")
    assert stream.feed(frame(Opcode.PING, b"x")) == (b"", b"below<\x8a\x01x>")
    assert stream.wrap(b"x") == b"<\x82\x01x>"
    assert stream.close() == b"<\x88\x02\x03\xe8>bye"
    assert stream.close() == b"bye"
    assert stream.wrap(b"x") == b""


def test_the_end_of_the_stream_below_is_the_end_and_no_goodbye() -> None:
    below = Below(CERTIFICATE)
    stream = WebSocketStream(below, by_certificate)
    stream.feed(request())
    below.ended = Ended("broken")
    assert stream.feed(binary(b"last")) == (b"last", b"below")
    assert stream.ended == Ended("broken")


@pytest.fixture
def no_search_for_cycles() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_search_for_cycles")
def test_nothing_stays_of_a_request_or_of_half_a_frame() -> None:
    before = {id(each) for each in gc.get_objects() if isinstance(each, Protocol)}
    stream = opened()
    stream.feed(binary(b"x" * FRAME_MAX_BYTES)[:-1])
    (frames,) = [
        weakref.ref(each)
        for each in gc.get_objects()
        if isinstance(each, Protocol) and id(each) not in before
    ]
    del stream
    assert frames() is None
