"""Who connects where: all that a fleet process is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from isthmus.errors import ConfigError
from isthmus.plan_file import Part

#: ``device``: our device client, which knows every region. ``plain``: stock paho-mqtt, which
#: knows the stable name only.
Kind = Literal["device", "plain"]
KINDS: tuple[Kind, ...] = ("device", "plain")


class EndpointPlan(Part, frozen=True, kw_only=True):
    """Where a region's gateway is."""

    region: str
    hostname: str
    address: str
    port: int


class ClientPlan(Part, frozen=True, kw_only=True):
    """One client. ``name`` is its client id, ``certificate`` and ``key`` are PEM files."""

    name: str
    kind: Kind
    certificate: str
    key: str
    #: Where it publishes its telemetry.
    topic: str


class FleetPlan(Part, frozen=True, kw_only=True):
    """The clients of all kinds; each fleet process runs those of one kind."""

    stable_name: str
    #: (address, port) of the nameservers of our sites; none of the machine's is asked.
    nameservers: tuple[tuple[str, int], ...]
    #: In the device clients' order of preference.
    endpoints: tuple[EndpointPlan, ...]
    ca_file: str
    clients: tuple[ClientPlan, ...]
    #: Where ``<kind>.jsonl`` is written.
    events_dir: str
    keep_alive_s: int = 10
    #: Seconds between two publishes of one client.
    publish_interval_s: float = 1.0
    #: Seconds for which outstanding acknowledgements are waited for once publishing has stopped.
    settle_s: float = 20.0
    #: Device clients: seconds of silence until a region that owes an answer is left.
    ack_timeout_s: float = 2.5
    #: Device clients: seconds until an attempt to connect has failed.
    connect_timeout_s: float = 1.5
    #: Device clients: seconds between two looks at DNS. A drill lasts a minute, so more would not
    #: show what they do when the route changes under a session.
    dns_poll_s: float = 3.0
    #: Phases, telemetry and the device clients' jitter derive from it.
    seed: int = 0

    def of_kind(self, kind: str) -> list[tuple[int, ClientPlan]]:
        """The clients of one kind, each with its index among all."""
        return [each for each in enumerate(self.clients) if each[1].kind == kind]

    def validate(self) -> None:
        """Raise ConfigError for values that are of the right type and still wrong."""
        for name in ("nameservers", "endpoints"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is empty", hint="list at least one")
        for name in ("publish_interval_s", "ack_timeout_s", "connect_timeout_s", "dns_poll_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", hint="a value above 0")
        if self.settle_s < 0:
            raise ConfigError(f"settle_s is {self.settle_s}", hint="0 or more seconds")
        if not 0 < self.keep_alive_s <= 0xFFFF:
            raise ConfigError(f"keep_alive_s is {self.keep_alive_s}", hint="1 to 65535 seconds")
        # Two clients of one id would take the session from each other for ever.
        for name, count in Counter(each.name for each in self.clients).items():
            if count > 1:
                raise ConfigError(f"clients has {name!r} {count} times", hint="each name once")
        for file in self._files():
            # What TLS says of a missing file does not name it.
            if not Path(file).is_file():
                raise ConfigError(f"no file {file!r}", hint="PEM files that can be read")

    def _files(self) -> Iterator[str]:
        yield self.ca_file
        for each in self.clients:
            yield from (each.certificate, each.key)
