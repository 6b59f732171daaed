"""The nameserver on real sockets: what it answers, what it refuses, and that nothing stops it."""

from __future__ import annotations

import asyncio
import random
import socket
import struct

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
import pytest_asyncio

from isthmus.adapters import nameserver as module
from isthmus.adapters.nameserver import Nameserver
from isthmus.core.zone import Endpoint, Plan, Records, SiteHost, Zone, zone_of

APEX = "iot.example.com"
PLAN = Plan(
    apex=APEX,
    ttl_s=3,
    endpoints=(
        Endpoint("eu", f"eu.{APEX}", "127.0.1.1", 8883),
        Endpoint("us", f"us.{APEX}", "127.0.2.1", 9883),
    ),
    sites=(SiteHost("eu", "127.0.1.1"),),
)


@pytest_asyncio.fixture
async def server():
    nameserver = Nameserver(zone_of(PLAN, "eu", 1))
    await nameserver.start("127.0.0.1", 0)
    yield nameserver
    await nameserver.stop()


async def udp(server: Nameserver, wire: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((server.host, server.port))
        await loop.sock_sendall(sock, wire)
        return await loop.sock_recv(sock, 65535)


async def ask(server: Nameserver, name: str, rdtype: str = "A", **options) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype, **options)
    response = dns.message.from_wire(await udp(server, query.to_wire()))
    assert query.is_response(response)
    return response


def data(response: dns.message.Message) -> list[str]:
    return [each.to_text() for rrset in response.answer for each in rrset]


async def test_it_answers_with_authority_and_follows_the_zone_at_once(server):
    response = await ask(server, APEX)
    assert data(response) == ["127.0.1.1"]
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.RA
    assert response.answer[0].ttl == 3
    server.replace(zone_of(PLAN, "us", 2))
    assert data(await ask(server, APEX)) == ["127.0.2.1"]
    assert data(await ask(server, APEX, "SOA"))[0].split()[2] == "2"


async def test_srv_brings_port_and_address_in_one_answer(server):
    response = await ask(server, f"_secure-mqtt._tcp.{APEX}", "SRV")
    assert data(response) == [f"0 0 8883 eu.{APEX}."]
    assert [str(each) for rrset in response.additional for each in rrset] == ["127.0.1.1"]


async def test_names_compare_without_case_and_come_back_as_asked(server):
    mixed = "IoT.eXaMpLe.CoM"
    wire = await udp(server, dns.message.make_query(mixed, "A").to_wire())
    response = dns.message.from_wire(wire)
    assert str(response.question[0].name) == f"{mixed}."
    assert str(response.answer[0].name) == f"{mixed}."
    assert data(response) == ["127.0.1.1"]


@pytest.mark.parametrize(
    ("name", "rdtype", "rcode"),
    [
        (f"mars.{APEX}", "A", dns.rcode.NXDOMAIN),
        (APEX, "MX", dns.rcode.NOERROR),
        (APEX, "AAAA", dns.rcode.NOERROR),
        (f"_tcp.{APEX}", "A", dns.rcode.NOERROR),
    ],
)
async def test_what_is_not_there_is_told_apart_from_what_has_no_such_type(
    server, name, rdtype, rcode
):
    response = await ask(server, name, rdtype)
    assert response.rcode() == rcode
    assert not response.answer
    assert response.authority[0].rdtype == dns.rdatatype.SOA
    assert response.flags & dns.flags.AA


@pytest.mark.parametrize("name", ["example.com", "notiot.example.com", "example.org", "."])
async def test_it_refuses_what_is_outside_its_zone(server, name):
    response = await ask(server, name)
    assert response.rcode() == dns.rcode.REFUSED
    assert not response.flags & dns.flags.AA


async def test_it_refuses_transfers_and_other_classes(server):
    assert (await ask(server, APEX, "AXFR")).rcode() == dns.rcode.REFUSED
    assert (await ask(server, APEX, "A", rdclass="CH")).rcode() == dns.rcode.REFUSED


async def test_any_is_answered_with_one_set_only(server):
    assert len((await ask(server, APEX, "ANY")).answer) == 1


