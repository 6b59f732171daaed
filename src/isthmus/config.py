"""Settings of one region and of one site, read from TOML.

Each service reads one file and nothing else: ``isthmus serve gateway --config region.toml``, the
same for ``services``, ``isthmus serve site --config site.toml``. ``isthmus up`` and ``isthmus
drill`` write such files for the local regions that they start, so there is one way to configure a
process. Secrets are never in these files; they name key files, readable by their owner only.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
import tomli_w

from isthmus.core.arns import Naming
from isthmus.core.promises import Promise, Promises, Rule
from isthmus.core.zone import API_PREFIX
from isthmus.errors import ConfigError, MalformedPacket
from isthmus.wire.topics import validate_filter

T = TypeVar("T")

_CERTIFICATE_ID = re.compile(r"[0-9a-f]{64}")
_BUCKET_NAME = re.compile(r"[a-zA-Z0-9._-]{3,256}")
_HOST_NAME = re.compile(r"[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*")


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TOML table: an unknown or mistyped field is an error that names it."""


class TlsFiles(_Section, frozen=True, kw_only=True):
    """PEM files of one TLS identity. ``key`` must have mode 0600."""

    certificate: str
    key: str
    #: Who the other side must be signed by.
    ca: str


class ServerFiles(_Section, frozen=True, kw_only=True):
    """PEM files of a server that asks its clients for no certificate. ``key`` must have mode 0600.

    Files that are replaced while it runs are taken over within seconds.
    """

    certificate: str
    key: str


class Listen(_Section, frozen=True, kw_only=True):
    """Where a service listens."""

    host: str
    port: int
    #: Of a listener for MQTT: ``aws``, as AWS IoT Core deviates from the standards, or
    #: ``standard``.
    dialect: Literal["aws", "standard"] = "aws"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class NatsAccess(_Section, frozen=True, kw_only=True):
    """How to reach one region's NATS system."""

    #: tls://host:port, comma separated for a cluster.
    url: str
    ca: str
    #: File with the nkey seed of this user, mode 0600.
    nkey_seed: str


def _check_filter(name: str, topic_filter: str) -> None:
    try:
        validate_filter(topic_filter)
    except MalformedPacket as error:
        raise ConfigError(f"{name} {topic_filter!r}: {error}", hint="a topic filter") from None


class TopicDurability(_Section, frozen=True, kw_only=True):
    """What the acknowledgement of a message to these topics promises."""

    #: A topic filter. The first one that matches decides.
    topics: str
    #: ``two-regions``: it is on disk here and in a second region. ``region``: on disk here.
    #: ``memory``: the gateway has it, and stores it a moment later.
    durability: str
    #: With ``two-regions``, while no second region can be reached: ``continue`` acknowledges by
    #: this region's disk, ``refuse`` does not acknowledge and closes the connection after
    #: ``promise_timeout_s``.
    alone: str = "continue"

    def validate(self) -> None:
        """Raise ConfigError for values that are of the right type and still wrong."""
        if self.durability not in ("two-regions", "region", "memory"):
            hint = '"two-regions", "region" or "memory"'
            raise ConfigError(f"durability of {self.topics!r} is {self.durability!r}", hint=hint)
        if self.alone not in ("continue", "refuse"):
            hint = '"continue" or "refuse"'
            raise ConfigError(f"alone of {self.topics!r} is {self.alone!r}", hint=hint)
        _check_filter("topics", self.topics)

    @property
    def promise(self) -> Promise:
        if self.durability == "two-regions" and self.alone == "refuse":
            return Promise.NEVER_ALONE
        return Promise(self.durability)


class Peer(_Section, frozen=True, kw_only=True):
    """Another region, pulled from and confirmed to."""

    region: str
    #: Its name in ARNs, where that is not ``region``.
    aws_region: str = ""
    nats: NatsAccess


