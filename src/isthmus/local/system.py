"""The local system: two or more regions and a witness, each a handful of real processes.

Everything is under one directory, and everything that is started is stopped. Nothing here is known
to the services: they get the same configuration files as in production.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from isthmus import config as configs
from isthmus.adapters import private_files
from isthmus.adapters.pki import Identity, Pki
from isthmus.adapters.sealing import make_key
from isthmus.config import (
    AwsApi,
    Listen,
    NatsAccess,
    Peer,
    RegionConfig,
    RoutedRegion,
    ServerFiles,
    SiteConfig,
    SitePeer,
    TlsFiles,
)
from isthmus.core.zone import API_PREFIX
from isthmus.errors import ConfigError, Unavailable
from isthmus.local import nats_server
from isthmus.local.addresses import Addresses, SiteAddress
from isthmus.local.cable import Cable
from isthmus.local.child import RESTART_S, Child

WITNESS = "witness"
CANARY = "isthmus-canary"
#: The name of the one bucket that each local region has.
BUCKET = "local"
#: How a service process is started; tests put their own launcher here.
LAUNCHER = (sys.executable, "-m", "isthmus")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a local system is made of."""

    state_dir: Path
    regions: tuple[str, ...] = ("eu", "us")
    stable_name: str = "iot.isthmus.test"
    nats_binary: Path | None = None
    launcher: Sequence[str] = LAUNCHER
    #: Prefer 127.0.1.1, 127.0.2.1 ...: for people who look at it, not for tests side by side.
    first_addresses: bool = False
    #: Behave as where only 127.0.0.1 can be bound.
    one_address: bool = False
    #: Whether the regions have the AWS-compatible API.
    aws_api: bool = True
    #: Whether regions reach each other's NATS through cables, so that they can be cut off.
    cables: bool = False

    def validate(self) -> None:
        if len(set(self.regions)) != len(self.regions) or not self.regions:
            raise ConfigError(f"region names {', '.join(self.regions)!r}", hint="different names")
        for name in self.regions:
            if not name.isascii() or not name.replace("-", "").isalnum() or len(name) > 32:
                raise ConfigError(f"region name {name!r}", hint="letters, digits and - only")
            if name == WITNESS:
                raise ConfigError(f"region name {name!r}", hint="the witness has that name")


