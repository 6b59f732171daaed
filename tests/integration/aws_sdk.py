"""Connections of the AWS IoT Device SDK v2, as its users make them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from awscrt import mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from regions import Regions

WITHIN_S = 30.0


async def answered(future: Future[Any]) -> Any:
    return await asyncio.wait_for(asyncio.wrap_future(future), WITHIN_S)


def settle(future: Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


@asynccontextmanager
async def sdk_connection(
    regions: Regions, region: str, certificate: Path, key: Path, version: int, client_id: str
) -> AsyncIterator[Any]:
    """A connection of MQTT 3.1.1, or a client of MQTT 5, that is connected."""
    host, port = regions.place(region)
    shared = {
        "endpoint": host,
        "port": port,
        "ca_filepath": str(regions.system.pki.ca_file),
        "client_id": client_id,
        "cert_filepath": str(certificate),
        "pri_key_filepath": str(key),
    }
    if version == 3:
        connection = mqtt_connection_builder.mtls_from_path(**shared, clean_session=True)
        await answered(connection.connect())
        try:
            yield connection
        finally:
            await answered(connection.disconnect())
        return
    connected: Future[Any] = Future()
    stopped: Future[None] = Future()
    client = mqtt5_client_builder.mtls_from_path(
        **shared,
        on_lifecycle_connection_success=lambda data: settle(connected, data),
        on_lifecycle_stopped=lambda _: settle(stopped, None),
    )
    client.start()
    try:
        await answered(connected)
        yield client
    finally:
        client.stop(mqtt5.DisconnectPacket())
        await answered(stopped)
