"""Plays sequences of raw packets to a server, as mosquitto's tests write them down in JSON.

A file is a list of groups of cases; a case is what is sent, what is to be answered, and whether the
connection is open afterwards. Answers are compared by what they say, not byte by byte: which limits
a CONNACK of MQTT 5 grants is each server's own to choose.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt3, mqtt5
from isthmus.wire.mqtt import CODECS
from isthmus.wire.packets import Connack, Connect, Disconnect, Packet, Pingreq, Pingresp, Publish

ANSWER_S = 5.0
#: Numbers by the letter before them, in bytes.
NUMBERS = {"i": 1, "H": 2, "k": 2, "m": 2, "s": 2, "L": 4}

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Open = Callable[[], Awaitable[Streams]]


class Case(NamedTuple):
    """One case of a file."""

    file: str
    group: str
    name: str
    version: int
    #: It begins with a connected client.
    connect: bool
    #: The connection is open at the end.
    stays_open: bool
    messages: tuple[dict[str, Any], ...]

    @property
    def title(self) -> str:
        return " ".join(f"{self.file} {self.group} {self.name}".split())


def cases(directory: Path) -> Iterator[Case]:
    for path in sorted(directory.glob("*.json")):
        for group in json.loads(path.read_text()):
            if group.get("disable"):
                continue
            for test in group["tests"]:
                said = {"ver": 4, "connect": True, "expect_disconnect": True} | group | test
                yield Case(
                    path.stem,
                    group["group"],
                    test["name"],
                    said["ver"],
                    said["connect"],
                    not said["expect_disconnect"],
                    tuple(test["msgs"]),
                )


def parse(text: str) -> bytes:
    """Bytes as the files write them: ``10 r13 s4 'MQTT' 04 02 k10 s1 'p'``."""
    found = b""
    rest = text.strip()
    while rest:
        if rest[0] == "'":
            word, _, rest = rest[1:].partition("'")
            found += word.encode()
        else:
            word, _, rest = rest.partition(" ")
            if word[0] in NUMBERS:
                found += int(word[1:]).to_bytes(NUMBERS[word[0]], "big")
            elif word[0] in "vr":
                found += variable(int(word[1:]))
            else:
                found += bytes.fromhex(word)
        rest = rest.strip()
    return found


def variable(number: int) -> bytes:
    """A variable byte integer; too large ones too, which some cases want."""
    found = bytearray()
    while True:
        number, low = divmod(number, 128)
        found.append(low | (0x80 if number else 0))
        if not number:
            return bytes(found)


@dataclass
class Line:
    """One connection, packet by packet and undecoded."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def next(self) -> bytes:
        """The next packet whole; nothing where the connection has ended."""
        try:
            head = await self.reader.readexactly(1)
            size = shift = 0
            while True:
                byte = await self.reader.readexactly(1)
                head += byte
                size |= (byte[0] & 0x7F) << shift
                shift += 7
                if byte[0] < 0x80:
                    return head + await self.reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError):
            return b""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def close(self) -> None:
        self.writer.transport.abort()


def read(data: bytes, version: int) -> Packet | bytes:
    decoder = mqtt5.Decoder() if version == 5 else mqtt3.Decoder()
    try:
        (packet,) = decoder.feed(data)
    except (MalformedPacket, ValueError):
        return data
    return packet


def reason(code: int) -> str:
    """The standards leave open what is malformed, and what is an error of the protocol."""
    return "129 or 130" if code in (129, 130) else str(int(code))


def says(data: bytes, version: int) -> object:
    """What of an answer has to be the same."""
    match read(data, version):
        case Connack(session_present, code):
            return "CONNACK", session_present, reason(code)
        case Disconnect(code):
            return "DISCONNECT", reason(code)
        case Publish() as found:
            return found
        case bytes() as unread:
            return unread
        case found if hasattr(found, "properties"):
            return str(found).replace(str(found.properties), "")
        case found:
            return str(found)


async def play(case: Case, open_line: Open) -> str:
    """What is not as the case wants it; nothing where all is."""
    line = Line(*await open_line())
    try:
        async with asyncio.timeout(ANSWER_S):
            if case.connect:
                line.send(connect(case.title[:100], case.version))
                found = await line.next()
                if says(found, case.version) != ("CONNACK", False, "0"):
                    return f"a plain CONNECT is answered by {found.hex(' ')}"
            for message in case.messages:
                if difference := await _message(case, line, message, open_line):
                    return difference
            return await _end(case, line)
    except TimeoutError:
        return "no answer"
    finally:
        line.close()


def connect(client_id: str, version: int) -> bytes:
    codec = CODECS[5 if version == 5 else 4]
    return codec.encode(Connect(client_id, keep_alive_s=60, level=version))


async def _message(case: Case, line: Line, message: dict[str, Any], open_line: Open) -> str:
    match message["type"]:
        case "send":
            line.send(parse(message["payload"]))
        case "recv":
            wanted = parse(message["payload"])
            found = await line.next()
            if says(found, case.version) != says(wanted, case.version):
                return f"{shown(found, case.version)} and not {shown(wanted, case.version)}"
        case "external_publish":
            helper = Line(*await open_line())
            helper.send(connect("helper", 4))
            await helper.next()
            payload, qos = message["payload"].encode(), message["qos"]
            retain, number = message.get("retain", False), 1 if qos else 0
            publish = Publish(message["topic"], payload, qos, retain, packet_id=number)
            helper.send(mqtt3.encode(publish))
            if qos:
                await helper.next()
            helper.close()
    return ""


def shown(data: bytes, version: int) -> str:
    if not data:
        return "the end"
    found = read(data, version)
    if isinstance(found, Connack | Disconnect):
        return " ".join(str(each) for each in says(data, version))  # type: ignore[attr-defined]
    return data.hex(" ") if isinstance(found, bytes) else str(found)


async def _end(case: Case, line: Line) -> str:
    codec = CODECS[5 if case.version == 5 else 4]
    if case.stays_open:
        line.send(codec.encode(Pingreq()))
        found = await line.next()
        is_answer = isinstance(read(found, case.version), Pingresp) if found else False
        return "" if is_answer else f"{shown(found, case.version)} and not an open connection"
    # An answer to this one shows at once what silence would show late.
    line.send(codec.encode(Pingreq()))
    while found := await line.next():
        match read(found, case.version):
            case Pingresp():
                return "an open connection and not the end"
            case Connack() | Disconnect():
                # Why it ends may be said first.
                continue
            case _:
                return f"{shown(found, case.version)} and not the end"
    return ""
