"""Regions of ours, as a stand for a bench of the AWS-compatible API: sites included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import psutil

from isthmus.bench.api_client import ApiClient, Server
from isthmus.bench.plan import AccessKey, Outcome
from isthmus.bench.regions import complaints, local_system, until_open
from isthmus.bench.stand import Complete, Ended, Stand, Target, Tools
from isthmus.clock import monotonic_s
from isthmus.errors import Unavailable
from isthmus.local.operator import Operator
from isthmus.local.system import LocalSystem

POLL_S = 0.02
#: For a process that starts to have read the whole log.
STARTED_WITHIN_S = 180.0
ROLE = "admin"


def isthmus_api(*regions: str, restarts: bool = False) -> Stand:
    """Regions as `isthmus up` starts them, with an access key.

    ``restarts``: once clients are done, the API's process of the first region is started again,
    and its time and memory are told.
    """

    @asynccontextmanager
    async def stand(directory: Path, tools: Tools) -> AsyncIterator[Target]:
        ended = Ended()
        async with local_system(directory, regions, tools, ended) as (system, operator):
            await asyncio.gather(*(system.start(region) for region in regions))
            await until_open(operator, regions, 0)
            home = regions[0]
            server = await api_server(system, operator, home)
            yield api_target(
                system, server, ended, _Restart(system, home, server) if restarts else None
            )

    return stand


async def api_server(system: LocalSystem, operator: Operator, region: str) -> Server:
    """The API of a region, with an access key made for it, once it answers."""
    made = await operator.create_access_key(region, ROLE)
    key = AccessKey(key_id=made["id"], secret=made["secret"], region=region)
    address = system.address(region)
    server = Server(
        address.host,
        address.ports["aws_api"],
        system.hostname(region),
        str(system.pki.ca_file),
        key,
    )
    await until_answered(server)
    return server


def api_target(
    system: LocalSystem, server: Server, ended: Ended, complete: Complete | None
) -> Target:
    """The API of a region, for clients."""
    return Target(
        host=server.host,
        port=server.port,
        hostname=server.hostname,
        ca_file=system.pki.ca_file,
        clients=(),
        crowd=(),
        servers=system.pids(),
        sources=(),
        check=ended.check,
        complete=complete,
        access_key=server.key,
        complaints=lambda: complaints(system),
    )


class _Restart:
    """Starts the API's process again once the region has something to read."""

    def __init__(self, system: LocalSystem, region: str, server: Server) -> None:
        self._child = system.child(region, "api")
        self._server = server
        #: Of a process that started with nothing to read.
        self._empty_bytes = self._bytes()

    async def __call__(self, outcome: Outcome) -> Outcome:
        await self._child.stop()
        began_s = monotonic_s()
        await self._child.start()
        await until_answered(self._server)
        start_s = monotonic_s() - began_s
        growth = {self._child.name: self._bytes() - self._empty_bytes}
        return msgspec.structs.replace(outcome, start_s=start_s, memory_growth=growth)

    def _bytes(self) -> int:
        return int(psutil.Process(self._child.pid).memory_info().rss)


async def until_answered(server: Server) -> None:
    """Wait until an API answers a signed request."""
    try:
        async with asyncio.timeout(STARTED_WITHIN_S):
            while True:
                with suppress(Unavailable):
                    async with ApiClient(server) as client:
                        await client.list_page(1)
                        return
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise Unavailable(f"the API does not answer after {STARTED_WITHIN_S:.0f} s") from None
