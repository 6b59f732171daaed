"""The process that serves shadows is killed again and again while devices update them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from mqtt_wire import Wire
from regions import HOME, Regions, two_regions, until

from isthmus.errors import MalformedPacket
from isthmus.wire import mqtt3
from isthmus.wire.packets import Publish

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEVICES = 16
#: Updates that each device must have had accepted between two kills.
BETWEEN = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def regions(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Regions]:
    async with two_regions(tmp_path_factory.mktemp("regions")) as started:
        yield started


class Device:
    """Updates its shadow, one number after the other, and connects again whenever it must."""

    def __init__(self, regions: Regions, name: str) -> None:
        self._regions = regions
        self.name = name
        self._root = f"$aws/things/{name}/shadow"
        self.sent = 0
        #: By number, the answers: the same one, however often it is heard.
        self.accepted: dict[int, dict[str, Any]] = {}
        #: By version, the number that was reported in it.
        self.versions: dict[int, int] = {}
        #: Answers that contradict each other.
        self.wrong: list[str] = []
        self.lost = 0

    async def run(self, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            try:
                async with self._regions.wire(HOME, self.name) as wire:
                    await self._update(wire, is_over)
            except (AssertionError, OSError, MalformedPacket, TimeoutError):
                # The connection has ended: what was asked last is answered by nobody.
                self.lost += 1

    async def document(self) -> dict[str, Any]:
        async with self._regions.client(HOME, self.name) as wire:
            await wire.subscribe(f"{self._root}/get/accepted")
            wire.send(Publish(f"{self._root}/get", b""))
            return json.loads((await self._next(wire)).payload)

    async def _update(self, wire: Wire, is_over: asyncio.Event) -> None:
        assert await wire.connect(self.name) == 0
        await wire.subscribe(f"{self._root}/update/+")
        while not is_over.is_set():
            self.sent += 1
            asked = {"state": {"reported": {"n": self.sent}}, "clientToken": str(self.sent)}
            wire.send(Publish(f"{self._root}/update", json.dumps(asked).encode(), 1, packet_id=1))
            while self.sent not in self.accepted:
                self._heard(await self._answer(wire))

    async def _answer(self, wire: Wire) -> Publish:
        """What comes next, or the end of the connection: a gateway gives nobody up in silence."""
        # Twice, as one wait is about as long as a gateway waits for the process that it has asked.
        for _ in range(2):
            with contextlib.suppress(TimeoutError):
                return await self._next(wire)
        self.wrong.append(f"{self.sent} is not answered, nor is its connection closed")
        raise TimeoutError

    async def _next(self, wire: Wire) -> Publish:
        while isinstance(found := await wire.next(), mqtt3.Puback):
            pass
        assert isinstance(found, Publish), wire.ended
        return found

    def _heard(self, message: Publish) -> None:
        if not message.topic.endswith("accepted"):
            return
        answer = json.loads(message.payload)
        number, version = int(answer["clientToken"]), answer["version"]
        if self.accepted.setdefault(number, answer) != answer:
            self.wrong.append(f"{number} is answered {self.accepted[number]}, and {answer}")
        if self.versions.setdefault(version, number) != number:
            self.wrong.append(f"version {version} is of {self.versions[version]}, and of {number}")


@pytest.mark.parametrize(
    "kills", [2, pytest.param(50, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])]
)
async def test_what_is_accepted_stays_and_no_version_is_said_twice(
    regions: Regions, kills: int
) -> None:
    names = [f"killed-{kills}-{number}" for number in range(DEVICES)]
    devices = [Device(regions, await regions.who_may(name, "iot:*")) for name in names]
    is_over = asyncio.Event()

    async def go_on() -> None:
        before = [len(each.accepted) for each in devices]

        def all_have() -> bool:
            pairs = zip(devices, before, strict=True)
            return all(len(each.accepted) >= had + BETWEEN for each, had in pairs)

        await until("every device goes on", all_have)

    async with asyncio.TaskGroup() as group:
        for each in devices:
            group.create_task(each.run(is_over))
        for _ in range(kills):
            await go_on()
            await regions.kill_part(HOME, "api")
        await go_on()
        is_over.set()
    for each in devices:
        assert each.wrong == []
        found = await each.document()
        last = max(each.accepted)
        # What was asked last may have been carried out though nobody could say so.
        assert last <= found["state"]["reported"]["n"] <= each.sent
        assert len(each.accepted) <= found["version"] <= each.sent
        # Each version is one update's, and later ones are of later updates.
        assert list(each.versions) == sorted(each.versions)
        assert list(each.versions.values()) == sorted(each.versions.values())
    assert sum(each.lost for each in devices)
