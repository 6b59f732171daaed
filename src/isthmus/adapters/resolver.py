"""Finds where a name leads by asking our own nameservers, which a dead or silent one only delays.

One SRV question brings host, port and, in its additional section, the address: one answer, so it
never mixes two plans. An answer is kept for its TTL and no longer: when nobody answers, that is an
OSError and never an old route.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from isthmus.core.zone import SRV_PREFIX

#: Where MQTT over TLS is when a name has an address and no SRV.
MQTT_PORT = 8883
#: Names in the cache; a fleet asks for a handful.
CACHE_NAMES_MAX = 256
#: Answers are a few hundred bytes; more is not ours.
ANSWER_BYTES_MAX = 4096

_Places = list[tuple[str, int]]
_ADDRESSES = (dns.rdatatype.A, dns.rdatatype.AAAA)


class NoSuchName(socket.gaierror):
    """A nameserver of ours says that the name does not exist: asking another one will not help."""


@dataclass(frozen=True)
class _Cached:
    places: _Places
    until_s: float


class ZoneResolver:
    """Implements ports.Resolver, and the same for threads; one may be shared by all of them."""

    def __init__(
        self,
        nameservers: Sequence[tuple[str, int]],
        timeout_s: float = 0.3,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self._nameservers = list(nameservers)
        self._timeout_s = timeout_s
        self._clock = clock
        self._cache: dict[str, _Cached] = {}
        self._lock = threading.Lock()
        # A random start spreads a fleet over the nameservers; after that, the one that answered
        # last is asked first, so a dead one costs its timeout once and not every time.
        self._first = (chance or random.Random()).randrange(max(1, len(self._nameservers)))

    async def resolve(self, name: str) -> _Places:
        """Answer (address, port) pairs; raises OSError if no nameserver answered."""
        cached = self._cached(name)
        if cached is not None:
            return cached
        failures: list[str] = []
        for index in self._order():
            try:
                places, ttl_s = await self._look_up(self._nameservers[index], name)
            except NoSuchName:
                raise
            except (_UselessError, OSError) as error:
                failures.append(self._failure(index, error))
                continue
            return self._keep(name, index, places, ttl_s)
        raise OSError(f"no nameserver answered for {name}: {'; '.join(failures)}")

    def resolve_sync(self, name: str) -> _Places:
        """Do what ``resolve`` does, from a thread."""
        cached = self._cached(name)
        if cached is not None:
            return cached
        failures: list[str] = []
        for index in self._order():
            try:
                places, ttl_s = self._look_up_sync(self._nameservers[index], name)
            except NoSuchName:
                raise
            except (_UselessError, OSError) as error:
                failures.append(self._failure(index, error))
                continue
            return self._keep(name, index, places, ttl_s)
        raise OSError(f"no nameserver answered for {name}: {'; '.join(failures)}")

    async def _look_up(self, nameserver: tuple[str, int], name: str) -> tuple[_Places, float]:
        response = await _ask(nameserver, _srv_question(name), self._timeout_s)
        found = _from_srv(response)
        if found is None:
            found = _from_address(await _ask(nameserver, _address_question(name), self._timeout_s))
        return found

    def _look_up_sync(self, nameserver: tuple[str, int], name: str) -> tuple[_Places, float]:
        response = _ask_sync(nameserver, _srv_question(name), self._timeout_s)
        found = _from_srv(response)
        if found is None:
            found = _from_address(_ask_sync(nameserver, _address_question(name), self._timeout_s))
        return found

    def _order(self) -> list[int]:
        count = len(self._nameservers)
        return [(self._first + offset) % count for offset in range(count)]

    def _failure(self, index: int, error: Exception) -> str:
        host, port = self._nameservers[index]
        return f"{host}:{port} {str(error) or type(error).__name__}"

    def _cached(self, name: str) -> _Places | None:
        held = self._cache.get(name.lower())
        return list(held.places) if held and self._clock() < held.until_s else None

    def _keep(self, name: str, index: int, places: _Places, ttl_s: float) -> _Places:
        with self._lock:
            self._first = index
            if len(self._cache) >= CACHE_NAMES_MAX:
                self._cache.clear()
            self._cache[name.lower()] = _Cached(places, self._clock() + ttl_s)
        return list(places)


class _UselessError(Exception):
    """This nameserver's answer is of no use; another one's may be."""


def _srv_question(name: str) -> dns.message.Message:
    return dns.message.make_query(SRV_PREFIX + name.rstrip("."), "SRV", use_edns=0, payload=1232)


def _address_question(name: str) -> dns.message.Message:
    return dns.message.make_query(name, "A", use_edns=0, payload=1232)


def _from_srv(response: dns.message.Message) -> tuple[_Places, float] | None:
    """Read host, port and address; None where the name has no SRV or its address is elsewhere."""
    addresses = {each.name: each for each in response.additional if each.rdtype in _ADDRESSES}
    places: list[tuple[int, str, int]] = []
    ttl_s = float("inf")
    for rrset in response.answer:
        for srv in rrset if rrset.rdtype == dns.rdatatype.SRV else ():
            held = addresses.get(srv.target)
            if held is not None:
                ttl_s = min(ttl_s, rrset.ttl, held.ttl)
                places += [(srv.priority, each.address, srv.port) for each in held]
    if not places:
        return None
    return [(address, port) for _, address, port in sorted(places)], ttl_s


def _from_address(response: dns.message.Message) -> tuple[_Places, float]:
    if response.rcode() == dns.rcode.NXDOMAIN:
        raise NoSuchName(socket.EAI_NONAME, f"{response.question[0].name} does not exist")
    rrsets = [each for each in response.answer if each.rdtype in _ADDRESSES]
    if not rrsets:
        raise NoSuchName(socket.EAI_NONAME, f"{response.question[0].name} has no address")
    places = [(each.address, MQTT_PORT) for rrset in rrsets for each in rrset]
    return places, float(min(rrset.ttl for rrset in rrsets))


def _read(wire: bytes, query: dns.message.Message) -> dns.message.Message | None:
    """Read an answer; None if it is not to this query, so that nobody can slip in another."""
    try:
        response = dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError):
        return None
    if response.id != query.id or not response.flags & dns.flags.QR:
        return None
    if response.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise _UselessError(f"answers {dns.rcode.to_text(response.rcode())}")
    if response.flags & dns.flags.TC:
        raise _UselessError("answers too much for UDP")
    return response if query.is_response(response) else None


def _connected(nameserver: tuple[str, int]) -> socket.socket:
    """Connect, so that the port of a dead process answers with a refusal and not with silence."""
    family = socket.AF_INET6 if ":" in nameserver[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.connect(nameserver)
    except OSError as error:
        sock.close()
        raise _UselessError(str(error)) from None
    return sock


async def _ask(
    nameserver: tuple[str, int], query: dns.message.Message, timeout_s: float
) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    with contextlib.closing(_connected(nameserver)) as sock:
        sock.setblocking(False)
        async with asyncio.timeout(timeout_s):
            await loop.sock_sendall(sock, query.to_wire())
            while True:
                response = _read(await loop.sock_recv(sock, ANSWER_BYTES_MAX), query)
                if response is not None:
                    return response


def _ask_sync(
    nameserver: tuple[str, int], query: dns.message.Message, timeout_s: float
) -> dns.message.Message:
    until_s = time.monotonic() + timeout_s
    with contextlib.closing(_connected(nameserver)) as sock:
        sock.settimeout(timeout_s)
        sock.send(query.to_wire())
        while True:
            response = _read(sock.recv(ANSWER_BYTES_MAX), query)
            if response is not None:
                return response
            sock.settimeout(max(0.001, until_s - time.monotonic()))


def install_resolver(zone_resolver: ZoneResolver, stable_suffix: str) -> Callable[[], None]:
    """Make ``socket.getaddrinfo`` of this process follow the route; answers how to undo it.

    For the process of a load fleet only: a stock client knows a name and a port, and the regions
    of one machine may differ by nothing but the port, so address *and* port come from SRV. Names
    outside the suffix go to the system.
    """
    system = socket.getaddrinfo
    suffix = stable_suffix.lower().rstrip(".")

    def getaddrinfo(
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        asked = (name or "").lower().rstrip(".")
        if asked != suffix and not asked.endswith(f".{suffix}"):
            return system(host, port, family, type, proto, flags)
        places = zone_resolver.resolve_sync(asked)
        return [
            entry
            for address, mapped in places
            for entry in system(address, mapped, family, type, proto, socket.AI_NUMERICHOST)
        ]

    def undo() -> None:
        socket.getaddrinfo = system

    socket.getaddrinfo = getaddrinfo
    return undo
