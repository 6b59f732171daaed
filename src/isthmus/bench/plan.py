"""What the processes of a bench are told, and what a generator answers, each as one JSON file.

The same load plan drives a gateway of ours and a peer: it says where a server is and what to do to
it, and nothing about what the server is.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
from msgspec.structs import replace

from isthmus.config import Listen
from isthmus.errors import ConfigError, Unavailable
from isthmus.plan_file import Part


class AccessKey(Part, frozen=True, kw_only=True):
    """What requests of the AWS-compatible API are signed with."""

    key_id: str
    secret: str
    #: The region's name in the signature's scope.
    region: str


class Client(Part, frozen=True, kw_only=True):
    """One client. ``certificate`` and ``key`` are PEM files."""

    client_id: str
    certificate: str
    key: str
    #: Where it publishes.
    topic: str


class Publishing(Part, frozen=True, kw_only=True, tag="publishing"):
    """Every client publishes at QoS 1 as fast as it is answered."""

    payload_bytes: int = 200
    #: Publishes of one client that may be unanswered: a little less than our gateway reads before
    #: it waits for itself, and enough for Mosquitto to be as fast as it can.
    window: int = 96
    #: Clients that publish beside the others, as one of them cannot fill a long way: what is
    #: unanswered of all together has to be more than is kept in the time of a round trip.
    crowd: int = 0


class Offering(Part, frozen=True, kw_only=True, tag="offering"):
    """Clients publish at QoS 1 at a rate that no answer slows down."""

    #: Of all clients together.
    per_s: float
    payload_bytes: int = 200
    #: Clients that are connected meanwhile and do nothing.
    crowd: int = 0


class Connecting(Part, frozen=True, kw_only=True, tag="connecting"):
    """Clients connect and leave, again and again."""

    #: Clients that do so side by side.
    at_once: int = 32


class FanningOut(Part, frozen=True, kw_only=True, tag="fanning-out"):
    """One client publishes at QoS 1, and many have subscribed to it at QoS 0."""

    subscribers: int
    payload_bytes: int = 200
    #: Messages that some subscribers lack.
    window: int = 10


class Holding(Part, frozen=True, kw_only=True, tag="holding"):
    """Clients connect, and do nothing."""

    #: Connections between which the growth of the servers' memory is read.
    first: int
    last: int


class Calling(Part, frozen=True, kw_only=True, tag="calling"):
    """Connections make a thing, describe it, list a page and delete it, again and again."""

    connections: int = 16
    #: Things that are there all the time, so that a page is full.
    standing: int = 100
    page: int = 25


class Paging(Part, frozen=True, kw_only=True, tag="paging"):
    """One connection reads a long list, page by page."""

    things: int
    page: int = 250
    #: How often it is read from its first page to its last.
    times: int = 3
    #: Connections that make the things beforehand.
    makers: int = 64


class Updating(Part, frozen=True, kw_only=True, tag="updating"):
    """Every client updates a shadow of its own, as fast as that is accepted or at a rate."""

    clients: int = 200
    #: Updates of one client that may be unanswered, where there is no rate.
    window: int = 4
    #: Of all clients together, whatever is answered; 0 for as fast as they are answered.
    per_s: float = 0.0


Load = Publishing | Offering | Connecting | FanningOut | Holding | Calling | Paging | Updating


class LoadPlan(Part, frozen=True, kw_only=True):
    """What one generator process does."""

    host: str
    port: int
    #: What the server's certificate is verified for.
    hostname: str
    ca_file: str
    #: Who publishes. Each connects under its own name only.
    clients: tuple[Client, ...] = ()
    #: Who makes up a crowd: may connect under any name that begins with its own.
    crowd_clients: tuple[Client, ...] = ()
    #: Who calls the AWS-compatible API, where that is what is loaded.
    access_key: AccessKey | None = None
    load: Load
    #: Seconds that are measured, and seconds of the same load before them that are not.
    seconds: float
    warm_up_s: float
    #: Process ids of the servers by name: whose CPU time is read around what is measured.
    servers: dict[str, int]
    #: Local addresses that connections come from in turn; none: the one that the system picks.
    sources: tuple[str, ...] = ()
    outcome_file: str

    def crowd(self, count: int) -> list[Client]:
        """So many different clients, who share the certificates of a few."""
        shared = itertools.cycle(self.crowd_clients)
        return [
            replace(each, client_id=f"{each.client_id}-{number}")
            for number, each in zip(range(count), shared, strict=False)
        ]

    def validate(self) -> None:
        """Raise ConfigError for values that are of the right type and still wrong."""
        if isinstance(self.load, Calling | Paging):
            if self.access_key is None:
                raise ConfigError("access_key is missing", hint="an access key of the region")
        elif not self.clients:
            raise ConfigError("clients is empty", hint="list at least one")
        for name in ("seconds", "warm_up_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", hint="a value above 0")
        if isinstance(self.load, Publishing) and not 2 <= self.load.window <= 0xFFFF:
            raise ConfigError(f"window is {self.load.window}", hint="2 to 65535")
        if isinstance(self.load, Offering) and not self.load.per_s > 0:
            raise ConfigError(f"per_s is {self.load.per_s}", hint="a value above 0")
        is_crowded = isinstance(self.load, FanningOut | Holding | Updating) or (
            isinstance(self.load, Publishing | Offering) and self.load.crowd
        )
        if is_crowded and not self.crowd_clients:
            raise ConfigError("crowd_clients is empty", hint="list at least one")


class Route(Part, frozen=True, kw_only=True):
    """What stands at the far end, and the host to listen at for it; the port is any."""

    host: str
    target: Listen


class DelayPlan(Part, frozen=True, kw_only=True):
    """What one process delays, and by how much in each direction."""

    routes: tuple[Route, ...]
    one_way_s: float
    #: Where the ports are written, in the order of the routes.
    ports_file: str

    def validate(self) -> None:
        """Raise ConfigError for values that are of the right type and still wrong."""
        if self.one_way_s < 0:
            raise ConfigError(f"one_way_s is {self.one_way_s}", hint="0 or more seconds")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a generator saw."""

    #: What was counted in the measured time, and how long that was.
    count: int = 0
    seconds: float = 0.0
    #: Publishes that were acknowledged in the whole run, warm-up and end included.
    acknowledged: int = 0
    #: CPU seconds per second: of the generator, of each server, and of all else on the machine.
    generator_cpu: float = 0.0
    server_cpu: dict[str, float] = {}
    other_cpu: float = 0.0
    #: Bytes by which the servers' memory grew.
    memory_growth: dict[str, int] = {}
    #: From when a publish was due until it was acknowledged: p50, p95, p99, max.
    latency_ms: dict[str, float] = {}
    #: Of that, from when it was due until the generator wrote it.
    late_ms: dict[str, float] = {}
    #: Connections of a crowd that were lost.
    dropped: int = 0
    #: Milliseconds for a page at the start of a list, and at its end: first, last.
    page_ms: dict[str, float] = {}
    #: Seconds from the start of a process that finds what was made, to its first answer.
    start_s: float = 0.0
    #: What went wrong; nothing else here counts then.
    error: str = ""

    @property
    def per_s(self) -> float:
        return self.count / self.seconds if self.seconds else 0.0


def read_outcome(path: Path) -> Outcome:
    """Read what a generator answered; raises Unavailable if it could not do its work."""
    outcome = msgspec.json.decode(path.read_bytes(), type=Outcome)
    if outcome.error:
        raise Unavailable(outcome.error)
    return outcome
