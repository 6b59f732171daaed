"""Messages that ask for many connections at once: when one is sent, and what is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from isthmus.errors import Unavailable
from isthmus.gateway import together
from isthmus.gateway.together import Together
from isthmus.protocol import DeviceReply, DeviceRequest, RegionEvent

pytestmark = pytest.mark.asyncio

NEVER_S = 3600.0


class Region:
    """Whoever is asked: each message is answered when the test says so."""

    def __init__(self) -> None:
        #: The payloads of each message, and what answers it.
        self.messages: list[list[bytes]] = []
        self._answers: list[asyncio.Future[list[DeviceReply]]] = []
        self._changed = asyncio.Event()
        self.all_is_said: Callable[[], object] = lambda: None
        self.together = Together(self._ask, self._said)

    def _said(self) -> None:
        self.all_is_said()

    async def _ask(self, requests: list[DeviceRequest]) -> list[DeviceReply]:
        self.messages.append([each.payload for each in requests])
        answer: asyncio.Future[list[DeviceReply]] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self._changed.set()
        return await answer

    def asks(self, *payloads: bytes) -> asyncio.Task[list[DeviceReply]]:
        """What one connection asks."""
        requests = [DeviceRequest("p", "c", "", "", "t", each) for each in payloads]
        return asyncio.create_task(self.together.replies(requests))

    async def is_asked(self, count: int) -> list[list[bytes]]:
        async with asyncio.timeout(10):
            while len(self.messages) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.messages

    def answer(self, number: int, *, has_events: bool = False) -> None:
        found = [RegionEvent("e", b"")] if has_events else []
        payloads = self.messages[number]
        self._answers[number].set_result([DeviceReply([("t", each)], found) for each in payloads])

    def fail(self, number: int, error: Exception) -> None:
        self._answers[number].set_exception(error)


async def turns() -> None:
    """Let everybody act who can."""
    for _ in range(10):
        await asyncio.sleep(0)


def told(replies: list[DeviceReply]) -> list[bytes]:
    return [payload for reply in replies for _, payload in reply.answers]


@pytest.fixture
def never_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "PATIENCE_S", NEVER_S)


async def test_what_is_asked_in_one_turn_goes_at_once_and_each_is_given_its_own() -> None:
    region = Region()
    one, two = region.asks(b"1", b"2"), region.asks(b"3")

    assert await region.is_asked(1) == [[b"1", b"2", b"3"]]
    region.answer(0)

    assert told(await one) == [b"1", b"2"]
    assert told(await two) == [b"3"]


@pytest.mark.usefixtures("never_late")
async def test_what_comes_while_one_is_under_way_waits_for_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "WORTH", 3)
    region = Region()
    first = region.asks(b"1")
    await region.is_asked(1)
    others = [region.asks(b"2"), region.asks(b"3")]
    await turns()
    assert len(region.messages) == 1

    region.answer(0)

    assert (await region.is_asked(2))[1] == [b"2", b"3"]
    region.answer(1)
    assert [told(await each) for each in (first, *others)] == [[b"1"], [b"2"], [b"3"]]


@pytest.mark.usefixtures("never_late")
async def test_what_is_worth_a_message_goes_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "WORTH", 3)
    monkeypatch.setattr(together, "AT_ONCE", 2)
    region = Region()
    tasks = [region.asks(b"1")]
    await region.is_asked(1)
    tasks += [region.asks(b"2"), region.asks(b"3", b"4")]
    assert (await region.is_asked(2))[1] == [b"2", b"3", b"4"]

    # There are as many as may be.
    tasks += [region.asks(b"5", b"6", b"7")]
    await turns()
    assert len(region.messages) == 2
    region.answer(1)
    assert (await region.is_asked(3))[2] == [b"5", b"6", b"7"]
    region.answer(0)
    region.answer(2)
    assert [len(await each) for each in tasks] == [1, 1, 2, 3]


async def test_nobody_waits_for_ever_behind_a_slow_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "PATIENCE_S", 0.001)
    region = Region()
    slow = region.asks(b"slow")
    await region.is_asked(1)
    quick = region.asks(b"quick")

    assert (await region.is_asked(2))[1] == [b"quick"]
    region.answer(1)

    assert told(await quick) == [b"quick"]
    assert not slow.done()
    region.answer(0)
    assert told(await slow) == [b"slow"]


@pytest.mark.parametrize(
    ("bound", "wanted"),
    [
        (("MAX", 4), [[b"aa", b"bb", b"cc", b"dd"], [b"ee", b"ff"]]),
        (("MAX_BYTES", 3), [[b"aa", b"bb"], [b"cc", b"dd"], [b"ee", b"ff"]]),
    ],
)
async def test_a_message_has_a_bound_and_no_connection_is_in_two(
    monkeypatch: pytest.MonkeyPatch, bound: tuple[str, int], wanted: list[list[bytes]]
) -> None:
    monkeypatch.setattr(together, *bound)
    monkeypatch.setattr(together, "WORTH", 1)
    region = Region()
    pairs = ((b"aa", b"bb"), (b"cc", b"dd"), (b"ee", b"ff"))
    tasks = [region.asks(*each) for each in pairs]

    assert await region.is_asked(len(wanted)) == wanted
    for number in range(len(wanted)):
        region.answer(number)
    assert [told(await each) for each in tasks] == list(map(list, pairs))


async def test_who_is_not_answered_hears_why_and_the_next_ones_are_asked() -> None:
    region = Region()
    first = region.asks(b"1"), region.asks(b"2")
    await region.is_asked(1)
    later = region.asks(b"3")
    await turns()
    region.fail(0, Unavailable("nobody is there"))
    for each in first:
        with pytest.raises(Unavailable, match="nobody is there"):
            await each

    assert (await region.is_asked(2))[1] == [b"3"]
    region.answer(1)
    assert told(await later) == [b"3"]


async def test_who_has_gone_takes_nothing_from_the_others() -> None:
    region = Region()
    gone, there = region.asks(b"1", b"2"), region.asks(b"3")
    await region.is_asked(1)
    gone.cancel()
    await turns()
    region.answer(0)

    assert told(await there) == [b"3"]


@pytest.mark.usefixtures("never_late")
async def test_nothing_is_asked_for_who_has_gone() -> None:
    region = Region()
    first = region.asks(b"1")
    await region.is_asked(1)
    gone, alone, there = region.asks(b"2"), region.asks(b"3"), region.asks(b"4")
    await turns()
    gone.cancel()
    await turns()
    region.answer(0)
    assert (await region.is_asked(2))[1] == [b"3", b"4"]

    late = region.asks(b"5")
    await turns()
    late.cancel()
    region.answer(1)
    assert [told(await each) for each in (first, alone, there)] == [[b"1"], [b"3"], [b"4"]]
    await turns()
    assert len(region.messages) == 2
    # And then it goes on.
    after = region.asks(b"6")
    assert (await region.is_asked(3))[2] == [b"6"]
    region.answer(2)
    assert told(await after) == [b"6"]


@pytest.mark.parametrize("has_events", [True, False])
async def test_all_is_said_behind_those_who_hear_of_a_message_with_events(has_events: bool) -> None:
    region = Region()
    order: list[str] = []

    async def hears(payload: bytes) -> None:
        await region.together.replies([DeviceRequest("p", "c", "", "", "t", payload)])
        order.append("heard")

    region.all_is_said = lambda: order.append("all is said")
    tasks = [asyncio.create_task(hears(each)) for each in (b"1", b"2")]
    await region.is_asked(1)
    region.answer(0, has_events=has_events)
    await asyncio.gather(*tasks)
    await turns()

    assert order == ["heard", "heard", *(["all is said"] if has_events else [])]


@pytest.mark.usefixtures("never_late")
@pytest.mark.parametrize("is_answered", [False, True])
async def test_nothing_is_asked_once_it_has_stopped(is_answered: bool) -> None:
    region = Region()
    tasks = [region.asks(b"1")]
    await region.is_asked(1)
    tasks += [region.asks(b"2")]
    await turns()
    if is_answered:
        # Its answer is known in the turn in which it stops.
        region.answer(0)
        await asyncio.sleep(0)
    await region.together.stop()
    await turns()
    tasks += [region.asks(b"3")]
    await turns()

    assert region.messages == [[b"1"]]
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.usefixtures("never_late")
async def test_lost_patience_lasts_until_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "AT_ONCE", 2)
    monkeypatch.setattr(together, "WORTH", 2)
    region = Region()
    tasks = [region.asks(b"1")]
    await region.is_asked(1)
    tasks += [region.asks(b"2", b"3")]
    await region.is_asked(2)
    tasks += [region.asks(b"4")]
    await turns()
    region.together._lose_patience()
    assert len(region.messages) == 2

    region.answer(1)

    assert (await region.is_asked(3))[2] == [b"4"]
    region.answer(0)
    region.answer(2)
    await asyncio.gather(*tasks)
