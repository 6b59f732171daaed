"""The canary: a device of our own that must get back exactly what it published in this probe.

It comes in by the front door, mutual TLS and MQTT 3.1.1, so it fails where a device would fail. A
nonce per probe keeps a retained or repeated message from passing for a sign of life. The session
is closed in every case, and a new one takes over what an earlier probe may have left behind.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from dataclasses import dataclass, field

from isthmus.adapters.tls import client_context
from isthmus.config import RoutedRegion, SiteConfig
from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt3

#: Messages per probe: two show that a session goes on after its first one.
MESSAGES = 2
KEEP_ALIVE_S = 10
READ_BYTES_MAX = 4096
#: A peer that does not answer the end of TLS is not waited for.
TLS_SHUTDOWN_S = 0.2

#: MQTT 3.1.1 section 3.2.2.3.
REFUSALS = {
    1: "unacceptable protocol version",
    2: "client identifier rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorised",
}


class _ProbeFailedError(Exception):
    """The region answered, and not as it should."""


@dataclass
class _Progress:
    """What the probe is waiting for, so that a timeout can say so."""

    stage: str = "connecting"
    acknowledged: set[int] = field(default_factory=set)
    received: list[bytes] = field(default_factory=list)


class CanaryProber:
    """Implements observer.Prober by a real device's conversation with a region's gateway."""

    def __init__(self, config: SiteConfig) -> None:
        self._site = config.site
        self._prefix = config.canary_prefix
        self._timeout_s = config.probe_timeout_s
        # Made once: reading a CA costs more than a handshake.
        self._context = client_context(config.canary_tls)

    async def probe(self, region: RoutedRegion) -> str | None:
        """Answer None if the region served the canary, else why not."""
        progress = _Progress()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._converse(region, progress)
        except TimeoutError:
            return f"timed out while {progress.stage}"
        except _ProbeFailedError as error:
            return str(error)
        except ConnectionRefusedError:
            return "connection refused"
        except ssl.SSLCertVerificationError as error:
            return f"its certificate is not valid: {error.verify_message}"
        except ssl.SSLError as error:
            return f"TLS failed while {progress.stage}: {error.reason or error}"
        except MalformedPacket as error:
            return f"not MQTT: {error}"
        except OSError as error:
            return f"{error.strerror or 'connection lost'} while {progress.stage}"
        return None

    async def _converse(self, region: RoutedRegion, progress: _Progress) -> None:
        reader, writer = await self._connect(region, progress)
        try:
            packets = _Packets(reader)
            await self._open(region, writer, packets, progress)
            await self._round_trip(region, writer, packets, progress)
            writer.write(mqtt3.encode(mqtt3.Disconnect()))
            writer.close()
        finally:
            # After a good probe this comes once the goodbye is on its way.
            if not writer.is_closing():
                writer.transport.abort()

    async def _connect(
        self, region: RoutedRegion, progress: _Progress
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        family = socket.AF_INET6 if ":" in region.address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, (region.address, region.mqtt_port))
        except BaseException:
            sock.close()
            raise
        progress.stage = "waiting for TLS"
        return await asyncio.open_connection(
            sock=sock,
            ssl=self._context,
            server_hostname=region.hostname,
            ssl_shutdown_timeout=TLS_SHUTDOWN_S,
        )

    async def _open(
        self,
        region: RoutedRegion,
        writer: asyncio.StreamWriter,
        packets: _Packets,
        progress: _Progress,
    ) -> None:
        client_id = f"canary-{self._site}-{region.name}"
        progress.stage = "waiting for CONNACK"
        connect = mqtt3.Connect(client_id=client_id, clean_session=True, keep_alive_s=KEEP_ALIVE_S)
        writer.write(mqtt3.encode(connect))
        connack = await packets.next()
        if not isinstance(connack, mqtt3.Connack):
            raise _ProbeFailedError(f"{type(connack).__name__} instead of CONNACK")
        if connack.return_code:
            meaning = REFUSALS.get(connack.return_code, "a code of no meaning")
            raise _ProbeFailedError(f"CONNACK {connack.return_code}, {meaning}")

    async def _round_trip(
        self,
        region: RoutedRegion,
        writer: asyncio.StreamWriter,
        packets: _Packets,
        progress: _Progress,
    ) -> None:
        """Subscribe and publish in one write: a gateway works in order, and half the wake-ups."""
        topic = f"{self._prefix}{self._site}/{region.name}"
        nonce = secrets.token_bytes(16)
        sent = [nonce + bytes([number]) for number in range(MESSAGES)]
        packets_out: list[mqtt3.Packet] = [
            mqtt3.Subscribe(packet_id=1, filters=(mqtt3.Filter(topic, 0),))
        ]
        for number, payload in enumerate(sent):
            packets_out.append(
                mqtt3.Publish(topic=topic, payload=payload, qos=1, packet_id=number + 2)
            )
        writer.write(b"".join(map(mqtt3.encode, packets_out)))
        progress.stage = "waiting for SUBACK"
        while len(progress.acknowledged) < MESSAGES or len(progress.received) < MESSAGES:
            _take(await packets.next(), topic, progress)
        if progress.received != sent:
            raise _ProbeFailedError("got back other messages than it published")


class _Packets:
    """The packets of one connection, one by one."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._decoder = mqtt3.Decoder()
        self._waiting: list[mqtt3.Packet] = []

    async def next(self) -> mqtt3.Packet:
        while not self._waiting:
            data = await self._reader.read(READ_BYTES_MAX)
            if not data:
                raise ConnectionResetError(0, "closed by the gateway")
            self._waiting = list(self._decoder.feed(data))
        return self._waiting.pop(0)


def _take(packet: mqtt3.Packet, topic: str, progress: _Progress) -> None:
    if isinstance(packet, mqtt3.Suback):
        if any(code > 2 for code in packet.codes):
            raise _ProbeFailedError("its subscription was refused")
    elif isinstance(packet, mqtt3.Puback):
        progress.acknowledged.add(packet.packet_id)
    elif isinstance(packet, mqtt3.Publish) and packet.topic == topic:
        progress.received.append(packet.payload)
    else:
        raise _ProbeFailedError(f"got a {type(packet).__name__} that nothing asked for")
    missing_acks = len(progress.acknowledged) < MESSAGES
    progress.stage = "waiting for PUBACK" if missing_acks else "waiting for its own messages"
