"""Whatever is sent to the AWS-compatible API, over real connections, is answered as documented."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress

import psutil
import pytest
import pytest_asyncio
from aws_clients import PAUSE_S, Key, a_key
from aws_garbage import MANGLES, NEVER_LET_IN, SPOILS, UNTIL_ANSWERED
from aws_inputs import breaks_of, broken, request_of, valid
from aws_region import handled
from aws_wire import ANSWER_S, ANY, IOT, Client, Place, Reply, Signer, Wire, as_bytes, place
from botocore.model import OperationModel
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from regions import HOME, Regions, two_regions

from isthmus.aws.requests import HttpRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")

HANDLED = handled()
#: What the process may have grown by; most is the items that valid input makes.
GROWTH_MAX_BYTES = 64 * 1024**2
COUNTS = [
    pytest.param(1, id="some"),
    pytest.param(100, id="many", marks=[pytest.mark.nightly, pytest.mark.timeout(7200)]),
]
for_so_many = pytest.mark.parametrize("count", COUNTS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    # Nobody is taken for dead because the machine is slow.
    directory = tmp_path_factory.mktemp("regions")
    async with two_regions(directory, alone_after_s=PAUSE_S) as started:
        yield started


class Asked:
    """A region's API, and one who asks it; the process that answers stays well."""

    def __init__(self, regions: Regions, key: Key) -> None:
        self.place: Place = place(regions)
        self.signer = Signer(key, self.place)
        self.client = Client(key, self.place)
        self._regions = regions
        self._log = regions.system.settings.state_dir / "logs" / f"{HOME}-api.log"
        self._from = self._log.stat().st_size
        self._pid = regions.system.pids(HOME)[f"{HOME}-api"]
        self._before = psutil.Process(self._pid).memory_info().rss
        self._wire: Wire | None = None

    def send(self, data: bytes, method: str) -> Reply | None:
        """Send on the connection that is kept for as long as the region keeps it."""
        if self._wire is None:
            self._wire = Wire(self.place)
        self._wire.write(data)
        reply = self._wire.reply(method)
        if reply is None or reply.is_last:
            self._hang_up()
        return reply

    def send_alone(self, *parts: bytes, no_more: bool = False) -> Reply | None:
        """Send on a connection of its own, and end that half of it."""
        with Wire(self.place) as wire:
            for part in parts:
                wire.write(part)
            if no_more:
                wire.no_more()
            return wire.reply()

    def _hang_up(self) -> None:
        if self._wire is not None:
            self._wire.socket.close()
            self._wire = None

    def close(self) -> None:
        self._hang_up()
        self.client.close()

    def is_well(self) -> None:
        """It serves, it is the same process, it has logged no fault, and it has not grown much."""
        self.client.call("DescribeEndpoint", endpointType="iot:Data-ATS")
        assert self._regions.system.pids(HOME)[f"{HOME}-api"] == self._pid
        with self._log.open("rb") as file:
            file.seek(self._from)
            for line in file.read().decode().splitlines():
                told = json.loads(line)
                assert "traceback" not in told, told["traceback"]
                assert told["level"] in ("info", "warning"), told
        grown = psutil.Process(self._pid).memory_info().rss - self._before
        assert grown < GROWTH_MAX_BYTES


def check(operation: OperationModel, reply: Reply, method: str) -> None:
    """An answer that a client of botocore can do something with."""
    assert reply.status < 500 or reply.error == "NotImplementedException", reply
    assert reply.request_id, reply
    if method == "HEAD":
        return
    parsed = reply.read_as(operation)
    assert parsed["ResponseMetadata"]["HTTPStatusCode"] == reply.status
    assert ("Error" in parsed) == (reply.status != 200), reply
    if "Error" in parsed:
        error = parsed["Error"]
        assert error["Code"] in ANY | set(IOT.errors), reply
        assert error["Message"], reply
        assert "Traceback" not in error["Message"], reply


