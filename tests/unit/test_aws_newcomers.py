"""What an API answers gateways that ask about newcomers, how many at once, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aws_region import AwsRegion
from test_api_newcomers import ADDRESS, CA, DEVICE, X509, ca_item

from isthmus import protocol
from isthmus.aws_server import newcomers
from isthmus.aws_server.newcomers import AT_ONCE_MAX, WAITING_MAX, Newcomers
from isthmus.core.item import Item
from isthmus.core.written import Written
from isthmus.errors import Unavailable
from isthmus.protocol import RegistrationReply, RegistrationRequest

REQUEST = protocol.encode(RegistrationRequest(DEVICE, ADDRESS))
LATER = RegistrationReply(None, is_decided=False)


class Asked:
    """A message of a gateway, and what it is answered."""

    def __init__(self, data: bytes = REQUEST) -> None:
        self.data = data
        self.answer: asyncio.Future[RegistrationReply] = asyncio.get_running_loop().create_future()

    async def respond(self, payload: bytes) -> None:
        self.answer.set_result(protocol.decode(payload, RegistrationReply))


class Api:
    """A process of a region's API, whose promises are kept when the test says so."""

    def __init__(self) -> None:
        self.region = AwsRegion(x509=X509)
        self.serves = asyncio.Event()
        self.serves.set()
        self.kept = asyncio.Event()
        self.waited: asyncio.Queue[int] = asyncio.Queue()
        self.failure: Exception | None = None
        self.newcomers = Newcomers(self._may_serve, self.region.context, lambda: self._when_kept)

    async def _may_serve(self) -> None:
        await self.serves.wait()
        if self.failure:
            raise self.failure

    async def _when_kept(self, written: Written) -> Any:
        self.waited.put_nowait(written.newest)
        await self.kept.wait()

    async def ask(self, data: bytes = REQUEST) -> Asked:
        asked = Asked(data)
        await self.newcomers.asked(asked)  # type: ignore[arg-type]
        return asked


@pytest.fixture(scope="module")
def ca() -> Item:
    return ca_item()


@pytest.fixture
async def api(ca: Item) -> Api:
    api = Api()
    await api.region.store.merge(ca)
    return api


async def test_the_answer_leaves_when_a_second_region_has_what_was_written(api: Api) -> None:
    asked = await api.ask()
    assert await api.waited.get() == await api.region.store.log.head()
    assert not asked.answer.done()
    api.kept.set()
    reply = await asked.answer
    assert (reply.status, reply.is_decided) == ("PENDING_ACTIVATION", True)
    assert [each.topic.rpartition("/")[2] for each in reply.events] == [CA.id]


async def test_its_event_is_told_while_the_gateway_waits_for_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newcomers, "REGISTRATION_S", newcomers.ANSWER_S)
    reply = await (await api.ask()).answer
    assert api.waited.get_nowait()
    assert (reply.status, reply.is_decided) == (None, False)
    assert [each.topic.rpartition("/")[2] for each in reply.events] == [CA.id]


@pytest.mark.parametrize(
    "failure", [Unavailable("catching up"), TimeoutError(), RuntimeError("a bug")], ids=repr
)
async def test_what_cannot_be_decided_now_is_to_come_again(api: Api, failure: Exception) -> None:
    api.failure = failure
    assert await (await api.ask()).answer == LATER
    api.failure = None
    api.kept.set()
    assert (await (await api.ask()).answer).is_decided


async def test_what_is_no_request_is_answered_too(api: Api) -> None:
    assert await (await api.ask(b"{}")).answer == LATER


async def test_no_more_than_so_many_wait_and_fewer_are_dealt_with(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.serves.clear()
    asked = [await api.ask() for _ in range(WAITING_MAX)]
    assert await (await api.ask()).answer == LATER
    monkeypatch.setattr(newcomers, "REGISTRATION_S", 0.0)
    # Who has no turn in time gets none: nobody would hear of it.
    await asyncio.gather(*(each.answer for each in asked[AT_ONCE_MAX:]))
    assert all(each.answer.result() == LATER for each in asked[AT_ONCE_MAX:])
    assert not any(each.answer.done() for each in asked[:AT_ONCE_MAX])
    api.kept.set()
    api.serves.set()
    await asyncio.gather(*(each.answer for each in asked))
    assert all(each.answer.result().is_decided for each in asked[:AT_ONCE_MAX])
