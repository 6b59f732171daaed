"""A connection to a region's NATS, on a real server: what must hold for whoever waits on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from functools import partialmethod
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from isthmus.adapters.nats.connection import leave
from real_nats import real_nats, settle


async def test_a_cancellation_that_meets_an_answer_is_not_lost(tmp_path: Path) -> None:
    async with real_nats(tmp_path) as server, server.user("services") as client:
        asking: asyncio.Task[None] | None = None

        async def answer(message: Msg) -> None:
            await message.respond(b"answer")

        async def cancel(_: Msg) -> None:
            # The answer itself is handed over in this very moment, before or after this call.
            assert asking
            asking.cancel()

        async def ask() -> None:
            while True:
                with contextlib.suppress(TimeoutError):
                    await client.request("question", b"", timeout=5)

        await client.subscribe("question", cb=answer)
        await client.request("question", b"", timeout=5)
        await client.subscribe("_INBOX_services.>", cb=cancel)
        for _ in range(20):
            asking = asyncio.create_task(ask())
            done, _pending = await asyncio.wait({asking}, timeout=5)
            assert done, "it goes on asking"
            assert asking.cancelled()


async def nobody_answers(client: Client) -> None:
    """Wait until that is so."""
    async with asyncio.timeout(10):
        with contextlib.suppress(NoRespondersError):
            while True:
                with contextlib.suppress(TimeoutError):
                    await client.request("question", b"", timeout=1)


async def test_who_leaves_takes_what_has_come_and_no_more(tmp_path: Path) -> None:
    async with real_nats(tmp_path) as server, server.user("services") as client:
        taken: list[bytes] = []

        async def take(message: Msg) -> None:
            await asyncio.sleep(0)
            taken.append(message.data)

        subscription = await client.subscribe("question", cb=take)
        for number in range(100):
            await client.publish("question", b"%d" % number)
        await settle(client)
        await leave(subscription)
        assert taken == [b"%d" % number for number in range(100)]
        await nobody_answers(client)


async def test_who_leaves_a_silent_nats_is_not_back_when_it_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "flush", partialmethod(Client.flush, timeout=0.1))
    async with real_nats(tmp_path) as server, server.user("services") as client:

        async def take(_: Msg) -> None:
            pass

        subscription = await client.subscribe("question", cb=take)
        await settle(client)
        assert server.child.pid
        os.kill(server.child.pid, signal.SIGSTOP)
        try:
            await leave(subscription)
        finally:
            os.kill(server.child.pid, signal.SIGCONT)
        await nobody_answers(client)
        # Nor when it has connected anew.
        await server.child.stop()
        await server.child.start()
        await nobody_answers(client)
