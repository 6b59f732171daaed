"""What the fleet saw: every client's story, from the events that the fleet writes down.

Everything that a drill says of clients comes from here, and so from outside the product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from isthmus.fleet.events import Event
from isthmus.fleet.plan import Kind


@dataclass(slots=True)
class Client:
    """One client's story so far. Times are seconds since 1970."""

    kind: str
    connected: list[tuple[float, str]] = field(default_factory=list)
    #: Sequence and time of each acknowledgement, in order of time.
    acked: list[tuple[int, float]] = field(default_factory=list)
    sent: int = 0

    def acknowledged_since(self, at_s: float) -> bool:
        return bool(self.acked) and self.acked[-1][1] >= at_s

    def again_s(self, outage_s: float) -> float | None:
        """When the client was answered again after an outage.

        What the dying region had already put on the wire may be read after the outage began: an
        answer counts as one after it only on a connection made after it.
        """
        connected_s = next((at for at, _ in self.connected if at > outage_s), float("inf"))
        return next((at for _, at in self.acked if at >= connected_s), None)

    def recovery_s(self, outage_s: float) -> float | None:
        """From the last acknowledgement before an outage to the first one after it."""
        again_s = self.again_s(outage_s)
        before = [at for _, at in self.acked if again_s is not None and at < again_s]
        return again_s - before[-1] if again_s is not None and before else None


class Observed:
    """Reads the fleet's event files as they grow."""

    def __init__(self, files: Mapping[Kind, Path]) -> None:
        self._files = files
        self._read = dict.fromkeys(files, 0)
        self._decoder = msgspec.json.Decoder(Event)
        self.clients: dict[str, Client] = {}

    def refresh(self) -> None:
        """Take in what was written since the last time."""
        for kind, path in self._files.items():
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(self._read[kind])
                data = file.read()
            end = data.rfind(b"\n") + 1
            self._read[kind] += end
            for line in data[:end].splitlines():
                self._take(kind, self._decoder.decode(line))

    def _take(self, kind: str, event: Event) -> None:
        client = self.clients.setdefault(event.client, Client(kind))
        if event.event == "connected":
            client.connected.append((event.t, event.region or ""))
        elif event.event == "acked" and event.seq is not None:
            client.acked.append((event.seq, event.t))
        elif event.event == "sent":
            client.sent += 1

    def of_kind(self, kind: str) -> list[Client]:
        return [client for client in self.clients.values() if client.kind == kind]

    def acknowledged(self) -> int:
        return sum(len(client.acked) for client in self.clients.values())

    def acknowledged_since(self, at_s: float) -> int:
        """Clients that were answered since a moment."""
        return sum(client.acknowledged_since(at_s) for client in self.clients.values())

    def connected_to(self, region: str) -> int:
        """Clients whose newest connection is to a region."""
        return sum(
            bool(client.connected) and client.connected[-1][1] == region
            for client in self.clients.values()
        )
