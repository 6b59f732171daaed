"""Every way into a gateway, by real clients on real sockets."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from listener_clients import ANSWER_S, Paho, dialled
from regions import HOME, Regions, two_regions, until
from second_gateway import Second, free_place, second_gateway

from isthmus import config as configs
from isthmus.config import RegionConfig
from isthmus.core.admission import Admission
from isthmus.core.registry import CertificateStatus
from isthmus.wire import mqtt3

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
    https = free_place(regions.place(HOME)[0])
    tls = regions.tls(regions.identity(name))
    async with second_gateway(regions, https=https, server_names=(hostname,)) as gateway:
        for place in (gateway.config.mqtt, https):
            # The client library names no address, so the second is a client without a name.
            for asked in (hostname, place.host):
                async with dialled(place, tls, asked):
                    pass
            with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
                async with dialled(place, tls, regions.system.stable_name):
                    pass


# Without TLS


@asynccontextmanager
async def plain_gateway(regions: Regions, name: str) -> AsyncIterator[Second]:
    """A gateway that serves everybody on this machine as one device."""
    listen = free_place(regions.place(HOME)[0])
    principal = regions.identity(name).certificate_id
    async with second_gateway(regions, plain=listen, plain_principal=principal) as gateway:
        await opened(gateway)
        yield gateway


async def opened(gateway: Second) -> None:
    """Wait until a gateway of ours has caught up."""
    await until("it admits", lambda: gateway._gate.admission is Admission.OPEN)


async def test_without_tls_everybody_is_one_device_and_its_policies_hold(regions: Regions) -> None:
    name, other = await regions.device("plain"), await regions.device("not-plain")
    certificate_id = regions.identity(name).certificate_id
    async with plain_gateway(regions, name) as gateway:
        place = gateway.config.plain
        async with dialled(place) as wire, dialled(place) as stranger:
            assert await wire.connect(name) == 0
            await wire.publish(regions.topic(name), b"without TLS")
            wire.send(mqtt3.Publish(regions.topic(other), b"denied", 1, packet_id=2))
            assert await wire.closed() == []
            assert await stranger.connect(other) == 5
        await regions.operator.revoke(HOME, certificate_id)
        known = gateway._log_view.view
        await until(
            "the gateway knows of it",
            lambda: known.status(certificate_id) is CertificateStatus.REVOKED,
        )
        async with dialled(place) as wire:
            assert await wire.connect(name) == 5
    await until("the lake has it", lambda: bool(regions.lake(HOME, name)))
    assert [row.payload for row in regions.lake(HOME, name)] == ["without TLS"]
    assert regions.lake(HOME, other) == []


async def test_paho_needs_no_certificate_there(regions: Regions) -> None:
    name = await regions.device("plain-paho")
    async with plain_gateway(regions, name) as gateway:
        assert gateway.config.plain is not None
        async with Paho(name, gateway.config.plain) as client:
            await client.echo(regions.topic(name))


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

    async def shown() -> set[bytes]:
        found, tls = set(), regions.tls(regions.identity(newcomer))
        config = config_of(regions)
        for listen in (config.mqtt, config.https):
            async with dialled(listen, tls, hostname) as wire:
                tls_object = wire.writer.get_extra_info("ssl_object")
                found.add(tls_object.getpeercert(binary_form=True))
        return found

    async with regions.client(HOME, name) as wire:
        before = await shown()
        shutil.copy(new.chain, files.certificate)
        shutil.copy(new.key, files.key)

        async def is_new() -> bool:
            return before.isdisjoint(await shown())

        await until("new connections get the new certificate", is_new)
        await wire.publish(regions.topic(name))
    async with regions.client(HOME, newcomer) as wire:
        await wire.publish(regions.topic(newcomer))
