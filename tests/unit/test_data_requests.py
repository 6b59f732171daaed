"""Devices' requests by HTTPS between a gateway and an API, by way of a real NATS and its users."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from aws_region import AwsRegion
from nats.errors import NoRespondersError

from isthmus.aws.context import Context
from isthmus.aws.requests import Call
from isthmus.aws_server.data_requests import DataRequests as Answering
from isthmus.core import rest
from isthmus.core.rest import Asked, Refused
from isthmus.core.retained import RETAINED, retain
from isthmus.core.written import Written
from isthmus.errors import Unavailable
from isthmus.gateway.data_requests import DataRequests
from isthmus.gateway.rest_connection import Head
from isthmus.region.promise import Kept
from isthmus.wire.packets import Publish
from real_nats import RealNats, real_nats

pytestmark = pytest.mark.asyncio(loop_scope="module")

PRINCIPAL = "c" * 64
GET = Head("GET", "/retainedMessage/a%2Fb", (("Host", "x"),))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealNats]:
    async with real_nats(tmp_path_factory.mktemp("nats")) as started:
        yield started


class Seam:
    """A gateway's side, and an API that retains one message."""

    def __init__(self, gateway: Any, api: Any) -> None:
        self.region = AwsRegion()
        self.callers: list[str] = []
        self.told: list[tuple[str, bytes]] = []
        self.refusal: Exception | None = None
        self.requests = DataRequests(gateway, 10.0)
        self.api = Answering(
            api,
            lambda: True,
            self._may_serve,
            self._context,
            lambda: self._is_kept,
            self.told.extend,
        )

    async def _may_serve(self) -> None:
        if self.refusal:
            raise self.refusal

    def _context(self, call: Call, caller: str) -> Context:
        self.callers.append(caller)
        found: Context = self.region.context(call)
        return found

    async def _is_kept(self, written: Written) -> Kept:
        return Kept(("us",), 1)

    async def retain(self, topic: str, payload: bytes) -> None:
        present = self.region.store.get(RETAINED, topic)
        publish = Publish(topic, payload, 1, True)
        await self.region.store.merge(retain(present, self.region.clock, publish, 1))

    async def ask(
        self, head: Head = GET, asked: Asked | None = None, body: bytes = b""
    ) -> tuple[int, Any]:
        judged = asked or rest.asked(head.method, head.target)
        found = await self.requests.ask(PRINCIPAL, head, judged, body)
        assert found.headers["x-amzn-RequestId"]
        return found.status, json.loads(found.body)


@asynccontextmanager
async def seam(nats: RealNats) -> AsyncIterator[Seam]:
    async with nats.user("gateway") as gateway, nats.user("api") as api:
        both = Seam(gateway, api)
        answering = asyncio.create_task(both.api.run())
        try:
            while not await is_answered(gateway):
                pass
            yield both
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)


async def is_answered(gateway: Any) -> bool:
    try:
        await gateway.request("region.data-request", b"no request", timeout=0.2)
    except NoRespondersError:
        return False
    except TimeoutError:
        pass
    return True


async def test_a_request_is_carried_out_for_the_device_that_asks(nats: RealNats) -> None:
    async with seam(nats) as both:
        await both.retain("a/b", b"\xff")
        status, body = await both.ask()
        assert (status, body["topic"], body["payload"]) == (200, "a/b", "/w==")
        status, body = await both.ask(Head("GET", "/retainedMessage", ()))
        assert (status, [each["topic"] for each in body["retainedTopics"]]) == (200, ["a/b"])
        status, body = await both.ask(Head("GET", "/retainedMessage/c", ()))
        assert status == 404
        assert both.callers == [PRINCIPAL] * 3


async def test_shadows_are_changed_and_told_of(nats: RealNats) -> None:
    async with seam(nats) as both:
        named = "/things/lamp/shadow?name=a"
        state = {"desired": {"on": 1}}
        body = json.dumps({"state": state}).encode()
        status, said = await both.ask(Head("POST", named, ()), body=body)
        assert (status, said["state"], said["version"]) == (200, state, 1)
        told = dict(both.told)
        assert json.loads(told["$aws/things/lamp/shadow/name/a/update/accepted"]) == said
        listing = Head("GET", "/api/things/shadow/ListNamedShadowsForThing/lamp", ())
        assert (await both.ask(listing))[1]["results"] == ["a"]
        status, said = await both.ask(Head("GET", named, ()))
        assert (status, said["state"]) == (200, {**state, "delta": {"on": 1}})
        assert (await both.ask(Head("DELETE", named, ())))[0] == 200
        assert (await both.ask(Head("GET", named, ())))[0] == 404
        # No other name of a thing may be read as that of a shadow.
        assert (await both.ask(Head("GET", "/things/lamp%2Fa/shadow", ())))[0] == 400


@pytest.mark.parametrize("target", ["/things/lamp/shadow?name=b", "/things/lamp/shadow"])
async def test_of_shadows_nothing_else_is_read_than_what_was_judged(
    nats: RealNats, target: str
) -> None:
    async with seam(nats) as both:
        judged = rest.asked("GET", "/things/lamp/shadow?name=a")
        assert (await both.ask(Head("GET", target, ()), judged))[0] == 403
        assert both.callers == []


@pytest.mark.parametrize("name", ["GetRetainedMessage", "ListRetainedMessages", "Publish"])
async def test_nothing_else_is_carried_out_than_what_was_judged(nats: RealNats, name: str) -> None:
    judged = next(each for each in rest.OPERATIONS if each.name == name)
    async with seam(nats) as both:
        await both.retain("a/b", b"\xff")
        # It may read another topic, or something else.
        asked = Asked(judged, {"topic": "mine"}, {})
        status, body = await both.ask(GET, asked)
        assert (status, body["message"]) == (403, "Forbidden")
        # No gateway may ask for what devices do not have.
        other = Head("DELETE", "/connections/mine", ())
        assert (await both.ask(other, asked))[0] == 403
        assert both.callers == []


async def test_what_passes_is_said_so(nats: RealNats) -> None:
    async with seam(nats) as both:
        both.refusal = Unavailable("catching up")
        assert (await both.ask())[0] == 503
    async with nats.user("gateway") as gateway:
        with pytest.raises(Refused) as refused:
            await DataRequests(gateway, 10.0).ask(PRINCIPAL, GET, rest.asked(*GET[:2]), b"")
        assert refused.value.code == "ServiceUnavailableException"
