"""An authoritative nameserver on UDP and TCP for one zone.

It answers from one immutable zone that is replaced as a whole, so no answer ever mixes two plans.
Whatever arrives, it goes on: a message that is not a query is dropped, one that is broken gets
FORMERR, and the number and size of TCP connections are bounded.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from dataclasses import dataclass
from typing import cast

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from isthmus.core.zone import Zone

log = logging.getLogger(__name__)

#: Larger than any query, small enough that many of them cost nothing.
QUERY_BYTES_MAX = 4096
#: What fits a UDP answer without fragments on any path: the DNS flag day of 2020.
UDP_ANSWER_BYTES_MAX = 1232
#: Without EDNS: RFC 1035 section 4.2.1.
PLAIN_ANSWER_BYTES_MAX = 512
TCP_CLIENTS_MAX = 64
TCP_IDLE_S = 5.0
#: Port 0 must find a number that is free for UDP and TCP alike.
PORT_ATTEMPTS_MAX = 20

_HEADER_BYTES = 12
_QR = 0x8000
_Key = tuple[dns.name.Name, dns.rdatatype.RdataType]


@dataclass(frozen=True)
class _Tables:
    """A zone in the form in which answers are looked up; names compare without case."""

    apex: dns.name.Name
    rrsets: dict[_Key, dns.rrset.RRset]
    #: Every name that exists, those included that only have names below them (RFC 8020).
    names: frozenset[dns.name.Name]
    soa: dns.rrset.RRset


def _tables_of(zone: Zone) -> _Tables:
    apex = dns.name.from_text(zone.apex)
    rrsets: dict[_Key, dns.rrset.RRset] = {}
    names = {apex}
    for each in zone.records:
        name = dns.name.from_text(each.name)
        rrset = dns.rrset.from_text_list(name, each.ttl_s, "IN", each.type, each.data)
        rrsets[(name, rrset.rdtype)] = rrset
        while name.is_subdomain(apex) and name not in names:
            names.add(name)
            name = name.parent()
    return _Tables(apex, rrsets, frozenset(names), rrsets[(apex, dns.rdatatype.SOA)])


class Nameserver:
    """Answers for one zone; ``None`` in its place means that nothing can be said yet (SERVFAIL)."""

    def __init__(self, zone: Zone | None = None) -> None:
        self._tables = _tables_of(zone) if zone else None
        self._udp: asyncio.DatagramTransport | None = None
        self._udp_closed = asyncio.Event()
        self._tcp: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.host = ""
        self.port = 0

    def replace(self, zone: Zone | None) -> None:
        """Answer from another zone from the next query on."""
        self._tables = _tables_of(zone) if zone else None

    async def start(self, host: str, port: int) -> None:
        """Listen on UDP and TCP of one port; raises OSError if it is taken."""
        for attempt in range(PORT_ATTEMPTS_MAX):
            try:
                await self._listen(host, port)
                return
            except OSError:
                if port or attempt == PORT_ATTEMPTS_MAX - 1:
                    raise

    async def _listen(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        udp, protocol = await loop.create_datagram_endpoint(
            lambda: _Udp(self), local_addr=(host, port)
        )
        bound: int = udp.get_extra_info("sockname")[1]
        try:
            self._tcp = await asyncio.start_server(self._serve_tcp, host, bound)
        except OSError:
            udp.close()
            raise
        self._udp, self._udp_closed = udp, protocol.closed
        self.host, self.port = host, bound

    async def stop(self) -> None:
        """Stop listening and drop TCP clients; doing it twice is fine."""
        if self._udp:
            self._udp.close()
        if self._tcp:
            self._tcp.close()
        for writer in self._clients.values():
            writer.transport.abort()
        await asyncio.gather(*self._clients, return_exceptions=True)
        if self._tcp:
            await self._tcp.wait_closed()
        if self._udp:
            # Until its socket is gone, a question would be taken and never answered.
            await self._udp_closed.wait()
        self._udp = self._tcp = None

    def answer(self, wire: bytes, *, size_max: int) -> bytes | None:
        """Answer one message; None for what is no query and must not be answered.

        Never answering an answer keeps two servers from talking to each other for ever.
        """
        if len(wire) < _HEADER_BYTES:
            return None
        flags, questions = struct.unpack_from("!HH", wire, 2)
        if flags & _QR:
            return None
        if dns.opcode.from_flags(flags) != dns.opcode.QUERY:
            return _bare(wire, dns.rcode.NOTIMP)
        if questions != 1:
            return _bare(wire, dns.rcode.FORMERR)
        try:
            query = dns.message.from_wire(wire)
        except (dns.exception.DNSException, ValueError, struct.error, IndexError):
            return _bare(wire, dns.rcode.FORMERR)
        return self._answer_query(query, size_max)

    def _answer_query(self, query: dns.message.Message, size_max: int) -> bytes:
        response = dns.message.make_response(query, our_payload=UDP_ANSWER_BYTES_MAX)
        if query.edns > 0:
            response.set_rcode(dns.rcode.BADVERS)
        else:
            _fill(response, self._tables)
        if size_max <= UDP_ANSWER_BYTES_MAX:
            asked = query.payload if query.edns >= 0 else PLAIN_ANSWER_BYTES_MAX
            size_max = min(size_max, max(asked, PLAIN_ANSWER_BYTES_MAX))
        return response.to_wire(max_size=size_max, prefer_truncation=True)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._clients) >= TCP_CLIENTS_MAX:
            writer.transport.abort()
            return
        self._clients[task] = writer
        try:
            await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # The client is gone or idle: there is nobody left to tell.
        finally:
            del self._clients[task]
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(TCP_IDLE_S):
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                if size > QUERY_BYTES_MAX:
                    return
                answer = self.answer(await reader.readexactly(size), size_max=65535)
                if answer is None:
                    return
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, nameserver: Nameserver) -> None:
        self._nameserver = nameserver
        self._transport: asyncio.DatagramTransport | None = None
        self.closed = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not every loop's datagram transport derives from the class of that name.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        if len(data) > QUERY_BYTES_MAX:
            return
        try:
            answer = self._nameserver.answer(data, size_max=UDP_ANSWER_BYTES_MAX)
        except Exception:
            # One message that a parser trips over must not take the zone off the air.
            log.exception("a query was dropped", extra={"action": "query-dropped"})
            return
        if answer is not None:
            self._transport.sendto(answer, addr)


def _bare(wire: bytes, rcode: dns.rcode.Rcode) -> bytes:
    """A header only: of a message that could not be read, nothing can be repeated."""
    ident, flags = struct.unpack_from("!HH", wire)
    echoed = flags & (0x7800 | dns.flags.RD)
    return struct.pack("!HHHHHH", ident, _QR | echoed | rcode, 0, 0, 0, 0)


def _fill(response: dns.message.Message, tables: _Tables | None) -> None:
    question = response.question[0]
    if tables is None:
        response.set_rcode(dns.rcode.SERVFAIL)
        return
    transfer = question.rdtype in (dns.rdatatype.AXFR, dns.rdatatype.IXFR)
    inside = question.name.is_subdomain(tables.apex)
    if not inside or question.rdclass != dns.rdataclass.IN or transfer:
        response.set_rcode(dns.rcode.REFUSED)
        return
    response.flags |= dns.flags.AA
    found = _find(tables, question)
    if found is not None:
        response.answer.append(found)
        response.additional.extend(_additional(tables, found))
        return
    if question.name not in tables.names:
        response.set_rcode(dns.rcode.NXDOMAIN)
    response.authority.append(tables.soa)


def _find(tables: _Tables, question: dns.rrset.RRset) -> dns.rrset.RRset | None:
    if question.rdtype != dns.rdatatype.ANY:
        return tables.rrsets.get((question.name, question.rdtype))
    # One of the sets that exist answers ANY, so it cannot be used to amplify: RFC 8482.
    held = (each for (name, _), each in tables.rrsets.items() if name == question.name)
    return next(held, None)


def _additional(tables: _Tables, found: dns.rrset.RRset) -> list[dns.rrset.RRset]:
    """Add the addresses of what an answer names, so that one question is enough."""
    if found.rdtype not in (dns.rdatatype.SRV, dns.rdatatype.NS):
        return []
    named = [each.target for each in found]
    addresses = (dns.rdatatype.A, dns.rdatatype.AAAA)
    keys = [(name, rdtype) for name in named for rdtype in addresses]
    return [tables.rrsets[key] for key in keys if key in tables.rrsets]
