"""Every way into a gateway, by real clients on real sockets."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from mqtt_wire import Wire
from regions import HOME, Regions, two_regions, until
from second_gateway import second_gateway

from isthmus import config as configs
from isthmus.config import RegionConfig
from isthmus.wire import mqtt3

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWER_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        yield started


def config_of(regions: Regions, region: str = HOME) -> RegionConfig:
    return configs.load(regions.system.region_dir(region) / "region.toml", RegionConfig)


# Names


async def test_a_wrong_name_fails_and_no_name_passes(regions: Regions) -> None:
    name = await regions.device("names")
    hostname = regions.system.hostname(HOME)
    async with second_gateway(regions, server_names=(hostname,)) as gateway:
        host, port = gateway.config.mqtt.host, gateway.config.mqtt.port
        tls = regions.tls(regions.identity(name))
        # The client library names no address, so this is a client without a name.
        for asked in (hostname, host):
            wire = await Wire.open(host, port, tls, asked)
            await wire.abort()
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            await Wire.open(host, port, tls, regions.system.stable_name)


# Sessions that are resumed


class Resumed:
    """A client that comes back by the ticket of its last connection."""

    def __init__(self, regions: Regions, name: str, version: str) -> None:
        self._regions, self._name = regions, name
        self._tls = regions.tls(regions.identity(name))
        self._tls.minimum_version = self._tls.maximum_version = ssl.TLSVersion[version]
        self._session: ssl.SSLSession | None = None

    async def connect(self) -> tuple[bool, int]:
        """Whether the session was resumed, and what CONNACK says."""
        return await asyncio.to_thread(self._connect)

    def _connect(self) -> tuple[bool, int]:
        hostname = self._regions.system.hostname(HOME)
        with (
            socket.create_connection(self._regions.place(HOME), ANSWER_S) as raw,
            self._tls.wrap_socket(raw, server_hostname=hostname, session=self._session) as wire,
        ):
            wire.sendall(mqtt3.encode(mqtt3.Connect(self._name)))
            (answer,) = mqtt3.Decoder().feed(wire.recv(100))
            assert isinstance(answer, mqtt3.Connack)
            self._session = wire.session
            return bool(wire.session_reused), answer.return_code


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_a_revoked_certificate_is_refused_in_a_resumed_session_too(
    regions: Regions, version: str
) -> None:
    name = await regions.device(f"revoked-{version[-1]}")
    client = Resumed(regions, name, version)
    assert await client.connect() == (False, 0)
    assert await client.connect() == (True, 0)
    await regions.operator.revoke(HOME, regions.identity(name).certificate_id)

    async def refused() -> bool:
        resumed, code = await client.connect()
        assert resumed
        return code == 5

    await until("the gateway knows of it", refused)


# Certificates of the gateway


async def test_a_replaced_certificate_is_shown_to_who_connects_and_drops_nobody(
    regions: Regions,
) -> None:
    name, newcomer = await regions.device("stays"), await regions.device("comes-later")
    files = config_of(regions).mqtt_tls
    hostname, (host, _) = regions.system.hostname(HOME), regions.place(HOME)
    new = regions.system.pki.gateway("replaced", [hostname], [host])

    async def shown() -> bytes:
        async with regions.wire(HOME, newcomer) as wire:
            return wire.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)

    async with regions.client(HOME, name) as wire:
        before = await shown()
        shutil.copy(new.chain, files.certificate)
        shutil.copy(new.key, files.key)

        async def is_new() -> bool:
            return await shown() != before

        await until("new connections get the new certificate", is_new)
        await wire.publish(regions.topic(name))
    async with regions.client(HOME, newcomer) as wire:
        await wire.publish(regions.topic(newcomer))
