"""What a client does by itself when its connections end, in the words of ``docs/clients.md``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import NamedTuple

from client_programs import ANSWER_S, Client, Program, running
from scripted_server import Connection, ScriptedServer

from isthmus.wire.packets import Disconnect, Puback, Publish, Suback, Subscribe
from isthmus.wire.reason_codes import ReasonCode

TOPIC = "scripted/said"
#: Whether a session is to be kept, and whether it is still there when the client comes back.
SESSIONS = ("clean", "kept", "kept, and lost")
YES, NO = "yes", "no"
#: How long a return is waited for that the table says never comes: several times the delay that
#: every client is given. A machine that is slow can only make a wrong "no" pass.
NEVER_S = 4.0


class Resent(NamedTuple):
    """The cells of a client and a session."""

    #: A QoS 1 publish that was sent and not acknowledged, and what the application is told of it.
    unacknowledged: str
    told_of_unacknowledged: str
    #: A QoS 1 publish made while there is no connection.
    while_away: str
    told_of_while_away: str
    subscribes_again: str


class _Story:
    """One client, from its first connection to its next one."""

    def __init__(self, server: ScriptedServer, program: Program, client: Client) -> None:
        self.server = server
        self.client = client
        # Some programs listen by a connection of their own.
        self.listens_as = client.id + program.listener

    async def loses_its_connection(self) -> Publish:
        """It publishes, is cut off, and publishes again while it is away."""
        server, client = self.server, self.client
        first = await server.accepts(client.id)
        first.accept()
        await client.hears("connected")
        client.subscribe_later(TOPIC)
        listening = await self.listener(first)
        wanted = await listening.expects(Subscribe)
        listening.send(Suback(wanted.packet_id, (1,)))
        await client.hears("subscribed")
        client.publish(TOPIC, "unacknowledged")
        sent = await first.expects(Publish)
        server.do_not_listen()
        for each in {first, listening}:
            each.end("closed")
            await each.gone.wait()
        assert await client.hears("made") == ["unacknowledged"]
        client.publish(TOPIC, "while-away")
        assert await client.hears("made") == ["while-away"]
        await server.listen()
        return sent

    async def listener(self, publisher: Connection, *, session_present: bool = False) -> Connection:
        if self.listens_as == self.client.id:
            return publisher
        connection = await self.server.accepts(self.listens_as)
        connection.accept(session_present=session_present)
        return connection

    async def comes_back(self, *, session_present: bool) -> tuple[list[Publish], bool]:
        """What it publishes then, in order, and whether it subscribes again."""
        second = await self.server.accepts(self.client.id)
        second.accept(session_present=session_present)
        heard: list[Publish] = []
        subscribes_again = asyncio.Event()
        # From the first moment: one tells of a connection after everything old is acknowledged.
        serving = asyncio.create_task(_serve(second, heard, subscribes_again))
        try:
            await self.client.hears("connected")
            # What it has to send again it sends before something new is acknowledged, or never.
            for payload in ("first-new", "second-new"):
                self.client.publish(TOPIC, payload)
                while await self.client.hears("acknowledged") != [payload]:
                    pass
            if self.listens_as != self.client.id:
                listening = await self.listener(second, session_present=session_present)
                await listening.expects(Subscribe)
                subscribes_again.set()
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        return heard, subscribes_again.is_set()


async def _serve(
    connection: Connection, heard: list[Publish], subscribes_again: asyncio.Event
) -> None:
    while True:
        match await connection.heard.get():
            case Publish() as found:
                heard.append(found)
                connection.send(Puback(found.packet_id))
            case Subscribe() as found:
                subscribes_again.set()
                connection.send(Suback(found.packet_id, (1,)))


async def resent(
    server: ScriptedServer,
    program: Program,
    version: str,
    session: str,
    directory: Path,
    client_id: str,
) -> tuple[str, Resent]:
    """Measure a row; returns the library's version too."""
    asked = "clean" if session == "clean" else "kept"
    async with running(
        program, version, directory, server.place(), client_id, TOPIC, session=asked
    ) as client:
        story = _Story(server, program, client)
        sent = await story.loses_its_connection()
        heard, subscribes = await story.comes_back(session_present=session == "kept")
        (library,) = await client.hears("library")
    return library, Resent(
        _as_repeat(sent, heard),
        _told(client, "unacknowledged"),
        _as_first(heard),
        _told(client, "while-away"),
        YES if subscribes else NO,
    )


def _as_repeat(sent: Publish, heard: list[Publish]) -> str:
    found = [each for each in heard if each.payload == sent.payload]
    words = []
    for each in found:
        same = "same" if each.packet_id == sent.packet_id else "another"
        words.append(f"again, DUP={int(each.dup)}, {same} id")
    return "; ".join(words) or "not again"


def _as_first(heard: list[Publish]) -> str:
    found = [each for each in heard if each.payload == b"while-away"]
    return "; ".join(f"sent, DUP={int(each.dup)}" for each in found) or "not sent"


def _told(client: Client, payload: str) -> str:
    kinds = ("acknowledged", "failed")
    told = [words[0] for words in client.told if words[0] in kinds and words[1] == payload]
    return ", then ".join(told) or "nothing"


class Return(NamedTuple):
    """Whether a client comes back by itself, by how it lost or did not get a connection."""

    #: Its very first attempt is cut off before it is answered.
    first_attempt: str
    reset: str
    #: TCP ends, and TLS says nothing: the process was killed.
    killed: str
    #: TLS says goodbye first.
    closed: str
    #: CONNACK says that the server is not available.
    refused: str
    #: DISCONNECT names another server: MQTT 5 only.
    sent_away: str


async def returns(
    server: ScriptedServer,
    program: Program,
    version: str,
    expected: Mapping[str, str],
    directory: Path,
    client_id: str,
) -> tuple[str, Return]:
    """Measure a row; returns the library's version too.

    Where ``expected`` is not yes, that it comes back is not waited for as long as it could be.
    """
    possible = [how for how in Return._fields if version == "5" or how != "sent_away"]
    come_back = [how for how in possible if expected.get(how) == YES]
    # Who may not come back is of no use afterwards.
    chains = [come_back, *([how] for how in possible if how not in come_back)]
    found = dict.fromkeys(Return._fields, "-")
    libraries = set()

    async def measure(number: int, chain: list[str]) -> None:
        name = f"{client_id}-{number}"
        place = server.place()
        async with running(program, version, directory, place, name, TOPIC) as client:
            (library,) = await client.hears("library")
            libraries.add(library)
            connection = await server.accepts(name)
            for how in chain:
                await _end(server, client, connection, how)
                within_s = ANSWER_S if how in come_back else NEVER_S
                found[how] = NO
                connection = await server.accepts(name, within_s)
                found[how] = YES

    async with asyncio.TaskGroup() as group:
        for number, chain in enumerate(filter(None, chains)):
            group.create_task(_until_it_is_gone(measure(number, chain)))
    (library,) = libraries
    return library, Return(**found)


async def _until_it_is_gone(measuring: Awaitable[None]) -> None:
    with contextlib.suppress(TimeoutError):
        await measuring


async def _end(server: ScriptedServer, client: Client, connection: Connection, how: str) -> None:
    if how == "first_attempt":
        connection.end("reset")
        return
    connection.accept()
    await client.hears("connected")
    match how:
        case "refused":
            connection.end("reset")
            (await server.accepts(client.id)).refuse()
        case "sent_away":
            connection.send(Disconnect(ReasonCode.USE_ANOTHER_SERVER))
            connection.end("closed")
        case "reset" | "killed" | "closed":
            connection.end(how)
