"""A connection to a region's NATS, on a real server: what must hold for whoever waits on it."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from nats.aio.msg import Msg

from real_nats import real_nats


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
