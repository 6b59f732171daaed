"""The resolver against real nameservers: dead, silent, wrong ones, and its cache."""

from __future__ import annotations

import asyncio
import random
import socket
import threading

import dns.message
import pytest
import pytest_asyncio

from isthmus.adapters.nameserver import Nameserver
from isthmus.adapters.resolver import NoSuchName, ZoneResolver, install_resolver
from isthmus.core.zone import Endpoint, Plan, Records, SiteHost, Zone, zone_of

APEX = "iot.example.com"
PLAN = Plan(
    apex=APEX,
    ttl_s=5,
    endpoints=(
        Endpoint("eu", f"eu.{APEX}", "127.0.0.1", 18883),
        Endpoint("us", f"us.{APEX}", "127.0.0.1", 28883),
    ),
    sites=(SiteHost("eu", "127.0.0.1"),),
)
AT_EU, AT_US = [("127.0.0.1", 18883)], [("127.0.0.1", 28883)]


class Clock:
    """Time that passes when told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class First(random.Random):
    """Chance that always starts with the first nameserver."""

    def randrange(self, *_):
        return 0


@pytest_asyncio.fixture
async def server():
    nameserver = Nameserver(zone_of(PLAN, "eu", 1))
    await nameserver.start("127.0.0.1", 0)
    yield nameserver
    await nameserver.stop()


@pytest.fixture
def silent():
    """A nameserver that is frozen: its socket takes questions, and nothing comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def dead_place() -> tuple[str, int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()


def resolver_for(*places: tuple[str, int], timeout_s: float = 5.0, clock=None) -> ZoneResolver:
    return ZoneResolver(list(places), timeout_s, clock=clock or Clock(), chance=First())


async def both(resolver: ZoneResolver, name: str) -> list[list[tuple[str, int]]]:
    """Ask in both ways, each with a cache of its own."""
    answers = [await resolver.resolve(name)]
    resolver._cache.clear()
    answers.append(await asyncio.to_thread(resolver.resolve_sync, name))
    return answers


async def test_it_finds_address_and_port(server):
    resolver = resolver_for((server.host, server.port))
    assert await both(resolver, APEX) == [AT_EU, AT_EU]
    assert await both(resolver, f"US.{APEX}.") == [AT_US, AT_US]


async def test_a_name_without_srv_has_the_usual_port(server):
    zone = zone_of(PLAN, "eu", 1)
    plain = Records(f"plain.{APEX}", "A", 5, ("127.0.0.9",))
    server.replace(Zone(zone.apex, zone.serial, (*zone.records, plain)))
    resolver = resolver_for((server.host, server.port))
    assert await both(resolver, f"plain.{APEX}") == [[("127.0.0.9", 8883)]] * 2


async def test_a_dead_nameserver_is_passed_over_at_once_and_not_asked_first_again(server):
    resolver = resolver_for(dead_place(), (server.host, server.port), timeout_s=3600)
    assert await resolver.resolve(APEX) == AT_EU
    assert resolver._first == 1
    again = resolver_for(dead_place(), (server.host, server.port), timeout_s=3600)
    assert await asyncio.to_thread(again.resolve_sync, APEX) == AT_EU
    assert again._first == 1


async def test_a_silent_nameserver_costs_its_timeout_once(server, silent):
    place = (server.host, server.port)
    resolver = resolver_for(silent.getsockname(), place, timeout_s=0.05)
    assert await both(resolver, APEX) == [AT_EU, AT_EU]
    assert silent.recv(4096)
    silent.setblocking(False)
    with pytest.raises(BlockingIOError):
        silent.recv(4096)


async def test_a_nameserver_that_cannot_say_is_passed_over(server):
    unsure = Nameserver(None)
    await unsure.start("127.0.0.1", 0)
    resolver = resolver_for((unsure.host, unsure.port), (server.host, server.port))
    assert await both(resolver, APEX) == [AT_EU, AT_EU]
    await unsure.stop()


async def test_nobody_answering_is_an_error_that_names_everybody(silent):
    host, port = dead_place()
    resolver = resolver_for((host, port), silent.getsockname(), timeout_s=0.05)
    for answer in (resolver.resolve(APEX), asyncio.to_thread(resolver.resolve_sync, APEX)):
        with pytest.raises(
            OSError, match=f"no nameserver answered for {APEX}.*{port}.*Timeout|timed"
        ):
            await answer


async def test_a_name_that_does_not_exist_is_not_asked_for_elsewhere(server, silent):
    resolver = resolver_for((server.host, server.port), silent.getsockname())
    for answer in (
        resolver.resolve(f"mars.{APEX}"),
        asyncio.to_thread(resolver.resolve_sync, f"mars.{APEX}"),
    ):
        with pytest.raises(NoSuchName):
            await answer


async def test_an_answer_is_kept_for_its_ttl_and_no_longer(server):
    clock = Clock()
    resolver = resolver_for((server.host, server.port), clock=clock)
    assert await resolver.resolve(APEX) == AT_EU
    server.replace(zone_of(PLAN, "us", 2))
    clock.now_s += 4.9
    assert await resolver.resolve(APEX) == AT_EU
    assert resolver.resolve_sync(APEX.upper()) == AT_EU
    clock.now_s += 0.2
    assert await resolver.resolve(APEX) == AT_US
    await server.stop()
    clock.now_s += 6
    with pytest.raises(OSError, match="no nameserver answered"):
        await resolver.resolve(APEX)


async def test_an_answer_to_another_question_is_not_taken(silent):
    """Forged or late answers go by, and the right one after them is taken."""
    nameserver = Nameserver(zone_of(PLAN, "eu", 1))
    forged = Nameserver(zone_of(PLAN, "us", 9))

    def serve() -> None:
        wire, client = silent.recvfrom(4096)
        other_id = bytes([wire[0] ^ 1]) + wire[1:]
        question = dns.message.make_query(f"eu.{APEX}", "A", id=int.from_bytes(wire[:2], "big"))
        for reply in (
            b"\0garbage",
            forged.answer(other_id, size_max=1232),
            forged.answer(question.to_wire(), size_max=1232),
            nameserver.answer(wire, size_max=1232),
        ):
            silent.sendto(reply, client)

    resolver = resolver_for(silent.getsockname())
    thread = threading.Thread(target=serve)
    thread.start()
    assert await resolver.resolve(APEX) == AT_EU
    thread.join()


async def test_this_processes_getaddrinfo_follows_the_route_until_undone(server):
    system = socket.getaddrinfo
    resolver = resolver_for((server.host, server.port), clock=Clock())
    undo = install_resolver(resolver, APEX)
    try:
        found = await asyncio.to_thread(
            socket.getaddrinfo, APEX, 8883, socket.AF_UNSPEC, socket.SOCK_STREAM
        )
        assert [(entry[0], entry[4]) for entry in found] == [(socket.AF_INET, AT_EU[0])]
        by_region = await asyncio.to_thread(socket.getaddrinfo, f"us.{APEX}".encode(), 8883)
        assert by_region[0][4] == AT_US[0]
        assert socket.getaddrinfo("127.0.0.1", 7)[0][4] == ("127.0.0.1", 7)
        assert socket.getaddrinfo(None, 7)
        with pytest.raises(socket.gaierror):
            await asyncio.to_thread(socket.getaddrinfo, f"mars.{APEX}", 8883)
    finally:
        undo()
    assert socket.getaddrinfo is system
