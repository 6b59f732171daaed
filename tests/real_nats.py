"""A real nats-server with the users of one region, for the tests that need no more than that."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nats.aio.client import Client

from isthmus.adapters.nats import connection, streams
from isthmus.adapters.pki import Pki
from isthmus.config import NatsAccess
from isthmus.local import nats_server
from isthmus.local.addresses import Addresses, SiteAddress
from isthmus.local.child import Child

REGIONS = ("eu", "us")


class RealNats:
    """The NATS of region ``eu``, whose peer is ``us``."""

    def __init__(self, directory: Path, place: SiteAddress) -> None:
        self._directory = directory
        self.host, self.port = place.host, place.ports["nats"]
        pki = Pki(directory / "pki")
        self._ca = pki.internal_ca_file
        identity = pki.nats("eu", [], [self.host])
        file = directory / "nats.json"
        nats_server.write_config(
            file,
            region="eu",
            regions=REGIONS,
            host=self.host,
            port=self.port,
            store=directory / "jetstream",
            certificate=identity.chain,
            key=identity.key,
            seeds=directory,
        )
        command = [str(nats_server.find_binary(None)), "-c", str(file)]
        log = directory / "nats.log"
        self.child = Child("nats", command, log, probe=(self.host, self.port))

    @asynccontextmanager
    async def user(
        self, user: str, name: str | None = None, port: int | None = None
    ) -> AsyncIterator[Client]:
        """A connection of one of the region's users; its inboxes bear its name.

        ``port`` is where something leads to the server.
        """
        seed = str(self._directory / f"eu-{user}.nk")
        url = f"tls://{self.host}:{port or self.port}"
        access = NatsAccess(url=url, ca=str(self._ca), nkey_seed=seed)
        client = await connection.connect(access, name=name or user)
        try:
            yield client
        finally:
            await client.close()


async def settle(client: Client) -> None:
    """Return when the server has taken in all that this client said.

    nats-py writes a flush's PING ahead of publishes and subscriptions that it still gathers; it has
    written those by the time of the PONG, so a second PING stands behind them.
    """
    await client.flush()
    await client.flush()


@asynccontextmanager
async def real_nats(directory: Path) -> AsyncIterator[RealNats]:
    """The server, with the region's streams."""
    # Held as long as it serves: tests beside this one find other places.
    addresses = Addresses(["eu"], random.Random(), first=False)
    found = RealNats(directory, addresses.of["eu"])
    try:
        await found.child.start()
        async with found.user("services") as client:
            await streams.ensure_streams(client, REGIONS, 1024**2)
        yield found
    finally:
        await found.child.stop()
        addresses.release()