class AwsApi(_Section, frozen=True, kw_only=True):
    """The AWS-compatible API: HTTPS, signed by access keys. Its processes may share a port."""

    listen: Listen
    #: Its certificate has the API's own name, which is the same in every region and leads to the
    #: one that is served, and its name in this region: ``api.`` and those that devices connect to.
    tls: ServerFiles
    #: The user of its processes, which writes items but no access keys.
    nats: NatsAccess
    #: The host name that devices connect to, the same in every region: what DescribeEndpoint
    #: answers. Without it, DescribeEndpoint says that there is none.
    device_host: str = ""
    #: Directories by the names of the buckets that they stand for: the input of bulk registrations,
    #: and their reports. Whoever may start one may have any file under them read.
    buckets: dict[str, str] = {}
    #: Hooks of provisioning templates by their ``targetArn``: an address that is posted to,
    #: ``https://...``, or ``entry-point:NAME`` of the group ``isthmus.provisioning_hooks``. A
    #: template whose hook is not here provisions nobody in this region.
    hooks: dict[str, str] = {}

    def validate(self) -> None:
        """Raise ConfigError for values that are of the right type and still wrong."""
        for arn, target in self.hooks.items():
            if not target.startswith("entry-point:") and not _is_safe_url(target):
                hint = "https://..., or http on a loopback address, or entry-point:NAME"
                raise ConfigError(f"aws_api.hooks.{arn} is {target!r}", hint=hint)
        for name, directory in self.buckets.items():
            if not _BUCKET_NAME.fullmatch(name):
                hint = "3 to 256 letters, digits, dots, hyphens and underscores"
                raise ConfigError(f"aws_api.buckets has {name!r}", hint=hint)
            if not Path(directory).is_absolute():
                hint = "the whole path of a directory"
                raise ConfigError(f"aws_api.buckets.{name} is {directory!r}", hint=hint)


