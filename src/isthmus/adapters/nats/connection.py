"""Connections to a region's NATS: TLS, an nkey per user, reconnecting for ever."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from isthmus.config import NatsAccess

_log = logging.getLogger(__name__)

#: Seconds between attempts to reconnect: a region that returns should be heard at once.
RECONNECT_WAIT_S = 0.1
#: A frozen server resets nothing; two unanswered pings of one second tell.
PING_INTERVAL_S = 1
PINGS_OUTSTANDING_MAX = 2


class _Client(Client):
    """Drops a connection whose other side is silent at once, instead of saying goodbye to it."""

    async def _attempt_reconnect(self) -> None:
        # nats-py waits for the end of TLS before it connects anew, and a frozen or vanished server
        # never answers it: asyncio would give up after 30 s.
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        await super()._attempt_reconnect()

    async def request(self, *args: Any, **options: Any) -> Msg:
        # nats-py waits with wait_for, which before Python 3.12 loses a cancellation that meets the
        # answer: the task would go on for ever, and its process not stop.
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        answer = await super().request(*args, **options)
        if task and task.cancelling() > before:
            raise asyncio.CancelledError
        return answer


async def _ignore() -> None:
    return None


async def connect(
    access: NatsAccess,
    *,
    name: str,
    on_connect: Callable[[], Awaitable[None]] = _ignore,
    on_disconnect: Callable[[], Awaitable[None]] = _ignore,
) -> Client:
    """Connect, trying until the server is there.

    ``on_connect`` runs after this and after every later connection, ``on_disconnect`` whenever it
    is lost.
    """
    client = _Client()
    context = ssl.create_default_context(cafile=access.ca)

    async def log_error(error: Exception) -> None:
        extra = {"action": "nats-error", "connection": name, "error": repr(error)}
        _log.debug("nats connection error", extra=extra)

    while True:
        try:
            await client.connect(
                access.url.split(","),
                name=name,
                tls=context,
                nkeys_seed=access.nkey_seed,
                # Each user has its inboxes to itself: permissions keep others from listening.
                inbox_prefix=f"_INBOX_{name}",
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]
                connect_timeout=2,
                ping_interval=PING_INTERVAL_S,
                max_outstanding_pings=PINGS_OUTSTANDING_MAX,
                error_cb=log_error,
                disconnected_cb=on_disconnect,
                reconnected_cb=on_connect,
            )
            break
        except (TimeoutError, OSError) as error:
            await log_error(error)
            await asyncio.sleep(RECONNECT_WAIT_S)
    await on_connect()
    return client


async def leave(subscription: Subscription) -> None:
    """Take what has come, and no more. Where NATS is silent that takes ten seconds.

    What the server sends in the moment in which it is told may be lost: nats-py asks whether that
    was all ahead of saying that it leaves. Whoever asks again is answered by somebody else.
    """
    try:
        await subscription.drain()  # type: ignore[no-untyped-call]
    except (NatsError, TimeoutError):
        # nats-py takes it for closed by now, and yet subscribes to it again when it reconnects.
        subscription._closed = False
        with suppress(NatsError):
            await subscription.unsubscribe()
