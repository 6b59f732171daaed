"""Three sites in one process on loopback, over real mutual TLS and real DNS sockets.

Only the probes are an object of the test: a Prober is a port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import dns.message
import msgspec
import pytest
from site_pki import SitePki

from isthmus.adapters.tls import Identity, client_context, identity_of
from isthmus.config import Listen, RoutedRegion, SiteConfig, SitePeer
from isthmus.core.contact import SiteState
from isthmus.core.routing import Intent, Route, Rules, first_route
from isthmus.core.zone import Zone
from isthmus.director.announcer import Announcer
from isthmus.director.director import Director
from isthmus.director.journal import EVENTS_FILE, ROUTES_FILE, Journal
from isthmus.director.serving import Serving
from isthmus.director.site import run_site
from isthmus.errors import ConfigError, InputError
from isthmus.tasks import end

STABLE = "iot.example.com"
SITES = ("eu", "us", "witness")
ADDRESS = {"eu": "127.0.1.1", "us": "127.0.2.1"}


class Probes:
    """What each site's probes of each region find; None is a good probe."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], str | None] = {}

    def set(self, region: str, failure: str | None, *sites: str) -> None:
        for site in sites or SITES:
            self.found[site, region] = failure

    def of(self, site: str):
        probes = self

        class SiteProber:
            async def probe(self, region: RoutedRegion) -> str | None:
                return probes.found.get((site, region.name))

        return SiteProber()


class Events:
    """Every event of every site, to be awaited."""

    def __init__(self) -> None:
        self.seen: list[dict] = []
        self._more = asyncio.Event()

    def add(self, event: dict) -> None:
        self.seen.append(event)
        self._more.set()

    async def first(self, since: int = 0, **fields) -> dict:
        """The first event after position ``since`` with these fields, waited for."""
        while True:
            for event in self.seen[since:]:
                if all(event.get(key) == value for key, value in fields.items()):
                    return event
            self._more.clear()
            await self._more.wait()


class World:
    """The sites of one test."""

    def __init__(self, directory: Path, events: Events) -> None:
        self.pki = SitePki(directory)
        self.probes = Probes()
        self.events = events
        self.directory = directory
        self.tasks: dict[str, asyncio.Task] = {}
        self.routes: dict[str, list[tuple[int, str]]] = {site: [] for site in SITES}
        self._ports = free_ports(2 * len(SITES))
        self.operator = self.pki.issue("ann", "operator")

    def config(self, site: str, **changes) -> SiteConfig:
        number = SITES.index(site)
        identity = self.pki.issue(site, "site")
        fields = {
            "site": site,
            "state_dir": str(self.directory / site),
            "sites": tuple(
                SitePeer(name=name, url=f"https://127.0.0.1:{port}")
                for name, port in zip(SITES, self._ports, strict=False)
            ),
            "regions": tuple(
                RoutedRegion(
                    name=name, hostname=f"{name}.{STABLE}", address=ADDRESS[name], mqtt_port=8883
                )
                for name in ("eu", "us")
            ),
            "stable_name": STABLE,
            "dns": Listen(host="127.0.0.1", port=self._ports[len(SITES) + number]),
            "mesh": Listen(host="127.0.0.1", port=self._ports[number]),
            "mesh_tls": identity,
            "canary_tls": identity,
            "probe_interval_s": 0.02,
            "mesh_interval_s": 0.02,
            "start_grace_s": 3600.0,
            "pause_limit_s": 1.5,
        }
        return SiteConfig(**(fields | changes))

    async def start(self, *sites: str, wait: bool = True, **changes) -> None:
        ready = {site: asyncio.Event() for site in sites}
        for site in sites:

            async def listener(name: str, epoch: int, target: str, site: str = site) -> None:
                assert name == STABLE
                self.routes[site].append((epoch, target))
                self.events.add({"action": "told", "site": site, "epoch": epoch})

            run = run_site(
                self.config(site, **changes),
                route_listener=listener,
                ready=ready[site].set,
                prober=self.probes.of(site),
            )
            self.tasks[site] = asyncio.create_task(run)
        for event in ready.values() if wait else ():
            await event.wait()

    async def stop(self, *sites: str) -> None:
        for site in sites or list(self.tasks):
            task = self.tasks.pop(site)
            await end([task])
            if not task.cancelled():
                task.result()

    async def all_told(self, epoch: int) -> None:
        for site in self.tasks:
            await self.events.first(action="told", site=site, epoch=epoch)

    async def call(self, path: str, body=None, *, site="witness", tls=None) -> tuple[int, dict]:
        url = f"https://127.0.0.1:{self.config(site).mesh.port}{path}"
        context = client_context(tls or self.operator)
        method = "GET" if body is None else "POST"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, data=data, ssl=context) as response,
        ):
            return response.status, await response.json(content_type=None)

    async def look_up(self, site: str) -> str:
        """What the site's nameserver answers for the stable name: its address, or why not."""
        query = dns.message.make_query(STABLE, "A")
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(("127.0.0.1", self.config(site).dns.port))
            await loop.sock_sendall(sock, query.to_wire())
            response = dns.message.from_wire(await loop.sock_recv(sock, 4096))
        return response.answer[0][0].to_text() if response.answer else response.rcode().name


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def intent(target: str = "eu", if_epoch: int = 2, **changes) -> dict:
    fields = {"id": "i-1", "kind": "move", "target": target, "if_epoch": if_epoch}
    return fields | {"expires_ms": int(time.time() * 1000) + 60_000} | changes


