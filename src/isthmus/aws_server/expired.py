"""Ends what is over in time, in every process of the API: the first one to look does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from isthmus.aws import expiring, models, old_executions
from isthmus.aws.context import Context
from isthmus.aws.requests import Call
from isthmus.errors import Unavailable

_log = logging.getLogger(__name__)

#: Seconds between two looks, which is how long a claim may outlive itself on a live connection.
TICK_S = 1.0
#: What ends, and who knows when.
SORTS = {"certificate": expiring, "command-execution": old_executions}


class Expired:
    """Looks for them in the view of one process."""

    def __init__(
        self,
        context: Callable[[Call], Context],
        is_open: Callable[[], bool],
        is_alone: Callable[[], bool],
    ) -> None:
        """``is_open``: whether the region has caught up; ``is_alone``: with no other region."""
        self._context = context
        self._is_open = is_open
        self._is_alone = is_alone
        service = models.service(models.IOT)
        self._call = Call(service, service.operations["DeleteCertificate"], {})

    async def run(self) -> None:
        """End them until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            for sort in SORTS:
                if self._is_open():
                    await self._end(sort)

    async def _end(self, sort: str) -> None:
        ending = SORTS[sort]
        for key in ending.due(self._context(self._call), is_alone=self._is_alone()):
            context, is_alone = self._context(self._call), self._is_alone()
            try:
                if await ending.end(context, key, is_alone=is_alone):
                    extra = {"action": f"{sort}-expired", "key": key}
                    _log.info("the time of something is over", extra=extra)
            except Unavailable as error:
                extra = {"action": f"{sort}-expired", "reason": str(error)}
                _log.info("what is over is ended later", extra=extra)
                break
