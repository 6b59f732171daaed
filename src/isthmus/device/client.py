"""The device client: publishes at QoS 1 through whichever region serves, and loses nothing.

Invariant: what ``send`` took is kept, in order, until a region acknowledged it. One task connects,
waits for the end of the session, asks ``core.reconnect`` what to do, and starts over; a second one
polls DNS while a session lasts. It needs nothing but Python.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from isthmus.core.outbox import Message, Outbox
from isthmus.core.reconnect import Decision, Endpoint, Reconnect
from isthmus.device.connection import Connection, Ended, Sent, Subscription
from isthmus.device.events import Acked, Connected, Event, Lost, Moved, Unsubscribed
from isthmus.device.names import Names
from isthmus.errors import InputError, Unavailable
from isthmus.wire import mqtt3
from isthmus.wire.topics import matches, validate_filter, validate_topic

if TYPE_CHECKING:
    from isthmus.ports import Resolver

#: What AWS IoT Core allows; more would be refused there.
PAYLOAD_BYTES_MAX = 128 * 1024
SUBSCRIPTIONS_MAX = 50


class DeviceClient:
    """One device. Endpoints come in its order of preference.

    ``certificate``, ``key`` and ``ca`` are PEM files. ``resolver`` is the machine's by default.
    ``on_event`` is called with each of ``device.events`` and must be quick.
    """

    def __init__(
        self,
        client_id: str,
        certificate: str | Path,
        key: str | Path,
        ca: str | Path,
        stable_name: str,
        endpoints: Sequence[Endpoint],
        *,
        resolver: Resolver | None = None,
        rng: random.Random | None = None,
        keep_alive_s: int = 30,
        ack_timeout_s: float = 2.5,
        connect_timeout_s: float = 1.5,
        dns_poll_s: float = 30.0,
        outbox_limit: int = 10_000,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        if not 0 < keep_alive_s <= 0xFFFF:
            raise InputError(f"keep_alive_s is {keep_alive_s}", hint="1 to 65535 seconds")
        self._connect = mqtt3.Connect(client_id, keep_alive_s=keep_alive_s)
        self._tls = _client_context(certificate, key, ca)
        self._rng = rng or random.Random()
        self._reconnect = Reconnect(endpoints, self._rng)
        self._names = Names(stable_name, endpoints, resolver)
        self._ack_timeout_s = ack_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._dns_poll_s = dns_poll_s
        self._on_event = on_event
        self._outbox: Outbox[Sent] = Outbox(outbox_limit)
        self._subscriptions: dict[str, Subscription] = {}
        self._connection: Connection | None = None
        self._region: str | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def region(self) -> str | None:
        """The region that serves us now."""
        return self._region

    async def __aenter__(self) -> Self:
        """Begin to connect; publishes may be sent at once and wait for a region."""
        self._task = asyncio.create_task(self._run(), name=f"device {self._connect.client_id}")
        self._task.add_done_callback(self._give_up)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Say DISCONNECT and stop. What was not acknowledged fails with Unavailable."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1; returns when a region acknowledged it.

        Cancelling stops the waiting and not the publish.
        """
        await self.send(topic, payload)

    def send(self, topic: str, payload: bytes, token: object = None) -> asyncio.Future[None]:
        """Take a publish and answer a future that is done when a region acknowledged it.

        Raises OutboxFull, and InputError or MalformedPacket for what no region would take.
        """
        validate_topic(topic)
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise InputError(f"a payload of {len(payload)} bytes; at most {PAYLOAD_BYTES_MAX}")
        self._check_running()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outbox.add(Message(topic, payload, Sent(done, token)))
        if self._connection:
            self._connection.pump_soon()
        return done

    async def subscribe(self, topic_filter: str, callback: Callable[[str, bytes], None]) -> None:
        """Have ``callback`` called with topic and payload of what matches, in every session.

        Returns when a region granted it; raises Unavailable if it refused.
        """
        validate_filter(topic_filter)
        self._check_running()
        others = self._subscriptions.keys() - {topic_filter}
        if len(others) >= SUBSCRIPTIONS_MAX:
            raise InputError(f"more than {SUBSCRIPTIONS_MAX} filters on one connection")
        before = self._subscriptions.get(topic_filter)
        # Subscribing again replaces the callback; whoever still waits, waits for the same answer.
        pending = before.granted if before and not before.granted.done() else None
        granted = pending or asyncio.get_running_loop().create_future()
        subscription = Subscription(topic_filter, callback, granted)
        self._subscriptions[topic_filter] = subscription
        if self._connection:
            self._connection.subscribe(subscription)
        await asyncio.shield(granted)

    # What a connection tells us (connection.Owner).

    def acknowledged(self, sent: Sent) -> None:
        """Let whoever waits for this publish go on."""
        if not sent.done.done():
            sent.done.set_result(None)
        self._emit(Acked(sent.token))

    def received(self, publish: mqtt3.Publish) -> None:
        """Call whoever subscribed to this topic."""
        for each in list(self._subscriptions.values()):
            if matches(each.topic_filter, publish.topic):
                self._call(each.callback, publish.topic, publish.payload)

    def answered(self, subscription: Subscription, *, granted: bool) -> None:
        """Take the region's word on a filter."""
        waiting = not subscription.granted.done()
        if granted and waiting:
            subscription.granted.set_result(None)
        if granted:
            return
        topic_filter = subscription.topic_filter
        if self._subscriptions.get(topic_filter) is subscription:
            del self._subscriptions[topic_filter]
        if waiting:
            subscription.granted.set_exception(Unavailable(f"{topic_filter!r} was refused"))
        else:
            self._emit(Unsubscribed(self._region, topic_filter))

    # The loop of sessions.

    async def _run(self) -> None:
        decision = self._reconnect.start(await self._names.region())
        while True:
            self._emit(Moved(decision.endpoint.region, decision.delay_s, decision.reason))
            await asyncio.sleep(decision.delay_s)
            ended = await self._attempt(decision.endpoint)
            decision = await self._decide(decision.endpoint.region, ended)

    async def _decide(self, region: str, ended: Ended) -> Decision:
        # What moved us was DNS's answer: there is nothing to ask again.
        answer = None if ended.how == "moved" else await self._names.region()
        return self._reconnect.ended(ended.how, region, answer, _now_s())

    async def _attempt(self, endpoint: Endpoint) -> Ended:
        """Connect, serve until the session ends, and leave nothing of it behind."""
        try:
            connection = await self._open(endpoint)
        except TimeoutError:
            self._names.doubt(endpoint)
            return Ended("silent", f"no connection within {self._connect_timeout_s} s")
        except OSError as error:
            self._names.doubt(endpoint)
            return Ended("closed", str(error))
        try:
            if await self._is_accepted(connection):
                await self._serve(endpoint.region, connection)
        finally:
            self._connection = self._region = None
            connection.end("moved", "the client was closed")
            await connection.gone()
        return connection.ended.result()

    async def _open(self, endpoint: Endpoint) -> Connection:
        host, port = await self._names.place(endpoint)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_timeout_s):
            _, connection = await loop.create_connection(
                self._new_connection,
                host,
                port,
                ssl=self._tls,
                # Whatever the address, it is this name that the certificate must prove.
                server_hostname=endpoint.hostname,
            )
        return connection

    def _new_connection(self) -> Connection:
        return Connection(
            self._connect, self._outbox, self._subscriptions, self, self._ack_timeout_s
        )

    async def _is_accepted(self, connection: Connection) -> bool:
        await asyncio.wait((connection.accepted,), timeout=self._connect_timeout_s)
        if not connection.accepted.done():
            connection.end("silent", f"no CONNACK within {self._connect_timeout_s} s")
        return connection.accepted.result()

    async def _serve(self, region: str, connection: Connection) -> None:
        self._connection, self._region = connection, region
        self._reconnect.connected(region, _now_s())
        self._emit(Connected(region))
        async with asyncio.TaskGroup() as tasks:
            poll = tasks.create_task(self._poll_dns(connection))
            await asyncio.wait((connection.ended,))
            poll.cancel()
        ended = connection.ended.result()
        self._emit(Lost(region, ended.how, ended.detail))

    async def _poll_dns(self, connection: Connection) -> None:
        while True:
            # Jitter, or a fleet that started as one would ask as one for ever.
            await asyncio.sleep(self._dns_poll_s * self._rng.uniform(0.5, 1.5))
            if self._reconnect.on_answer(await self._names.region()):
                await connection.drain()
                connection.end("moved", "DNS names another region")
                return

    def _give_up(self, task: asyncio.Task[None]) -> None:
        """Fail everything that still waits: nobody is left to do it."""
        crash = None if task.cancelled() else task.exception()
        waiting = [message.token.done for message in self._outbox.clear()]
        waiting += [each.granted for each in self._subscriptions.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(crash or Unavailable("the client was closed"))
                # Marks it as seen: not everybody who sent waits for the answer.
                future.exception()

    def _check_running(self) -> None:
        if self._task is None or self._task.done():
            raise Unavailable("the client is not running", hint="async with client: ...")

    def _emit(self, event: Event) -> None:
        if self._on_event:
            self._call(self._on_event, event)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        """Call the application, whose mistake must not cost the session."""
        try:
            callback(*args)
        except Exception as error:  # whatever it raised is reported where asyncio's users look
            context = {"message": "a device client's callback failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)


def _client_context(certificate: str | Path, key: str | Path, ca: str | Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(ca)
    context.load_cert_chain(certificate, key)
    return context


def _now_s() -> float:
    return asyncio.get_running_loop().time()
