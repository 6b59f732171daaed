"""Plain clients: stock paho-mqtt in its usual threaded mode, many in one process.

A plain client knows the stable name and nothing else of us. The invariant: nothing here helps it.
It resolves, connects, notices a loss, reconnects and repeats what was not acknowledged by paho's
own code, so what a fleet sees is what an unmodified application would.

paho calls back in a thread of its own while it holds locks that ``publish`` takes as well, so
nothing in a callback waits for a thread that publishes: our lock is held for dictionary operations
only, never around a call of paho.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Literal, cast

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from isthmus.adapters.resolver import ZoneResolver, install_resolver
from isthmus.errors import BrokenInvariant, InputError
from isthmus.fleet.events import EventLog
from isthmus.fleet.plan import ClientPlan, EndpointPlan, FleetPlan

#: Publishes that a client keeps through an outage: at one a second, almost three hours of it.
QUEUED_MAX = 10_000
#: paho waits this long before it tries again, doubling. Its own default is 1 to 120 s, and an
#: outage of half a minute would leave clients waiting for two more after it ended; a device that
#: somebody means to survive an outage has this set, as AWS's own SDKs do.
RECONNECT_DELAY_S = (1, 8)
#: paho waits in select(), which takes no descriptor above 1023. A client has three, and a fourth
#: while it asks a nameserver.
CLIENTS_MAX = 240
#: Seconds between the starts of two clients. Vehicles are not switched on in the same instant, and
#: a first attempt that fails in the crush is repeated by paho after three seconds only.
START_PAUSE_S = 0.005
#: Threads that are waited for at once at the end; each may be up to a second in its sleep.
CLOSING_MAX = 32

#: ``trying`` from the beginning of an attempt to its CONNACK. paho tells of some losses twice.
_State = Literal["down", "trying", "up"]


class PlainRunner:
    """One paho client (run.FleetClient), used in the event loop and called back in a thread."""

    def __init__(self, plan: FleetPlan, client: ClientPlan, log: EventLog) -> None:
        self.name = client.name
        self.connected = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._topic = client.topic
        self._log = log
        self._endpoints: Sequence[EndpointPlan] = plan.endpoints
        self._region: str | None = None
        self._state: _State = "down"
        self._lock = threading.Lock()
        #: Sequence of each publish that was not acknowledged, by paho's message id.
        self._waiting: dict[int, int] = {}
        #: Message ids that were acknowledged before ``publish`` had returned them.
        self._early: set[int] = set()
        self._settling = False
        self._idle = asyncio.Event()
        self._client: mqtt.Client | None = self._build(plan, client)

    def _build(self, plan: FleetPlan, client: ClientPlan) -> mqtt.Client:
        paho = mqtt.Client(
            CallbackAPIVersion.VERSION2, client.name, clean_session=True, protocol=mqtt.MQTTv311
        )
        paho.tls_set(plan.ca_file, client.certificate, client.key)
        # One more than we let it have, as it forgets a message after it told us and not before.
        paho.max_queued_messages_set(QUEUED_MAX + 1)
        paho.reconnect_delay_set(*RECONNECT_DELAY_S)
        paho.on_pre_connect = self._on_pre_connect
        paho.on_connect = self._on_connect
        paho.on_connect_fail = self._on_connect_fail
        paho.on_disconnect = self._on_disconnect
        paho.on_publish = self._on_publish
        # The port is the usual one of a region: install_resolver finds the real one in DNS.
        paho.connect_async(plan.stable_name, plan.endpoints[0].port, plan.keep_alive_s)
        return paho

    @property
    def outstanding(self) -> int:
        """How many publishes were not acknowledged yet."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to connect, in a thread of paho's."""
        assert self._client
        self._client.loop_start()

    def publish(self, seq: int, payload: bytes) -> bool:
        """Publish; False if it was not taken and the same ``seq`` is to be tried again."""
        assert self._client
        if len(self._waiting) >= QUEUED_MAX:
            how = f"{QUEUED_MAX} publishes wait for an acknowledgement"
            self._log.record(self.name, "refused", seq=seq, how=how)
            return False
        # Before the fact, because the acknowledgement may overtake this thread.
        self._log.record(self.name, "sent", seq=seq, region=self._region)
        sent = self._client.publish(self._topic, payload, qos=1)
        # Without a connection paho keeps the message and says so.
        if sent.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise BrokenInvariant(f"{self.name}: paho did not take {seq}: {sent.rc!r}")
        with self._lock:
            is_acknowledged = sent.mid in self._early
            self._early.discard(sent.mid)
            if not is_acknowledged:
                self._waiting[sent.mid] = seq
        if is_acknowledged:
            self._log.record(self.name, "acked", seq=seq, region=self._region)
        return True

    async def settled(self) -> None:
        """Return when everything published was acknowledged."""
        with self._lock:
            self._settling = True
            if not self._waiting:
                return
        await self._idle.wait()

    def request_close(self) -> None:
        """Tell paho to disconnect and to forget what was not acknowledged."""
        assert self._client
        # Its thread would else go on until a region acknowledged everything.
        self._client.drop_out_messages()
        self._client.disconnect()

    def close(self) -> None:
        """Wait for paho's thread; blocks for as long as an attempt to connect takes."""
        if self._client is None:
            return
        self._client.loop_stop()
        # A thread that was just connecting took no notice of the first one.
        if self._client.socket():
            self._client.disconnect()
        # paho closes its pair of wake-up sockets when it is collected: leave no cycle.
        self._client.on_pre_connect = self._client.on_connect = None
        self._client.on_connect_fail = self._client.on_disconnect = None
        self._client.on_publish = None
        self._client = None

    # What paho calls, in its thread.

    def _on_pre_connect(self, _client: mqtt.Client, _userdata: Any) -> None:
        self._state = "trying"

    def _on_connect(
        self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        region = self._region_of(client)
        if reason.is_failure:
            self._state = "down"
            self._log.record(self.name, "refused", region=region, how=str(reason))
            return
        self._state, self._region = "up", region
        self._log.record(self.name, "connected", region=region)
        if not self.connected.is_set():
            self._loop.call_soon_threadsafe(self.connected.set)

    def _on_connect_fail(self, _client: mqtt.Client, _userdata: Any) -> None:
        # paho passes no reason, but calls from where it handles the error.
        self._state = "down"
        self._log.record(self.name, "refused", how=str(sys.exception() or "no connection"))

    def _on_disconnect(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        before, self._state = self._state, "down"
        if before == "up":
            self._log.record(self.name, "lost", region=self._region, how=str(reason))
        elif before == "trying":
            self._log.record(self.name, "refused", how=f"no CONNACK: {reason}")
        self._region = None

    def _on_publish(
        self, _client: mqtt.Client, _userdata: Any, mid: int, _reason: Any, _properties: Any
    ) -> None:
        with self._lock:
            seq = self._waiting.pop(mid, None)
            if seq is None:
                self._early.add(mid)
                return
            is_last = self._settling and not self._waiting
        self._log.record(self.name, "acked", seq=seq, region=self._region)
        if is_last:
            self._loop.call_soon_threadsafe(self._idle.set)

    def _region_of(self, client: mqtt.Client) -> str | None:
        """Whose address the other end has; None if the connection is gone already."""
        sock = cast(ssl.SSLSocket | None, client.socket())
        try:
            place = tuple(sock.getpeername()[:2]) if sock else None
        except OSError:
            return None
        known = (each.region for each in self._endpoints if (each.address, each.port) == place)
        return next(known, None)


@asynccontextmanager
async def plain_clients(plan: FleetPlan, log: EventLog) -> AsyncIterator[Sequence[PlainRunner]]:
    """Run the plain clients of a plan; at the end no thread and no socket is left.

    While they run, ``socket.getaddrinfo`` of this process finds the stable name at our
    nameservers, as it would where the name is delegated to them.
    """
    chosen = plan.of_kind("plain")
    if len(chosen) > CLIENTS_MAX:
        raise InputError(f"{len(chosen)} plain clients; one process takes {CLIENTS_MAX}")
    resolver = ZoneResolver(plan.nameservers, chance=random.Random(plan.seed))
    undo = install_resolver(resolver, plan.stable_name)
    runners: list[PlainRunner] = []
    try:
        for _, client in chosen:
            runners.append(PlainRunner(plan, client, log))
            runners[-1].start()
            await asyncio.sleep(START_PAUSE_S)
        yield runners
    finally:
        await _close(runners)
        undo()


async def _close(runners: Sequence[PlainRunner]) -> None:
    """Close all clients; told all at once, they take no longer than the slowest."""
    for each in runners:
        each.request_close()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(CLOSING_MAX, "closing") as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, each.close) for each in runners))