async def test_other_operations_are_not_implemented(server):
    query = dns.message.make_query(APEX, "A")
    query.set_opcode(dns.opcode.STATUS)
    response = dns.message.from_wire(await udp(server, query.to_wire()))
    assert response.rcode() == dns.rcode.NOTIMP
    assert response.id == query.id


async def test_a_broken_message_gets_formerr(server):
    wire = dns.message.make_query(APEX, "A").to_wire()
    for broken in (
        wire[:-3],
        wire + b"junk",
        wire[:4] + b"\0\2" + wire[6:],
        wire[:12] + b"\xc0\x0c",
    ):
        assert dns.message.from_wire(await udp(server, broken)).rcode() == dns.rcode.FORMERR


async def test_without_a_zone_it_says_that_it_cannot_say(server):
    server.replace(None)
    assert (await ask(server, APEX)).rcode() == dns.rcode.SERVFAIL


async def test_edns_is_answered_with_edns_and_unknown_versions_with_badvers(server):
    response = await ask(server, APEX, use_edns=0, payload=4096)
    assert response.edns == 0
    assert (await ask(server, APEX)).edns == -1
    assert (await ask(server, APEX, use_edns=1)).rcode() == dns.rcode.BADVERS


def large_zone() -> Zone:
    many = tuple(f"10.0.{number // 250}.{number % 250}" for number in range(400))
    zone = zone_of(PLAN, "eu", 1)
    return Zone(zone.apex, zone.serial, (*zone.records, Records(f"many.{APEX}", "A", 3, many)))


async def tcp(server: Nameserver, query: dns.message.Message) -> dns.message.Message:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    wire = query.to_wire()
    writer.write(struct.pack("!H", len(wire)) + wire)
    (size,) = struct.unpack("!H", await reader.readexactly(2))
    response = dns.message.from_wire(await reader.readexactly(size))
    writer.close()
    await writer.wait_closed()
    return response


async def test_an_answer_too_large_for_udp_says_so_and_tcp_has_it(server):
    server.replace(large_zone())
    for options in ({}, {"use_edns": 0, "payload": 4096}):
        query = dns.message.make_query(f"many.{APEX}", "A", **options)
        wire = await udp(server, query.to_wire())
        assert len(wire) <= (1232 if options else 512)
        assert dns.message.from_wire(wire).flags & dns.flags.TC
    response = await tcp(server, query)
    assert not response.flags & dns.flags.TC
    assert len(data(response)) == 400


async def test_tcp_refuses_large_messages_and_more_clients_than_its_bound(server, monkeypatch):
    monkeypatch.setattr(module, "TCP_CLIENTS_MAX", 2)
    monkeypatch.setattr(module, "TCP_IDLE_S", 3600)
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(struct.pack("!H", module.QUERY_BYTES_MAX + 1))
    assert await reader.read() == b""
    held = [await asyncio.open_connection(server.host, server.port) for _ in range(2)]
    for reader, held_writer in held:
        # An answer shows that the server has counted this client.
        wire = dns.message.make_query(APEX, "A").to_wire()
        held_writer.write(struct.pack("!H", len(wire)) + wire)
        await reader.readexactly(2)
    extra, over = await asyncio.open_connection(server.host, server.port)
    assert await extra.read() == b""
    for each in (writer, over, *(w for _, w in held)):
        each.close()
    assert data(await ask(server, APEX)) == ["127.0.1.1"]


async def test_an_answer_is_never_answered(server):
    response = dns.message.make_response(dns.message.make_query(APEX, "A"))
    assert server.answer(response.to_wire(), size_max=512) is None
    assert server.answer(b"", size_max=512) is None


async def test_garbage_never_stops_it(server):
    chance = random.Random(7)
    query = dns.message.make_query(APEX, "A", use_edns=0).to_wire()
    for _ in range(3000):
        wire = bytearray(query)
        for _ in range(chance.randrange(1, 6)):
            wire[chance.randrange(len(wire))] = chance.randrange(256)
        garbage = bytes(wire[: chance.randrange(len(wire) + 1)])
        answer = server.answer(garbage, size_max=1232)
        assert answer is None or answer[:2] == garbage[:2]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(100):
            sock.sendto(chance.randbytes(chance.randrange(1, 600)), (server.host, server.port))
    assert data(await ask(server, APEX)) == ["127.0.1.1"]