class Limits(_Section, frozen=True, kw_only=True):
    """What one gateway process takes on, so that a storm costs those who are connected nothing.

    Quotas that AWS IoT Core has and that nothing here needs are off (0) where they are not set:
    they are there to be set to AWS's numbers.
    """

    #: Connections per second that may begin their handshake; 0 for as many as the process can.
    #: A handshake takes 1 to 2 ms of one core, so whatever is right for one machine is wrong for
    #: another; without a limit too, one connection is let in per turn of the loop, so whoever is
    #: connected waits behind a handshake or two and never behind a storm. To keep a share of the
    #: core free as well, set this to that share of what ``isthmus bench gateway --only
    #: connects_per_s`` says of the machine.
    connects_per_s: float = 0.0
    #: Of these, how many may begin at once.
    connects_burst: int = 20
    #: Connections that are there and have not connected: waiting for their turn, unread and oldest
    #: first, for no longer than a CONNECT may take, or shaking hands. Any more are closed.
    connects_waiting_max: int = 4096
    #: IP addresses that wait for no turn. Name the sites' observers where a storm may last longer
    #: than their ``probe_timeout_s``: to an observer that waits in the queue the region is dead.
    connects_first: tuple[str, ...] = ()
    #: Clients; more are told so, where they speak MQTT 5 (0x97). One takes 20 to 50 KB, and the
    #: process needs as many open files.
    connections_max: int = 20_000
    #: CONNECTs per second under one client id, and how many may come at once; more are refused
    #: (0x9F). AWS: 1 per second. The burst is for who reconnects after a failover and is led to a
    #: second gateway, or is cut off again at once.
    client_connects_per_s: float = 0.0
    client_connects_burst: int = 5
    #: Publishes per second of one connection, in each direction, and as many at once. AWS: 100.
    #: Who sends more is not read from until it is within the rate again, so nothing is lost; to who
    #: receives more, QoS 0 is dropped, and QoS 1 waits as its PUBACKs do.
    publishes_per_s: float = 0.0
    #: Bytes of MQTT per second of one connection, in the same way. AWS: 524288.
    bytes_per_s: float = 0.0
    #: Publishes and their bytes that wait for the stream or for a peer. Above either bound nobody
    #: who publishes is read from, and no CONNECT is accepted, until both are half of it.
    backlog_max_messages: int = 50_000
    backlog_max_bytes: int = 64 * 1024**2
    #: Bytes that wait to be sent, over all clients. Above it the client with the most is cut off.
    unsent_max_bytes: int = 256 * 1024**2

    def validate(self) -> None:
        """Raise ConfigError for values that are of the right type and still wrong."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name == "connects_first":
                for each in value:
                    if not _is_address(each):
                        hint = "IP addresses, each in full"
                        raise ConfigError(f"limits.connects_first has {each!r}", hint=hint)
            elif value < (0 if name.endswith("per_s") else 1):
                least = "0 or more" if name.endswith("per_s") else "1 or more"
                raise ConfigError(f"limits.{name} is {value}", hint=least)


class RegionConfig(_Section, frozen=True, kw_only=True):
    """One region's gateway and services."""

    region: str
    #: The name in ARNs; the region's own name where it is not given.
    aws_region: str = ""
    account_id: str = "000000000000"
    #: Where the lake and other local files of this region live.
    state_dir: str
    #: The services' user, and those of gateways and of the lake, which may do less.
    nats: NatsAccess
    gateway_nats: NatsAccess
    lake_nats: NatsAccess
    peers: tuple[Peer, ...] = ()
    #: MQTT over mutual TLS.
    mqtt: Listen
    #: The gateways'; files that are replaced while they run are taken over within seconds.
    mqtt_tls: TlsFiles
    #: Beside it, 443 in production: MQTT for who asks for it by ALPN, and over WebSocket at /mqtt.
    https: Listen | None = None
    #: MQTT without TLS, on a loopback address only. Whoever reaches it is served as
    #: ``plain_principal``, the id of a registered certificate, and may do what its policies say.
    plain: Listen | None = None
    plain_principal: str = ""
    #: Names that a client may say it wants to reach (SNI), each in full; any where this is empty.
    #: Who says none is let in.
    server_names: tuple[str, ...] = ()
    #: File with the key that seals the secrets of access keys, 64 hex digits, mode 0600. The same
    #: in every region; without it there are no access keys here, and no signature is accepted.
    secrets_key: str = ""
    api: Listen
    #: ``ca`` here signs operators: whoever has a certificate of it may write.
    api_tls: TlsFiles
    #: The AWS-compatible one, which ``isthmus serve api`` serves; needs ``secrets_key``.
    aws_api: AwsApi | None = None
    #: Where an acknowledgement shall promise less, or more, than two regions.
    durability: tuple[TopicDurability, ...] = ()
    #: Seconds without a heartbeat of any peer before this region goes on alone.
    #: Shorter acknowledges sooner after a peer's death, and more often without need.
    alone_after_s: float = 1.0
    #: ``continue``: acknowledge alone, loudly. ``refuse``: stop acknowledging instead.
    alone: str = "continue"
    #: Seconds after which a region that reaches no peer at its start serves what its disk has.
    alone_start_s: float = 30.0
    #: Seconds within which an acknowledgement must be possible; later the connection is closed.
    promise_timeout_s: float = 10.0
    #: The longest that a session outlives its connection, in seconds; AWS IoT Core's default.
    session_expiry_max_s: int = 3600
    #: Seconds after which a gateway or a region that is not heard counts as dead: then others end
    #: its sessions and publish its clients' wills. Who comes back within it has not left.
    lease_s: float = 10.0
    #: Topic filters whose messages reach subscribers in every region, at the cost of the bus's lag.
    #: All others reach whoever is connected to the region that took them in, as on AWS IoT Core,
    #: and persistent sessions that are offline.
    everywhere: tuple[str, ...] = ()
    #: Connections per second that a draining gateway closes.
    drain_rate_per_s: float = 100.0
    #: Bytes of one bus stream on disk; when full, publishes are no longer acknowledged.
    bus_max_bytes: int = 8 * 1024**3
    #: Topic prefix that one region's copy is enough for: the observers' canaries.
    canary_prefix: str = "isthmus/canary/"
    limits: Limits = Limits()

    @property
    def promises(self) -> Promises:
        """What is promised of a message, by its topic."""
        canaries = Rule(f"{self.canary_prefix}#", Promise.REGION)
        rules = [Rule(each.topics, each.promise) for each in self.durability]
        return Promises([canaries, *rules], has_peers=bool(self.peers))

    @property
    def arn_regions(self) -> frozenset[str]:
        """Every name of every region: an ARN that names one of them means any of them."""
        names = {self.region, self.aws_region}
        for peer in self.peers:
            names |= {peer.region, peer.aws_region}
        return frozenset(names - {""})

    @property
    def naming(self) -> Naming:
        """How this region writes ARNs, and which it reads."""
        host = self.aws_api.device_host if self.aws_api else ""
        name = self.aws_region or self.region
        return Naming(self.account_id, name, self.arn_regions, host)

    def validate(self) -> None:
        """Raise ConfigError for values that are of the right type and still wrong."""
        for each in self.durability:
            each.validate()
        for topic_filter in self.everywhere:
            _check_filter("everywhere", topic_filter)
        if self.session_expiry_max_s < 0:
            hint = "0 or more seconds"
            raise ConfigError(f"session_expiry_max_s is {self.session_expiry_max_s}", hint=hint)
        if self.alone not in ("continue", "refuse"):
            raise ConfigError(f"alone is {self.alone!r}", hint='alone = "continue" or "refuse"')
        if self.region in {peer.region for peer in self.peers}:
            raise ConfigError(f"peers names this region itself: {self.region!r}")
        for name in (
            *("alone_after_s", "alone_start_s", "promise_timeout_s", "drain_rate_per_s"),
            *("lease_s",),
        ):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", hint="a value above 0")
        self.limits.validate()
        if self.aws_api is not None:
            self.aws_api.validate()
        self._validate_listeners()

    def _validate_listeners(self) -> None:
        if self.plain is not None:
            if not _is_loopback(self.plain.host):
                hint = "an address such as 127.0.0.1: whoever reaches it proves nothing"
                raise ConfigError(f"plain.host is {self.plain.host!r}", hint=hint)
            if not _CERTIFICATE_ID.fullmatch(self.plain_principal):
                hint = "the id of a registered certificate, 64 hex digits in lower case"
                raise ConfigError(f"plain_principal is {self.plain_principal!r}", hint=hint)
        # Gateways share their ports with each other, so the system would not refuse it.
        taken: dict[Listen, str] = {}
        for name in ("mqtt", "https", "plain"):
            listen: Listen | None = getattr(self, name)
            if listen in taken:
                raise ConfigError(f"{name} is {listen}, as {taken[listen]}", hint="another port")
            if listen is not None:
                taken[listen] = name
        if self.aws_api is not None and not self.secrets_key:
            hint = "the file of the key that opens the secrets of access keys"
            raise ConfigError("aws_api is set and secrets_key is not", hint=hint)
        for name in self.server_names:
            if not _HOST_NAME.fullmatch(name):
                hint = "host names in full; there are no wildcards"
                raise ConfigError(f"server_names has {name!r}", hint=hint)


