"""Our device clients, many in one process, and what they see.

The invariant: an event says what the device client says and nothing more, so that a fleet's
account of it is the application's view and not a look inside.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from isthmus.adapters.resolver import ZoneResolver
from isthmus.core.outbox import OutboxFull
from isthmus.device import DeviceClient, Endpoint
from isthmus.device.events import Acked, Connected, Event, Lost, Moved, Unsubscribed
from isthmus.fleet.events import EventLog
from isthmus.fleet.plan import ClientPlan, FleetPlan
from isthmus.ports import Resolver


class DeviceRunner:
    """One device client (run.FleetClient)."""

    def __init__(
        self, plan: FleetPlan, client: ClientPlan, resolver: Resolver, log: EventLog
    ) -> None:
        self.name = client.name
        self.connected = asyncio.Event()
        self._topic = client.topic
        self._log = log
        self._outstanding: set[asyncio.Future[None]] = set()
        #: The region of an attempt that was neither accepted nor given up yet.
        self._trying: str | None = None
        self.client = DeviceClient(
            client.name,
            client.certificate,
            client.key,
            plan.ca_file,
            plan.stable_name,
            [
                Endpoint(each.region, each.hostname, each.port, each.address)
                for each in plan.endpoints
            ],
            resolver=resolver,
            rng=random.Random(f"{plan.seed}/{client.name}"),
            keep_alive_s=plan.keep_alive_s,
            ack_timeout_s=plan.ack_timeout_s,
            connect_timeout_s=plan.connect_timeout_s,
            dns_poll_s=plan.dns_poll_s,
            on_event=self._on_event,
        )

    @property
    def outstanding(self) -> int:
        """How many publishes were not acknowledged yet."""
        return sum(not each.done() or bool(each.exception()) for each in self._outstanding)

    def publish(self, seq: int, payload: bytes) -> bool:
        """Publish; False if it was not taken and the same ``seq`` is to be tried again."""
        try:
            future = self.client.send(self._topic, payload, seq)
        except OutboxFull as error:
            self._log.record(self.name, "refused", seq=seq, how=error.args[0])
            return False
        self._log.record(self.name, "sent", seq=seq, region=self.client.region)
        self._outstanding.add(future)
        future.add_done_callback(self._acknowledged)
        return True

    async def settled(self) -> None:
        """Return when everything published was acknowledged, or never will be."""
        if self._outstanding:
            await asyncio.wait(self._outstanding)

    def _acknowledged(self, future: asyncio.Future[None]) -> None:
        # One that failed because the client was closed stays outstanding.
        if future.exception() is None:
            self._outstanding.discard(future)

    def _on_event(self, event: Event) -> None:
        match event:
            case Connected(region):
                self._trying = None
                self._log.record(self.name, "connected", region=region)
                self.connected.set()
            case Lost(region, how, detail):
                self._log.record(self.name, "lost", region=region, how=f"{how}: {detail}")
            case Acked(int(seq)):
                self._log.record(self.name, "acked", seq=seq, region=self.client.region)
            case Moved(region, _, reason):
                # An attempt that came to nothing shows only by the next decision, which says why.
                if self._trying:
                    self._log.record(self.name, "refused", region=self._trying, how=reason)
                self._trying = region
                self._log.record(self.name, "moved", region=region, how=reason)
            case Acked() | Unsubscribed():
                pass


@asynccontextmanager
async def device_clients(plan: FleetPlan, log: EventLog) -> AsyncIterator[Sequence[DeviceRunner]]:
    """Run the device clients of a plan; at the end all of them close at once."""
    resolver = ZoneResolver(plan.nameservers, chance=random.Random(plan.seed))
    runners = [DeviceRunner(plan, client, resolver, log) for _, client in plan.of_kind("device")]
    try:
        for each in runners:
            await each.client.__aenter__()
        yield runners
    finally:
        await asyncio.gather(*(each.client.aclose() for each in runners))