@pytest.fixture
async def world(tmp_path, monkeypatch):
    events = Events()
    record: Callable = Journal.event

    def event(self, action, reason, **fields):
        record(self, action, reason, **fields)
        events.add({"site": self._site, "action": action, "reason": reason, **fields})

    monkeypatch.setattr(Journal, "event", event)
    world = World(tmp_path, events)
    yield world
    await world.stop()


async def failover(world: World) -> None:
    """Bring three sites up, and let two of them lose sight of eu."""
    await world.start(*SITES)
    await world.events.first(action="verdict", region="us", verdict="healthy", site="us")
    world.probes.set("eu", "connection refused", "us", "witness")
    await world.all_told(2)


async def test_a_new_system_serves_its_first_region_at_every_site(world):
    await world.start(*SITES)
    await world.all_told(1)
    assert set(world.routes) == set(SITES)
    assert {route for routes in world.routes.values() for route in routes} == {(1, "eu")}
    assert [await world.look_up(site) for site in SITES] == [ADDRESS["eu"]] * 3


async def test_two_of_three_sites_move_the_route_everywhere(world):
    await failover(world)
    assert {routes[-1] for routes in world.routes.values()} == {(2, "us")}
    assert [await world.look_up(site) for site in SITES] == [ADDRESS["us"]] * 3
    for site in SITES:
        held = json.loads((world.directory / site / ROUTES_FILE).read_bytes())["routes"]
        assert [(route["epoch"], route["target"]) for route in held] == [(2, "us")]


async def test_events_tell_the_outage_as_a_timeline(world):
    started = time.time()
    await failover(world)
    path = world.directory / "us" / EVENTS_FILE
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(started <= event["at"] <= time.time() and event["reason"] for event in events)
    assert {event["site"] for event in events} == {"us"}
    verdict = next(each for each in events if each.get("verdict") == "unhealthy")
    assert verdict["region"] == "eu"
    assert "connection refused" in verdict["reason"]
    moved = next(each for each in events if each.get("epoch") == 2)
    assert (moved["target"], events.index(moved) > events.index(verdict)) == ("us", True)


