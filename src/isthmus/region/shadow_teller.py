"""Tells the devices of this region what another region has made of a shadow.

What is told of what is ``core.shadow_telling``'s to say; nobody waits until it is stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from isthmus.core.batch import Message
from isthmus.core.cursor import Cursor
from isthmus.core.shadow_telling import FirstFill, ShadowTelling, Told
from isthmus.errors import Unavailable
from isthmus.region.items import Merged
from isthmus.region.own_messages import OwnMessages

_log = logging.getLogger(__name__)

RETRY_S = 0.5


class ShadowTeller:
    """What is to be told of one peer's log."""

    def __init__(self, own: OwnMessages, told: Callable[[Told], None]) -> None:
        """``told`` hears up to where everything is told."""
        self._own = own
        self._told = told
        self._telling = ShadowTelling()
        self._changed = asyncio.Event()

    def begin(
        self, told: Told, incarnation: str, head: int, own_head: int, first: FirstFill
    ) -> None:
        """The log is read anew: what was written down of it, and where it and ours end now."""
        self._telling.begin(told, incarnation, head, own_head, first)

    def merged(self, sequence: int, merged: Merged) -> None:
        """Note what is to be told of an item that has come."""
        self._telling.merged(sequence, *merged)

    def reached(self, cursor: Cursor) -> None:
        """All entries up to here have been noted: they are told from now on."""
        if dropped := self._telling.reached(cursor):
            extra = {"action": "tell-shadows", "messages": dropped}
            _log.error("too much waits to be told: some devices are not", extra=extra)
        self._changed.set()

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            self._changed.clear()
            while (step := self._telling.next()) is not None:
                if step.messages:
                    await self._store(step.messages)
                self._telling.done()
                if step.told is not None:
                    self._told(step.told)
            await self._changed.wait()

    async def _store(self, messages: list[Message]) -> None:
        """Return when it is stored."""
        reason = ""
        while True:
            try:
                await self._own.store(messages)
                return
            except Unavailable as error:
                # Once per reason: a bus may be full for long.
                if reason != (reason := str(error)):
                    extra = {"action": "tell-shadows", "reason": reason}
                    _log.warning("what a peer has changed is not told yet", extra=extra)
                await asyncio.sleep(RETRY_S)
