"""The canary against a small gateway on real TLS sockets that can fail in every way."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
from site_pki import SitePki

from isthmus.adapters.tls import server_context
from isthmus.config import Listen, RoutedRegion, SiteConfig, SitePeer
from isthmus.director.canary import CanaryProber
from isthmus.wire import mqtt3

STABLE = "iot.example.com"


class Gateway:
    """Serves a canary as it should, but for the one thing that ``fault`` names."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.fault = ""
        self.clients: list[str] = []
        self.topics: list[str] = []
        self.payloads: list[bytes] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        decoder = mqtt3.Decoder()
        try:
            while data := await reader.read(4096):
                for packet in decoder.feed(data):
                    for answer in self._answers(packet):
                        writer.write(answer if isinstance(answer, bytes) else mqtt3.encode(answer))
                if self.fault == "closes":
                    break
        except OSError:
            pass
        writer.transport.abort()

    def _answers(self, packet) -> list:
        match packet:
            case mqtt3.Connect():
                self.clients.append(packet.client_id)
                if self.fault == "no CONNACK":
                    return []
                if self.fault == "not MQTT":
                    return [b"\x00" * 8]
                return [mqtt3.Connack(False, 3 if self.fault == "unavailable" else 0)]
            case mqtt3.Subscribe():
                self.topics += [each.topic_filter for each in packet.filters]
                code = 0x80 if self.fault == "refuses" else 0
                return [mqtt3.Suback(packet.packet_id, (code,))]
            case mqtt3.Publish():
                return self._echoes(packet)
        return []

    def _echoes(self, packet: mqtt3.Publish) -> list:
        self.payloads.append(packet.payload)
        acks = [] if self.fault == "no PUBACK" else [mqtt3.Puback(packet.packet_id)]
        if self.fault == "no echo":
            return acks
        payload = b"retained" if self.fault == "wrong echo" else packet.payload
        echoes = [mqtt3.Publish(packet.topic, payload)]
        return acks + echoes * (2 if self.fault == "twice" else 1)


class Scene:
    """A gateway and a canary that knows it."""

    def __init__(self, directory) -> None:
        self.pki = SitePki(directory)
        self.directory = directory
        identity = self.pki.issue("eu-gateway", "region", hostnames=(f"eu.{STABLE}",))
        self.gateway = Gateway(server_context(identity))

    def region(self, **changes) -> RoutedRegion:
        fields = {"name": "eu", "hostname": f"eu.{STABLE}", "address": "127.0.0.1"}
        return RoutedRegion(**(fields | {"mqtt_port": self.gateway.port} | changes))

    def prober(self, timeout_s: float = 30.0, tls=None) -> CanaryProber:
        canary = tls or self.pki.issue("canary", "device")
        here = Listen(host="127.0.0.1", port=0)
        return CanaryProber(
            SiteConfig(
                site="witness",
                state_dir="",
                sites=(SitePeer(name="witness", url="https://127.0.0.1"),),
                regions=(self.region(),),
                stable_name=STABLE,
                dns=here,
                mesh=here,
                mesh_tls=canary,
                canary_tls=canary,
                probe_timeout_s=timeout_s,
            )
        )


@pytest.fixture
async def scene(tmp_path):
    scene = Scene(tmp_path)
    await scene.gateway.start()
    yield scene
    await scene.gateway.stop()


async def test_a_probe_succeeds_and_every_one_has_a_nonce_of_its_own(scene):
    prober = scene.prober()
    for _ in range(3):
        assert await prober.probe(scene.region()) is None
    assert scene.gateway.clients == ["canary-witness-eu"] * 3
    assert set(scene.gateway.topics) == {"isthmus/canary/witness/eu"}
    assert len(set(scene.gateway.payloads)) == 6


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("unavailable", "CONNACK 3, server unavailable"),
        ("closes", "closed by the gateway while waiting for SUBACK"),
        ("refuses", "its subscription was refused"),
        ("wrong echo", "got back other messages than it published"),
        ("twice", "got back other messages than it published"),
        ("not MQTT", "not MQTT: "),
    ],
)
async def test_a_failure_says_what_failed(scene, fault, reason):
    scene.gateway.fault = fault
    assert (await scene.prober().probe(scene.region()) or "").startswith(reason)


@pytest.mark.parametrize(
    ("fault", "stage"),
    [
        ("no CONNACK", "CONNACK"),
        ("no PUBACK", "PUBACK"),
        ("no echo", "its own messages"),
    ],
)
async def test_a_timeout_says_what_it_waited_for(scene, fault, stage):
    scene.gateway.fault = fault
    assert await scene.prober(0.3).probe(scene.region()) == f"timed out while waiting for {stage}"


async def test_a_frozen_gateway_times_out_in_tls(scene):
    with socket.socket() as frozen:
        frozen.bind(("127.0.0.1", 0))
        frozen.listen()
        region = scene.region(mqtt_port=frozen.getsockname()[1])
        assert await scene.prober(0.3).probe(region) == "timed out while waiting for TLS"


async def test_a_dead_gateway_refuses(scene):
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        region = scene.region(mqtt_port=dead.getsockname()[1])
        assert await scene.prober().probe(region) == "connection refused"


async def test_another_regions_certificate_will_not_do(scene):
    reason = await scene.prober().probe(scene.region(hostname=f"us.{STABLE}"))
    assert reason is not None
    assert reason.startswith("its certificate is not valid: Hostname mismatch")


async def test_a_canary_that_the_gateway_does_not_know_is_told_so(scene, tmp_path):
    (tmp_path / "other").mkdir()
    stranger = SitePki(tmp_path / "other").issue("canary", "device")
    tls = type(stranger)(certificate=stranger.certificate, key=stranger.key, ca=str(scene.pki.ca))
    reason = await scene.prober(tls=tls).probe(scene.region())
    assert reason is not None
    assert "TLS" in reason or "closed" in reason or "reset" in reason
