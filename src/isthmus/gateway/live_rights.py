"""Holds who is connected to what they may do now, as the region's log changes it.

A change that names its principals takes effect as soon as it is applied. One that is about a group,
or a policy of many, is asked about by turns of the loop, which everything else has its turns
between: a fleet that is suspended is closed within a second or so, and stops nobody's gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from isthmus.clock import monotonic_s
from isthmus.core.permissions import Permissions
from isthmus.core.rechecks import Rechecks
from isthmus.core.view import Concerned, View
from isthmus.wire.reason_codes import ReasonCode

if TYPE_CHECKING:
    from isthmus.gateway.connection import Connection

#: How long one turn asks: some tens of connections, and fewer where they are closed.
TURN_S = 0.005


class LiveRights:
    """The connections of one gateway process that have been let in."""

    def __init__(
        self, view: View, permissions: Permissions, told: Callable[[Connection], None]
    ) -> None:
        """``told`` is called with each whose rights may be others now."""
        self._view = view
        self._permissions = permissions
        self._told = told
        self._rechecks: Rechecks[Connection] = Rechecks()
        self._is_due = asyncio.Event()
        self.came = self._rechecks.came
        self.went = self._rechecks.went

    def changed(self, concerned: Concerned) -> None:
        """The view has applied what this says of it."""
        self._rechecks.changed(concerned)
        self._turn()

    async def run(self) -> None:
        """Ask who is left, for ever."""
        while True:
            await self._is_due.wait()
            self._turn()
            await asyncio.sleep(0)

    def _turn(self) -> None:
        end_s = monotonic_s() + TURN_S
        while self._rechecks:
            self._recheck(self._rechecks.next())
            if monotonic_s() >= end_s:
                break
        if self._rechecks:
            self._is_due.set()
        else:
            self._is_due.clear()

    def _recheck(self, connection: Connection) -> None:
        session = connection.session
        if session is None:
            return
        if reason := self._view.refusal(connection.principal):
            connection.close(f"{reason} now", code=ReasonCode.NOT_AUTHORIZED, at_once=True)
            return
        session.permissions = self._permissions.of(
            connection.principal, session.client_id, connection.address, session.asked
        )
        allowed, reason = session.permissions.allows("iot:Connect", f"client/{session.client_id}")
        if not allowed:
            connection.close(reason, code=ReasonCode.NOT_AUTHORIZED, at_once=True)
            return
        self._told(connection)