async def test_failback_is_an_operators_and_refused_while_the_region_is_unhealthy(world):
    await failover(world)
    status, answer = await world.call("/intents", intent())
    assert (status, answer["accepted"]) == (409, False)
    assert answer["reason"].startswith("target eu is unhealthy: 2 of 3 configured sites")
    seen = len(world.events.seen)
    world.probes.set("eu", None)
    await world.events.first(since=seen, action="verdict", verdict="healthy", site="witness")
    assert world.routes["witness"][-1] == (2, "us")
    status, answer = await world.call("/intents", intent())
    assert (status, answer["accepted"], answer["route"]["epoch"]) == (200, True, 3)
    await world.all_told(3)
    assert {routes[-1] for routes in world.routes.values()} == {(3, "eu")}
    status, answer = await world.call("/intents", intent())
    assert (status, answer["reason"]) == (200, f"{STABLE} is already at eu.")
    assert answer["route"]["epoch"] == 3


async def test_a_stale_intent_is_refused(world):
    await failover(world)
    status, answer = await world.call("/intents", intent("us", if_epoch=1, id="other"))
    assert status == 200  # It is where the operator wanted it.
    status, answer = await world.call("/intents", intent("eu", if_epoch=1))
    assert (status, answer["reason"]) == (
        409,
        f"if_epoch is 1, but the route of {STABLE} has 2.",
    )


async def test_a_pause_at_one_site_holds_every_site_until_it_is_lifted(world):
    await world.start(*SITES)
    await world.events.first(action="verdict", region="us", verdict="healthy", site="us")
    pause = intent("", if_epoch=1, kind="pause", id="p")
    assert (await world.call("/intents", pause, site="eu"))[0] == 200
    for site in SITES:
        await world.events.first(action="kept", site=site, reason="Paused by intent 'p': eu stays.")
    world.probes.set("eu", "connection refused")
    for site in SITES:
        await world.events.first(action="verdict", region="eu", verdict="unhealthy", site=site)
    status, answer = await world.call("/intents", intent("us", if_epoch=1, force=True))
    assert (status, answer["accepted"]) == (409, False)
    assert "Paused by intent 'p'" in answer["reason"]
    assert all(routes == [(1, "eu")] for routes in world.routes.values())
    status, answer = await world.call("/intents", pause | {"lifted": True}, site="us")
    assert (status, answer["reason"]) == (200, "The pause 'p' is lifted.")
    await world.all_told(2)


async def test_only_operators_send_intents_and_only_sites_join_the_mesh(world):
    await failover(world)
    for unit in ((), ("site",), ("operators",), ("Operator",), ("site", "operator")):
        tls = world.pki.issue("OU=operator", *unit)
        status, answer = await world.call("/intents", intent(force=True), tls=tls)
        assert (status, "OU 'operator'" in answer["error"]) == (403, True)
    status, answer = await world.call("/mesh", b"{}")
    assert (status, "OU 'site'" in answer["error"]) == (403, True)
    nobody = world.pki.issue("nobody", "device")
    assert (await world.call("/status", tls=nobody))[0] == 403
    assert world.routes["witness"][-1] == (2, "us")


async def test_without_a_certificate_nobody_gets_in(world):
    await world.start(*SITES)
    url = f"https://127.0.0.1:{world.config('eu').mesh.port}/status"
    context = client_context(world.operator)
    naked = type(context)(context.protocol)
    naked.load_verify_locations(world.pki.ca)
    async with aiohttp.ClientSession() as session:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await session.get(url, ssl=naked)


async def test_a_site_speaks_only_for_itself(world):
    await world.start(*SITES)
    forged = {"site": "us", "incarnation": "x", "sent_s": 1, "state": {"votes": {}, "routes": []}}
    tls = world.pki.issue("eu", "site")
    status, answer = await world.call("/mesh", forged, tls=tls)
    assert (status, answer["error"]) == (400, "site is 'us', but the certificate says 'eu'")
    stranger = world.pki.issue("mars", "site")
    assert (await world.call("/mesh", forged | {"site": "mars"}, tls=stranger))[0] == 400


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"if_epoch": "2"}, "$.if_epoch"),
        ({"kind": "drain"}, "$.kind"),
        ({"if_epoch": 0}, "$.if_epoch"),
        ({"colour": "red"}, "colour"),
        ({"id": ""}, "$.id"),
    ],
)
async def test_an_error_names_the_field(world, changes, named):
    await world.start(*SITES)
    status, answer = await world.call("/intents", intent() | changes)
    assert status == 400
    assert named in answer["error"]
    missing = intent()
    del missing["if_epoch"]
    assert "if_epoch" in (await world.call("/intents", missing))[1]["error"]


