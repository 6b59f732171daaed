"""How a bench takes turns, with servers that are not there."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from isthmus.bench import rounds
from isthmus.bench.metrics import Figure, Metric, Side, per_s
from isthmus.bench.plan import Connecting, Outcome
from isthmus.bench.rounds import Options, measure
from isthmus.bench.stand import Tools
from isthmus.errors import BrokenInvariant, Unavailable


class World:
    """Stands that are only names, and what happened to them."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.happened: list[str] = []
        self.said: list[str] = []
        #: What the next turns come to; after them all is well.
        self.outcomes: list[Outcome | Exception] = []
        self.options = Options(2, 0.1, directory, Tools(), self.said.append)
        monkeypatch.setattr(rounds, "generate", self.generate)

    def stand(self, name: str):
        @asynccontextmanager
        async def stand(directory: Path, _: Tools):
            (directory / "logs").mkdir(parents=True)
            self.happened.append(f"{name} starts")
            yield SimpleNamespace(name=name)
            self.happened.append(f"{name} stops")

        return stand

    async def generate(self, target, *_: object) -> Outcome:
        self.happened.append(target.name)
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome(count=3, seconds=1.0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def metric(self, **changes) -> Metric:
        peer = Side("peer", "1", self.stand("peer"))
        figures = (Figure("m", "x/s", per_s),)
        return Metric("m", Connecting(), figures, self.stand("ours"), peer, **changes)


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    return World(tmp_path, monkeypatch)


async def test_ours_and_the_peer_take_turns_with_servers_of_their_own(world):
    (measured,) = await measure([world.metric()], world.options)
    turn = [f"{name}{what}" for name in ("ours", "peer") for what in (" starts", "", " stops")]
    assert world.happened == turn * 2
    assert (len(measured.ours), len(measured.peer)) == (2, 2)
    assert world.said[0] == "m, round 1 of 2: isthmus 3 x/s"
    assert list(world.options.directory.iterdir()) == []


async def test_what_takes_long_to_start_is_started_once(world):
    await measure([world.metric(is_kept=True)], world.options)
    turn = ["ours", "peer starts", "peer", "peer stops"]
    assert world.happened == ["ours starts", *turn, *turn, "ours stops"]
    assert list(world.options.directory.iterdir()) == []


async def test_what_takes_minutes_is_measured_once(world):
    (measured,) = await measure([world.metric(long_s=600.0)], world.options)
    assert (len(measured.ours), len(measured.peer)) == (1, 1)


async def test_a_turn_that_something_came_into_is_taken_again_and_told(world):
    world.outcomes = [Unavailable("a: the server closed the connection")]
    (measured,) = await measure([world.metric()], world.options)
    assert world.happened[:4] == ["ours starts", "ours", "ours starts", "ours"]
    assert measured.repeated == ["m, round 1 of 2: isthmus: a: the server closed the connection"]
    assert world.said[0] == f"again: {measured.repeated[0]}"


async def test_what_fails_twice_has_an_error_and_the_rest_is_measured(world):
    world.outcomes = [Outcome(count=3, seconds=1.0), Unavailable("once"), Outcome()]
    first, second = await measure([world.metric(), world.metric()], world.options)
    assert first.error == "m, round 1 of 2: peer: nothing was counted within 0.1 s"
    assert (len(first.ours), len(first.peer)) == (1, 0)
    assert (len(second.ours), len(second.peer), second.error) == (2, 2, "")
    assert list(world.options.directory.iterdir()) == []


async def test_a_server_that_breaks_a_promise_is_not_asked_again(world):
    world.outcomes = [BrokenInvariant("7 acknowledgements of 6 publishes")]
    (measured,) = await measure([world.metric()], world.options)
    assert world.happened == ["ours starts", "ours"]
    assert measured.error == "m, round 1 of 2: isthmus: 7 acknowledgements of 6 publishes"