class LocalSystem:
    """Regions and sites on this machine."""

    def __init__(
        self, settings: Settings, rng: random.Random, on_end: Callable[[str], None] | None = None
    ) -> None:
        settings.validate()
        self.settings = settings
        self.stable_name = settings.stable_name
        self._nats_binary = nats_server.find_binary(settings.nats_binary)
        self._on_end = on_end or (lambda _: None)
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(settings.state_dir)
        for name in ("secrets", "logs", "regions", "sites"):
            private_files.make_directory(settings.state_dir / name)
        self.pki = Pki(settings.state_dir / "pki")
        self.sites = (*settings.regions, WITNESS)
        self._addresses = Addresses(
            self.sites, rng, first=settings.first_addresses, one=settings.one_address
        )
        self.addresses = self._addresses.of
        self.shared_host = self._addresses.shared_host
        #: The same in every region, as access keys are.
        self.secrets_key = settings.state_dir / "secrets" / "access-keys.key"
        make_key(self.secrets_key)
        self.canary = self.pki.device(CANARY)
        self.operator = self.pki.operator("operator")
        #: By region, what its NATS is reached through by the others; none unless asked for.
        self.cables = {
            region: Cable(address.host, address.ports["nats"], address.ports["cable"])
            for region in settings.regions
            if settings.cables and (address := self.address(region))
        }
        self._children: dict[str, dict[str, Child]] = {}
        self._restarts: set[asyncio.Task[None]] = set()
        self._write_configs()

    # Where things are

    def hostname(self, region: str) -> str:
        return f"{region}.{self.stable_name}"

    @property
    def api_name(self) -> str:
        """What the AWS-compatible API is called in every region."""
        return API_PREFIX + self.stable_name

    @property
    def api_url(self) -> str:
        """Where AWS's clients reach whichever region is served, if they ask our nameservers.

        Empty where each region has another port: DNS leads such clients to addresses only.
        """
        if self.shared_host:
            return ""
        port = self.address(self.settings.regions[0]).ports["aws_api"]
        return f"https://{self.api_name}:{port}"

    def address(self, site: str) -> SiteAddress:
        return self.addresses[site]

    def region_dir(self, region: str) -> Path:
        return self.settings.state_dir / "regions" / region

    def lake_file(self, region: str) -> Path:
        return self.region_dir(region) / "lake" / "messages.jsonl"

    def events_file(self, site: str) -> Path:
        return self.settings.state_dir / "sites" / site / "events.jsonl"

    @property
    def nameservers(self) -> list[tuple[str, int]]:
        return [(each.host, each.ports["dns"]) for each in self.addresses.values()]

    def child(self, site: str, role: str) -> Child:
        """One process of a site that was started, by what it does."""
        return self._children[site][role]

    def another(self, region: str, role: str, number: int) -> Child:
        """One more process of a region, which whoever asks for it starts and stops."""
        return self._service(region, role, self.region_dir(region), f"-{number}")

    def pids(self, site: str | None = None) -> dict[str, int]:
        """Running processes by name, of one site or of all."""
        children = [
            child
            for name, each in self._children.items()
            if site in (None, name)
            for child in each.values()
        ]
        return {child.name: child.pid for child in children if child.pid is not None}

    # Configuration

    def _write_configs(self) -> None:
        for region in self.settings.regions:
            (self.region_dir(region)).mkdir(exist_ok=True)
            self._write_nats(region)
        for region in self.settings.regions:
            configs.dump(self.region_dir(region) / "region.toml", self.region_config(region))
        for site in self.sites:
            directory = self.settings.state_dir / "sites" / site
            directory.mkdir(exist_ok=True)
            configs.dump(directory / "site.toml", self.site_config(site))

    def _write_nats(self, region: str) -> None:
        address = self.address(region)
        identity = self.pki.nats(region, [self.hostname(region)], [address.host])
        nats_server.write_config(
            self.region_dir(region) / "nats.json",
            region=region,
            regions=self.settings.regions,
            host=address.host,
            port=address.ports["nats"],
            store=self.region_dir(region) / "jetstream",
            certificate=identity.chain,
            key=identity.key,
            seeds=self.settings.state_dir / "secrets",
        )

    def nats_access(self, region: str, user: str) -> NatsAccess:
        return NatsAccess(
            url=self.address(region).url("nats", "tls"),
            ca=str(self.pki.internal_ca_file),
            nkey_seed=str(self.settings.state_dir / "secrets" / f"{region}-{user}.nk"),
        )

    def _peer_access(self, peer: str, region: str) -> NatsAccess:
        """How a region reaches the NATS of another one."""
        access = self.nats_access(peer, f"peer-{region}")
        if peer not in self.cables:
            return access
        return msgspec.structs.replace(access, url=self.address(peer).url("cable", "tls"))

    def _listen(self, site: str, service: str) -> Listen:
        address = self.address(site)
        return Listen(host=address.host, port=address.ports[service])

    def region_config(self, region: str) -> RegionConfig:
        names = [self.stable_name, self.hostname(region)]
        hosts = [self.address(region).host]
        gateway = self.pki.gateway(region, names, hosts)
        api = self.pki.api(region, [self.hostname(region)], hosts)
        return RegionConfig(
            region=region,
            state_dir=str(self.region_dir(region)),
            nats=self.nats_access(region, "services"),
            gateway_nats=self.nats_access(region, "gateway"),
            lake_nats=self.nats_access(region, "lake"),
            peers=tuple(
                Peer(region=peer, nats=self._peer_access(peer, region))
                for peer in self.settings.regions
                if peer != region
            ),
            mqtt=self._listen(region, "mqtt"),
            https=self._listen(region, "https"),
            mqtt_tls=_files(gateway, self.pki.devices_ca_file),
            secrets_key=str(self.secrets_key),
            api=self._listen(region, "api"),
            api_tls=_files(api, self.pki.internal_ca_file),
            aws_api=self._aws_api(region) if self.settings.aws_api else None,
        )

    def _aws_api(self, region: str) -> AwsApi:
        own = self.hostname(region)
        names, hosts = [self.api_name, API_PREFIX + own, own], [self.address(region).host]
        identity = self.pki.aws_api(region, names, hosts)
        return AwsApi(
            listen=self._listen(region, "aws_api"),
            tls=ServerFiles(certificate=str(identity.chain), key=str(identity.key)),
            nats=self.nats_access(region, "api"),
            device_host=self.stable_name,
            buckets={BUCKET: str(self.bucket(region))},
        )

    def bucket(self, region: str) -> Path:
        """The directory that stands for the one bucket of a local region."""
        directory = self.region_dir(region) / "bucket"
        private_files.make_directory(directory)
        return directory

    def site_config(self, site: str) -> SiteConfig:
        host = self.address(site).host
        identity = self.pki.site(site, [f"{site}.site.{self.stable_name}"], [host])
        return SiteConfig(
            site=site,
            state_dir=str(self.settings.state_dir / "sites" / site),
            sites=tuple(
                SitePeer(name=name, url=self.address(name).url("mesh", "https"))
                for name in self.sites
            ),
            regions=tuple(
                RoutedRegion(
                    name=region,
                    hostname=self.hostname(region),
                    address=self.address(region).host,
                    mqtt_port=self.address(region).ports["mqtt"],
                )
                for region in self.settings.regions
            ),
            stable_name=self.stable_name,
            dns=self._listen(site, "dns"),
            mesh=self._listen(site, "mesh"),
            mesh_tls=_files(identity, self.pki.internal_ca_file),
            canary_tls=_files(self.canary, self.pki.ca_file),
            nats=None if site == WITNESS else self.nats_access(site, "site"),
        )

    # Life

    async def start(self, site: str) -> None:
        """Start one site's processes; returns when each says that it serves."""
        await asyncio.gather(self.start_region(site), self.start_site(site))

    async def start_region(self, site: str) -> None:
        """Start a region without its site; nothing to do for the witness."""
        children = self._children.setdefault(site, {})
        if site != WITNESS:
            region = self._make_region(site)
            children |= region
            if cable := self.cables.get(site):
                await cable.open()
            await region.pop("nats").start()
            await asyncio.gather(*(child.start() for child in region.values()))

    async def start_site(self, site: str) -> None:
        """Start observer, director and nameserver of a site."""
        directory = self.settings.state_dir / "sites" / site
        child = self._service(site, "site", directory)
        self._children.setdefault(site, {})["site"] = child
        await child.start()

    def _make_region(self, region: str) -> dict[str, Child]:
        directory = self.region_dir(region)
        command = [str(self._nats_binary), "-c", str(directory / "nats.json")]
        address = self.address(region)
        probe = (address.host, address.ports["nats"])
        log = self.settings.state_dir / "logs" / f"{region}-nats.log"
        nats = Child(f"{region}-nats", command, log, probe=probe, on_end=self._ended)
        roles = ("services", "gateway", "lake", *(("api",) if self.settings.aws_api else ()))
        return {"nats": nats, **{role: self._service(region, role, directory) for role in roles}}

    def _service(self, site: str, role: str, directory: Path, suffix: str = "") -> Child:
        file = directory / ("site.toml" if role == "site" else "region.toml")
        command = [*self.settings.launcher, "serve", role, "--config", str(file), "--leash"]
        name = f"{site}-{role}{suffix}"
        log = self.settings.state_dir / "logs" / f"{name}.log"
        return Child(name, command, log, on_end=self._ended)

    def _ended(self, child: Child, code: int) -> None:
        """A process that nobody stopped has ended: start it again, and say so."""
        self._on_end(f"{child.name} ended with code {code}; it is started again")
        task = asyncio.create_task(self._start_again(child))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _start_again(self, child: Child) -> None:
        await asyncio.sleep(RESTART_S)
        try:
            await child.start()
        except Unavailable as error:
            # One that has ended is started once more, as any other.
            self._on_end(str(error))

    def kill(self, site: str) -> None:
        """SIGKILL to every process of a site."""
        for child in self._children[site].values():
            child.kill()

    def freeze(self, site: str) -> None:
        """SIGSTOP to every process of a site: silence, no resets."""
        for child in self._children[site].values():
            child.signal(signal.SIGSTOP)

    def thaw(self, site: str) -> None:
        """SIGCONT to every process of a site."""
        for child in self._children[site].values():
            child.signal(signal.SIGCONT)

    async def cut(self) -> None:
        """Cut every region off from every other one; all else goes on."""
        self._check_cables()
        await asyncio.gather(*(cable.cut() for cable in self.cables.values()))

    async def heal(self) -> None:
        """Let regions that were cut off from each other reach each other again."""
        self._check_cables()
        await asyncio.gather(*(cable.heal() for cable in self.cables.values()))

    def _check_cables(self) -> None:
        if not self.cables:
            raise ConfigError("cables is false: nothing can be cut", hint="Settings(cables=True)")

    async def gone(self, site: str) -> None:
        """Wait until every process of a site is gone."""
        for child in self._children[site].values():
            await child.ended()

    def wipe(self, region: str) -> None:
        """Remove everything that a region keeps on disk; its processes must be gone."""
        for name in ("jetstream", "lake", "views"):
            shutil.rmtree(self.region_dir(region) / name, ignore_errors=True)

    async def stop(self) -> list[str]:
        """Stop everything; returns the names of what ran."""
        for task in list(self._restarts):
            task.cancel()
        children = [child for each in self._children.values() for child in each.values()]
        # Services first: they still want to write down where they are.
        services = [child for child in children if not child.name.endswith("-nats")]
        servers = [child for child in children if child.name.endswith("-nats")]
        ran = await asyncio.gather(*(child.stop() for child in services))
        ran += await asyncio.gather(*(child.stop() for child in servers))
        await asyncio.gather(*(cable.cut() for cable in self.cables.values()))
        self._addresses.release()
        os.close(self._lock)
        pairs = zip([*services, *servers], ran, strict=True)
        return sorted(child.name for child, was in pairs if was)


def _lock(directory: Path) -> int:
    """Hold a directory; two systems in one would corrupt each other's streams."""
    handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        hint = "stop the one that runs there, or name another directory"
        raise ConfigError(f"{directory} is in use by another run", hint=hint) from None
    return handle


def _files(identity: Identity, ca: Path) -> TlsFiles:
    return TlsFiles(certificate=str(identity.chain), key=str(identity.key), ca=str(ca))