async def test_bodies_are_bounded_and_unknown_paths_are_said_in_json(world):
    await world.start(*SITES)
    status, answer = await world.call("/intents", b"{" * 70_000)
    assert (status, answer["error"]) == (413, "Request Entity Too Large")
    assert (await world.call("/nowhere")) == (404, {"error": "Not Found"})


async def test_status_says_what_is_known_and_why(world):
    await failover(world)
    status, answer = await world.call("/status")
    assert status == 200
    assert answer["route"]["target"] == "us"
    assert answer["served"]["answering"]
    assert answer["served"]["target"] == "us"
    assert answer["verdicts"]["eu"]["health"] == "unhealthy"
    assert answer["verdicts"]["eu"]["votes"]["us"] == "unhealthy"
    assert {name for name, site in answer["sites"].items() if site["heard"]} == set(SITES)
    assert answer["reason"]


async def test_a_site_that_comes_back_never_serves_its_old_plan(world):
    await world.start(*SITES)
    await world.events.first(action="verdict", region="us", verdict="healthy", site="us")
    await world.stop("eu")
    world.probes.set("eu", "connection refused")
    await world.all_told(2)
    world.routes["eu"].clear()
    await world.start("eu")
    await world.events.first(action="told", site="eu", epoch=2)
    assert world.routes["eu"] == [(2, "us")]
    assert await world.look_up("eu") == ADDRESS["us"]


async def test_a_site_that_is_alone_at_its_start_says_that_it_cannot_say(world):
    await failover(world)
    await world.stop()
    (world.directory / "eu" / ROUTES_FILE).unlink()
    world.routes["eu"].clear()
    seen = len(world.events.seen)
    await world.start("eu", wait=False)
    await world.events.first(since=seen, action="kept", site="eu")
    assert await world.look_up("eu") == "SERVFAIL"
    assert world.routes["eu"] == []
    world.probes.set("eu", None)
    await world.start("us", "witness")
    await world.events.first(since=seen, action="told", site="eu")
    assert world.routes["eu"] == [(2, "us")]
    assert await world.look_up("eu") == ADDRESS["us"]


async def test_a_cut_off_site_overrides_for_itself_and_drops_that_on_contact(world):
    world.probes.set("eu", "timed out", "us")
    await world.start("us", start_grace_s=0.0)
    event = await world.events.first(action="override", site="us")
    assert (event["epoch"], event["target"]) == (1, "us")
    assert await world.look_up("us") == ADDRESS["us"]
    await world.start("eu", "witness")
    dropped = await world.events.first(action="override-dropped", site="us")
    assert (dropped["epoch"], dropped["target"]) == (1, "eu")
    assert await world.look_up("us") == ADDRESS["eu"]
    assert all((2, "us") not in routes for routes in world.routes.values())


async def test_a_silent_site_delays_nobody(world):
    """One peer that takes connections and says nothing: the other two still are a majority."""
    with socket.socket() as frozen:
        frozen.bind(("127.0.0.1", world.config("witness").mesh.port))
        frozen.listen()
        await world.start("eu", "us")
        await world.events.first(action="verdict", region="us", verdict="healthy", site="us")
        world.probes.set("eu", "timed out")
        await world.all_told(2)


async def test_a_failing_listener_is_told_again(world):
    config = world.config("eu", start_grace_s=0.0)
    told = asyncio.Event()
    calls: list[int] = []

    async def listener(name: str, epoch: int, target: str) -> None:
        calls.append(epoch)
        if len(calls) == 1:
            raise OSError("the region's NATS is away")
        told.set()

    run = run_site(
        config, route_listener=listener, ready=lambda: None, prober=world.probes.of("eu")
    )
    world.tasks["eu"] = asyncio.create_task(run)
    await told.wait()
    assert calls == [1, 1]


