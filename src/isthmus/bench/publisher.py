"""A client that publishes at QoS 1 and holds the server to its acknowledgements."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from isthmus.bench.acks import AckReader
from isthmus.bench.client import Faults, MqttClient
from isthmus.bench.plan import Client
from isthmus.errors import Unavailable

#: Until everything that was sent must be acknowledged, once nothing more is sent.
SETTLE_S = 15.0


class Publisher(MqttClient):
    """One client; ``acknowledged`` is what a load does when some of its publishes are."""

    def __init__(self, client: Client, faults: Faults, ids: int) -> None:
        super().__init__(client, faults)
        self.acks = AckReader(ids)
        self.running = True
        #: Everything that was sent is acknowledged, and no more will be.
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def acknowledged(self, count: int) -> None:
        """So many more publishes are acknowledged."""

    def received(self, data: bytes) -> None:
        self.acknowledged(self.acks.feed(data))
        self._check_settled()

    def stop(self) -> None:
        """Send nothing more."""
        self.running = False
        self._check_settled()

    def _check_settled(self) -> None:
        if not self.running and not self.acks.owed and not self.settled.done():
            self.settled.set_result(None)


async def settle(publishers: Sequence[Publisher], faults: Faults) -> int:
    """Stop everybody, and return how many publishes were acknowledged, once all are.

    Raises Unavailable if some stay unanswered.
    """
    for each in publishers:
        each.stop()
    if not await faults.until([each.settled for each in publishers], SETTLE_S):
        owed = sum(each.acks.owed for each in publishers)
        raise Unavailable(f"{owed} publishes were not acknowledged within {SETTLE_S:.0f} s")
    return sum(each.acks.acked for each in publishers)