def for_each(count: int, names: list[str], test: Callable[[st.DataObject, str], None]) -> None:
    """Run ``test`` with ``count`` draws of each name."""

    @settings(
        max_examples=count,
        deadline=None,
        # What a region holds after a thousand examples is not what it held at the first.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def run(name: str, data: st.DataObject) -> None:
        test(data, name)

    for name in names:
        run(name)


async def with_asked(regions: Regions, key: Key, test: Callable[[Asked], None]) -> None:
    """Test the region in a thread, and see that it is well after that."""

    def run() -> None:
        with closing(Asked(regions, key)) as asked:
            test(asked)
            asked.is_well()

    await asyncio.to_thread(run)


async def asking(
    regions: Regions,
    key: Key,
    count: int,
    names: list[str],
    test: Callable[[Asked, st.DataObject, str], None],
) -> None:
    """Test the region with ``count`` draws of each name."""

    def run(asked: Asked) -> None:
        for_each(count, names, lambda data, name: test(asked, data, name))

    await with_asked(regions, key, run)


def a_request(draw: st.DrawFn, name: str) -> HttpRequest:
    operation = IOT.operations[name]
    return request_of(operation, draw(valid(operation.input_shape)), is_checked=False)


# What the models say


@for_so_many
async def test_valid_input_is_answered(regions: Regions, count: int) -> None:
    def answered(asked: Asked, data: st.DataObject, name: str) -> None:
        request = asked.signer.sign(a_request(data.draw, name))
        reply = asked.send(as_bytes(request), request.method)
        assert reply is not None
        check(IOT.operations[name], reply, request.method)

    await asking(regions, await a_key(regions), count, HANDLED, answered)


@for_so_many
async def test_input_that_breaks_a_constraint_is_refused_and_changes_nothing(
    regions: Regions, count: int
) -> None:
    def refused(asked: Asked, data: st.DataObject, name: str) -> None:
        operation = IOT.operations[name]
        wrong = data.draw(st.sampled_from(breaks_of(IOT, name)))
        drawn, _ = data.draw(broken(operation.input_shape, wrong))
        request = asked.signer.sign(request_of(operation, drawn, is_checked=False))
        reply = asked.send(as_bytes(request), request.method)
        assert reply is not None
        check(operation, reply, request.method)
        assert reply.status in (400, 404, 405, 413), (wrong, reply)

    key = await a_key(regions)
    before = await regions.level()
    await asking(regions, key, count, [n for n in HANDLED if breaks_of(IOT, n)], refused)
    assert await regions.level() == before


@for_so_many
async def test_odd_requests_are_answered(regions: Regions, count: int) -> None:
    def answered(asked: Asked, data: st.DataObject, way: str) -> None:
        name = data.draw(st.sampled_from(HANDLED))
        request = asked.signer.sign(SPOILS[way](data.draw, a_request(data.draw, name)))
        reply = asked.send(as_bytes(request), request.method)
        assert reply is not None
        check(IOT.operations[name], reply, request.method)

    await asking(regions, await a_key(regions), 8 * count, list(SPOILS), answered)


# What goes over the wire


@for_so_many
async def test_odd_bytes_are_answered_or_the_connection_is_closed(
    regions: Regions, count: int
) -> None:
    def answered(asked: Asked, data: st.DataObject, way: str) -> None:
        name = data.draw(st.sampled_from(HANDLED))
        request = a_request(data.draw, name)
        sent = MANGLES[way](data.draw, request, asked.signer)
        if way in NEVER_LET_IN:
            reply = asked.send_alone(sent)
            assert reply is not None
            assert reply.status == 403, reply
        else:
            no_more = data.draw(st.booleans())
            reply = asked.send_alone(sent, b"" if no_more else UNTIL_ANSWERED, no_more=no_more)
        if reply is not None:
            check(IOT.operations[name], reply, "GET")

    await asking(regions, await a_key(regions), 8 * count, list(MANGLES), answered)


@pytest.mark.parametrize("rest", [b"x\r\n", b"5;a=b\r\n0\r\n\r\nxx\r\n", b"0\r\nxx\r\n\r\n"])
async def test_a_body_that_goes_on_as_none_can_is_refused_there(
    regions: Regions, rest: bytes
) -> None:
    """And not when it did not end in time."""

    def run(asked: Asked) -> None:
        chunked = (("Transfer-Encoding", "chunked"), ("Expect", "100-continue"))
        signed = asked.signer.sign(HttpRequest("POST", "/things/a", body=b"{}"))
        kept = tuple(each for each in signed.headers if each[0] != "Content-Length")
        with Wire(asked.place) as wire:
            wire.write(as_bytes(signed._replace(headers=kept + chunked, body=b"")))
            assert wire.socket.recv(4096).startswith(b"HTTP/1.1 100")
            wire.write(rest)
            reply = wire.reply("POST")
            assert reply is not None
            assert (reply.status, reply.error) == (400, "SerializationException")
            assert reply.is_last
            assert wire.reply("POST") is None

    await with_asked(regions, await a_key(regions), run)


def an_endpoint(asked: Asked) -> bytes:
    return as_bytes(asked.signer.sign(HttpRequest("GET", "/endpoint")))


async def test_requests_at_once_are_answered_in_their_order(regions: Regions) -> None:
    def run(asked: Asked) -> None:
        nobody = as_bytes(asked.signer.sign(HttpRequest("GET", "/things/nobody")))
        with Wire(asked.place) as wire:
            wire.write((an_endpoint(asked) + nobody) * 20)
            for _ in range(20):
                found, missing = wire.reply(), wire.reply()
                assert found is not None
                assert missing is not None
                assert (found.status, missing.status) == (200, 404)

    await with_asked(regions, await a_key(regions), run)


async def test_a_request_in_the_smallest_parts_is_answered(regions: Regions) -> None:
    def run(asked: Asked) -> None:
        whole = an_endpoint(asked)
        reply = asked.send_alone(*(whole[at : at + 1] for at in range(len(whole))))
        assert reply is not None
        assert reply.status == 200

    await with_asked(regions, await a_key(regions), run)


NOT_TLS = {
    "nothing": b"",
    "plain HTTP": b"GET /endpoint HTTP/1.1\r\nHost: a\r\n\r\n",
    "half of a hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20),
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "a record that is too long": b"\x16\x03\x01\xff\xff" + bytes(70_000),
    "noise": bytes(range(256)) * 80,
}


@pytest.mark.parametrize("what", NOT_TLS)
async def test_what_is_not_tls_is_closed(regions: Regions, what: str) -> None:
    def run(asked: Asked) -> None:
        to = (asked.place.host, asked.place.port)
        with socket.create_connection(to, ANSWER_S) as plain, suppress(ConnectionError):
            plain.sendall(NOT_TLS[what])
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(4096):
                pass

    await with_asked(regions, await a_key(regions), run)