class Told:
    """The mesh as a director sees it, with one peer that is ahead."""

    def __init__(self, route: Route) -> None:
        self.route = route

    def known(self) -> dict[str, SiteState]:
        return {"us": SiteState({}, (self.route,))}

    def fresh(self) -> dict[str, SiteState]:
        return {}

    def changed(self) -> None: ...


async def test_a_route_that_is_not_on_disk_is_told_to_nobody(world, tmp_path, monkeypatch):
    config = world.config("eu")
    with contextlib.closing(Journal(tmp_path, "eu")) as journal:
        serving = Serving(config, lambda zone: None, journal, clock=time.monotonic)
        director = Director(config, journal, serving, Announcer(None), wall_clock=time.time)
        director.others = Told(Route(STABLE, 2, "us", "failover"))
        told_while_recording: list[int] = []

        def full(_journal: Journal, routes: dict[str, Route]) -> None:
            told_while_recording.append(director.state().routes[0].epoch)
            raise OSError("no space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(Journal, "record_routes", full)
            with pytest.raises(OSError, match="no space left"):
                await director.submit(msgspec.convert(intent(), Intent))
        assert told_while_recording == [1]
        assert director.state().routes[0].epoch == 1
        await director.submit(msgspec.convert(intent(), Intent))
        assert director.state().routes == (journal.load_routes()[STABLE],)
        assert director.state().routes[0].epoch == 2


async def test_after_a_pause_the_nameserver_says_that_it_cannot_say_until_there_is_contact(
    world, tmp_path
):
    config = world.config("eu")
    zones: list[Zone | None] = []
    rules = Rules(preference=("eu", "us"), sites=SITES)
    route = first_route(STABLE, rules)
    with contextlib.closing(Journal(tmp_path, "eu")) as journal:
        serving = Serving(config, zones.append, journal, clock=lambda: 0.0)
        serving.update(route, {}, {"eu"}, rules)
        assert zones == []
        serving.update(route, {}, {"eu", "us"}, rules)
        serving.update(route, {}, {"eu"}, rules)
        assert len(zones) == 1
        serving.pause()
        serving.update(route, {}, {"eu"}, rules)
        assert (zones[1:], serving.informed.is_set()) == ([None], False)
        serving.update(route, {}, {"eu", "us"}, rules)
        assert (zones[2], serving.informed.is_set()) == (zones[0], True)


def test_routes_survive_and_a_broken_file_says_what_to_do(tmp_path):
    with contextlib.closing(Journal(tmp_path, "eu")) as journal:
        assert journal.load_routes() == {}
        route = Route(STABLE, 7, "us", "because")
        journal.record_routes({STABLE: route})
        assert journal.load_routes() == {STABLE: route}
        (tmp_path / ROUTES_FILE).write_text('{"routes": [{"name": "x"}]}')
        with pytest.raises(InputError, match="another site's copy"):
            journal.load_routes()


def test_an_identity_is_read_from_the_structure_of_the_subject():
    subject = ((("commonName", "OU=operator"),), (("organizationalUnitName", "site"),))
    assert identity_of({"subject": subject}) == Identity("OU=operator", "site")
    twice = ((("organizationalUnitName", "site"), ("organizationalUnitName", "operator")),)
    assert identity_of({"subject": twice}) == Identity("", "")
    assert identity_of(None) == Identity("", "")


def test_a_key_that_others_can_read_is_refused(tmp_path):
    files = SitePki(tmp_path).issue("eu", "site")
    Path(files.key).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        client_context(files)


def test_settings_that_contradict_each_other_are_refused(tmp_path, world):
    region = world.config("eu").regions[0]
    elsewhere = msgspec.structs.replace(region, hostname="eu.example.org")
    with pytest.raises(ConfigError, match=r"eu\.example\.org"):
        world.config("eu", regions=(elsewhere,)).validate()
    with pytest.raises(ConfigError, match="pause_limit_s"):
        world.config("eu", pause_limit_s=1.6).validate()