class SitePeer(_Section, frozen=True, kw_only=True):
    """A configured site; every site lists all of them, itself included."""

    name: str
    #: Base URL of its mesh and operator API, https://host:port.
    url: str


class RoutedRegion(_Section, frozen=True, kw_only=True):
    """A region as the directors see it."""

    name: str
    #: The region's own name in the zone, for example ``eu.iot.example.com``.
    hostname: str
    address: str
    mqtt_port: int
    #: Where its AWS-compatible API is reached, if that is another address.
    api_address: str = ""


class SiteConfig(_Section, frozen=True, kw_only=True):
    """One site: an observer, a director and an authoritative nameserver."""

    site: str
    state_dir: str
    #: Every configured site. A route changes only by a majority of these.
    sites: tuple[SitePeer, ...]
    #: In order of preference: the first is where a new system routes to.
    regions: tuple[RoutedRegion, ...]
    #: The name that plain clients know, for example ``iot.example.com``; also the zone's apex.
    stable_name: str
    dns: Listen
    #: Seconds. Lower moves plain clients sooner and costs more queries.
    dns_ttl_s: int = 1
    mesh: Listen
    #: ``ca`` here signs sites and operators; the subject's OU tells which.
    mesh_tls: TlsFiles
    #: The canary device's certificate and key; ``ca`` verifies the gateways.
    canary_tls: TlsFiles
    canary_prefix: str = "isthmus/canary/"
    #: Seconds between two probes of one region.
    probe_interval_s: float = 0.25
    #: Seconds until an unanswered probe has failed.
    probe_timeout_s: float = 0.8
    #: Failed probes in a row that make a vote ``unhealthy``, good ones that make it ``healthy``.
    down_after: int = 2
    up_after: int = 3
    #: Seconds by which an observer's clock tick may be late. Later means that the process was
    #: paused: its vote is ``unknown`` until fresh probes. Must stay below the time that
    #: ``down_after`` unanswered probes take, or a pause here looks like an outage there.
    pause_limit_s: float = 1.0
    #: A site not heard for this many seconds has no vote.
    vote_lifetime_s: float = 2.0
    #: Seconds between two exchanges of two sites; a change is told at once.
    mesh_interval_s: float = 0.1
    #: Seconds until an unanswered exchange is given up; it delays that one site only.
    mesh_timeout_s: float = 0.5
    #: Seconds that a starting or thawed site waits for a majority of the sites before its
    #: nameserver answers from what its disk has. Longer serves fewer old plans, and nothing sooner.
    start_grace_s: float = 3.0
    #: The NATS of the region at this site, to tell its gateways the route; absent at a witness.
    nats: NatsAccess | None = None

    def validate(self) -> None:
        """Raise ConfigError for values that are of the right type and still wrong."""
        if self.site not in {peer.name for peer in self.sites}:
            raise ConfigError(f"site {self.site!r} is not among sites")
        if not self.regions:
            raise ConfigError("regions is empty", hint="list at least one region")
        if self.dns_ttl_s < 0:
            raise ConfigError(f"dns_ttl_s is {self.dns_ttl_s}", hint="0 or more seconds")
        self._validate_names()
        if self.pause_limit_s >= self.down_after * max(self.probe_interval_s, self.probe_timeout_s):
            hint = "less than down_after x probe_timeout_s"
            raise ConfigError(f"pause_limit_s is {self.pause_limit_s}", hint=hint)

    def _validate_names(self) -> None:
        names = {self.stable_name, *(region.hostname for region in self.regions)}
        for region in self.regions:
            hint = ""
            if not region.hostname.endswith(f".{self.stable_name}"):
                hint = f"a name below {self.stable_name}, which is the zone's apex"
            elif region.hostname in {API_PREFIX + name for name in names}:
                hint = f"another name: with {API_PREFIX} before it a name is the API's"
            if hint:
                raise ConfigError(f"hostname of {region.name} is {region.hostname!r}", hint=hint)
            if region.api_address and not _is_address(region.api_address):
                shown = f"api_address of {region.name} is {region.api_address!r}"
                raise ConfigError(shown, hint="an IP address, as DNS gives it out")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_safe_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        host = url.hostname
    except ValueError:
        return False
    return bool(host) and (
        url.scheme == "https" or (url.scheme == "http" and _is_loopback(host or ""))
    )


def _is_loopback(host: str) -> bool:
    """A name is not: what it means is decided elsewhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(path: Path, kind: type[T]) -> T:
    """Read one TOML file; raises ConfigError that names the file, the field and the value."""
    try:
        with path.open("rb") as file:
            config = msgspec.convert(tomllib.load(file), kind)
        validate = getattr(config, "validate", None)
        if validate:
            validate()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", hint="name it with --config FILE") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    except (msgspec.ValidationError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return config


def dump(path: Path, config: msgspec.Struct) -> None:
    """Write a config file that ``load`` reads back."""
    path.write_bytes(tomli_w.dumps(_without_none(msgspec.to_builtins(config))).encode())


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_without_none(each) for each in value]
    return value
