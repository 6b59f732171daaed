"""Somebody who must not get in, and tries."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from isthmus.adapters.pki import Identity
from isthmus.errors import MalformedPacket
from isthmus.local.system import LocalSystem
from isthmus.wire import mqtt3

ATTEMPT_TIMEOUT_S = 1.0
#: Between two attempts of one that hammers: a returning region has no quiet moment.
HAMMER_S = 0.02


class Outcome(StrEnum):
    """What came of an attempt to connect."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass
class Intruder:
    """A client with a certificate that is not, or no longer, welcome."""

    name: str
    identity: Identity
    ca_file: Path
    #: Outcomes per region.
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tls = ssl.create_default_context(cafile=str(self.ca_file))
        self._tls.load_cert_chain(str(self.identity.chain), str(self.identity.key))

    async def attempt(self, system: LocalSystem, region: str) -> Outcome:
        """Try to connect to one region, once."""
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                outcome = await self._connect(system, region)
        except (OSError, TimeoutError, MalformedPacket, ssl.SSLError) as error:
            # An orderly refusal in TLS is one; anything else says nothing about the region.
            refused = isinstance(error, ssl.SSLError)
            outcome = Outcome.REFUSED if refused else Outcome.UNREACHABLE
        self.outcomes.setdefault(region, []).append(outcome)
        return outcome

    async def _connect(self, system: LocalSystem, region: str) -> Outcome:
        address = system.address(region)
        reader, writer = await asyncio.open_connection(
            address.host,
            address.ports["mqtt"],
            ssl=self._tls,
            server_hostname=system.hostname(region),
        )
        try:
            writer.write(mqtt3.encode(mqtt3.Connect(self.name)))
            decoder = mqtt3.Decoder()
            while data := await reader.read(4096):
                for packet in decoder.feed(data):
                    if isinstance(packet, mqtt3.Connack):
                        return Outcome.REFUSED if packet.return_code else Outcome.ADMITTED
            return Outcome.REFUSED
        finally:
            # Nothing is waited for: what a dying region leaves open must not hold the drill.
            writer.transport.abort()

    async def hammer(self, system: LocalSystem, region: str) -> None:
        """Try again and again until cancelled."""
        while True:
            await self.attempt(system, region)
            await asyncio.sleep(HAMMER_S)

    def admitted(self) -> list[str]:
        """The regions that let it in."""
        return [
            region for region, outcomes in self.outcomes.items() if Outcome.ADMITTED in outcomes
        ]
