"""The observer's loops: probes become votes, and a pause voids them before anybody sees them."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from isthmus.config import RoutedRegion
from isthmus.core.health import Health, Hysteresis, Vote
from isthmus.director.observer import TICK_S, Observer

RULES = Hysteresis(down_after=2, up_after=3, probe_timeout_s=0.8, pause_limit_s=1.0)
REGIONS = tuple(
    RoutedRegion(name=name, hostname=f"{name}.iot.example.com", address="127.0.0.1", mqtt_port=1)
    for name in ("eu", "us")
)


class Clock:
    """Time that passes when told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Steps:
    """A Prober whose every answer the test hands over, one by one."""

    def __init__(self) -> None:
        self.answers: dict[str, asyncio.Queue[str | None]] = {
            region.name: asyncio.Queue() for region in REGIONS
        }
        self.asked: dict[str, asyncio.Queue[None]] = {
            region.name: asyncio.Queue() for region in REGIONS
        }

    async def probe(self, region: RoutedRegion) -> str | None:
        self.asked[region.name].put_nowait(None)
        return await self.answers[region.name].get()

    def give(self, region: str, *answers: str | None) -> None:
        for answer in answers:
            self.answers[region].put_nowait(answer)


class Scene:
    """One running observer and what it told."""

    def __init__(self) -> None:
        self.clock, self.prober = Clock(), Steps()
        self.told: asyncio.Queue[tuple[str, object]] = asyncio.Queue()
        self.observer = Observer(
            REGIONS,
            self.prober,
            RULES,
            interval_s=0.0,
            clock=self.clock,
            on_vote=lambda region, vote: self.told.put_nowait((region, vote)),
            on_pause=lambda late_s: self.told.put_nowait(("paused", late_s)),
        )

    async def next_vote(self) -> tuple[str, Health]:
        region, vote = await self.told.get()
        assert isinstance(vote, Vote)
        return region, vote.health


@pytest.fixture
async def scene():
    scene = Scene()
    task = asyncio.create_task(scene.observer.run())
    yield scene
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_each_region_has_a_vote_of_its_own(scene):
    scene.prober.give("us", None, None, None)
    assert await scene.next_vote() == ("us", Health.HEALTHY)
    scene.prober.give("eu", "refused", "refused")
    assert await scene.next_vote() == ("eu", Health.UNHEALTHY)
    assert {region: vote.health for region, vote in scene.observer.votes.items()} == {
        "eu": Health.UNHEALTHY,
        "us": Health.HEALTHY,
    }


@pytest.mark.parametrize("asleep_s", [1.5, 30])
async def test_a_thawed_observer_does_not_vote_on_what_it_slept_through(scene, asleep_s):
    """The failure that ends the sleep comes before any tick, and must not count."""
    scene.prober.give("us", None, None, None)
    assert await scene.next_vote() == ("us", Health.HEALTHY)
    scene.prober.give("us", "timed out")
    for _ in range(5):  # The fifth probe is under way when sleep comes.
        await scene.prober.asked["us"].get()
    scene.clock.now_s += asleep_s
    scene.prober.give("us", "timed out")
    assert await scene.next_vote() == ("us", Health.UNKNOWN)
    name, late_s = await scene.told.get()
    assert (name, late_s) == ("paused", pytest.approx(asleep_s - TICK_S))
    scene.prober.give("us", "timed out", None, None, None)
    assert await scene.next_vote() == ("us", Health.HEALTHY)
    assert scene.told.empty()


async def test_whoever_asks_first_finds_the_pause(scene):
    scene.prober.give("us", None, None, None)
    await scene.next_vote()
    scene.clock.now_s += 5
    scene.observer.check_pause()
    assert scene.observer.votes["us"].health is Health.UNKNOWN
    scene.observer.check_pause()
    assert [await scene.told.get() for _ in range(2)][1][0] == "paused"
    assert scene.told.empty()
