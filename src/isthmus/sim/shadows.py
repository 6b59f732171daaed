"""Requests to shadows at one region's API, and what is told there of a peer's.

As aws/devices/shadows.py, aws/handlers/shadows.py and region/shadow_teller.py do it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from isthmus.core import batch as batches
from isthmus.core import shadow_topics
from isthmus.core.batch import Batch, Source, batch_id
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_call import ShadowCall
from isthmus.core.shadow_request import ShadowRefused
from isthmus.core.shadow_telling import ShadowTelling, Told
from isthmus.core.shadow_topics import Messages
from isthmus.core.shadows import SHADOW
from isthmus.sim.store import Refused, bus

if TYPE_CHECKING:
    from isthmus.sim.services import Answer, Services

TELL_AGAIN_S = 0.5


class Reply(NamedTuple):
    """What a request is answered: for who asked, and for everybody; or why it is not."""

    answers: Messages
    events: Messages
    failed: str = ""


class ShadowRequests:
    """Those that one start of a region's services carries out."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def ask(self, topic: str, payload: bytes, reply: Callable[[Reply], None]) -> None:
        """Carry out what a device asks; a region that catches up answers nothing."""
        services = self._services
        if not services.incarnation or not services.absence.is_over:
            reply(Reply([], [], "this region is catching up"))
            return
        self.carry_out(topic, payload, reply)

    def carry_out(self, topic: str, payload: bytes, reply: Callable[[Reply], None]) -> None:
        """The same, once it has caught up."""
        services = self._services
        try:
            call = ShadowCall(topic, payload)
            if call.change is None:
                item, now_ms = services.log.get(SHADOW, call.key), services.process.now_ms()
                reply(Reply(call.answers(item, now_ms), []))
                return
        except ShadowRefused as error:
            reply(Reply(shadow_topics.rejected(topic, error), []))
            return
        self._write(call, topic, payload, reply)

    def _write(
        self, call: ShadowCall, topic: str, payload: bytes, reply: Callable[[Reply], None]
    ) -> None:
        services = self._services
        watch = services.region.system.watch
        refused: list[ShadowRefused] = []

        def change(item: Item, writer: Writer) -> Item | None:
            refused.clear()
            assert call.change is not None
            try:
                made = call.change(item, writer)
            except ShadowRefused as error:
                refused.append(error)
                return None
            watch.shadows.proposed(item, made, payload, is_deletion=topic.endswith("/delete"))
            return made

        def answered(answer: Answer) -> None:
            if answer.failure:
                reply(Reply([], [], answer.failure))
            elif refused:
                reply(Reply(shadow_topics.rejected(topic, refused[0]), []))
            else:
                watch.answered(services.name, answer)
                assert call.change is not None
                watch.shadows.answered(services.name, call.change.made.item, payload)
                reply(Reply([], call.events()))

        services.write([(SHADOW, call.key, change)], answered)


class ShadowTeller:
    """Tells of what comes from one peer."""

    def __init__(self, services: Services, told: Callable[[Told], None]) -> None:
        self._services = services
        self._told = told
        self.telling = ShadowTelling()
        self._writer, self._number = "", 0
        self._is_telling = False

    def tell(self) -> None:
        """Store what waits, one batch after another."""
        if self._is_telling:
            return
        while (step := self.telling.next()) is not None:
            if step.messages:
                self._is_telling = True
                self._store(Batch(*self._next(), (Source("", "", ""),), tuple(step.messages)))
                return
            self._done(step.told)

    def _done(self, told: Told | None) -> None:
        self.telling.done()
        if told is not None:
            self._told(told)

    def _next(self) -> tuple[str, str, int]:
        name = self._services.name
        if not self._writer:
            number = self._services.region.system.next_start()
            self._writer, self._number = f"{name}-own-{number}", 0
        self._number += 1
        return name, self._writer, self._number

    def _store(self, batch: Batch) -> None:
        services = self._services
        services.store.append(
            services.process,
            bus(services.name),
            batch.writer,
            batches.encode(batch),
            partial(self._stored, batch),
            identity=batch_id(batch.writer, batch.number),
        )

    def _stored(self, batch: Batch, result: int | Refused) -> None:
        self._is_telling = False
        if isinstance(result, Refused):
            # It may be there all the same; what is stored again is another writer's.
            self._writer = ""
            self._services.process.after(TELL_AGAIN_S, self.tell)
            return
        step = self.telling.next()
        assert step is not None
        self._services.world.reached["shadow-told"] += len(batch.messages)
        self._done(step.told)
        self.tell()
