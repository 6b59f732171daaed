"""Carries out the bulk registrations of a region, one at a time in each process of its API.

A task never starves requests: no more than a few of its lines are done at once, each of them a few
writes that wait for the log as those of requests do, and files are read beside the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from isthmus.adapters.buckets import Buckets, Line, Lines, Report
from isthmus.aws import models
from isthmus.aws.context import Context
from isthmus.aws.handlers import register_thing
from isthmus.aws.requests import Call
from isthmus.aws.service_error import ServiceError
from isthmus.aws_server.exchange import INTERNAL, WhenKept
from isthmus.clock import monotonic_s
from isthmus.core import lists, provisioning, registration_tasks
from isthmus.core.item import Item
from isthmus.core.provisioning import Template
from isthmus.core.registration_tasks import (
    BUCKET,
    KEY,
    LISTED_OPEN,
    REGISTRATION_TASK,
    TEMPLATE,
    Progress,
    TaskStatus,
)
from isthmus.core.undecodable import UNDECODABLE
from isthmus.core.written import Written
from isthmus.errors import InputError, Unavailable
from isthmus.region.items import ItemStore
from isthmus.tasks import end

_log = logging.getLogger(__name__)

#: Seconds between two looks for something to do.
TICK_S = 0.2
#: Items that a task has written and not waited for.
WRITTEN_MAX = 10_000
#: Lines that are done at once.
LINES_AT_ONCE = 4
#: Seconds between two words on how far a task is; fewer where a lease is short.
PROGRESS_S = 1.0
#: What a process says of itself, for each lease.
BEATS = 4
_PARAMETERS = msgspec.json.Decoder(dict[str, str])


class Region(NamedTuple):
    """What carrying out a task takes of the process."""

    name: str
    store: ItemStore
    buckets: Buckets
    #: Makes what a line's handler acts on.
    context: Callable[[Call], Context]
    promise: Callable[[], WhenKept]
    #: Whether the region has caught up with its peers.
    is_open: Callable[[], bool]
    #: Seconds without a sign of its holder after which a task is taken over.
    lease_s: float


class RegistrationTasks:
    """Looks for tasks of the region that nobody holds, and carries them out."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._holder = secrets.token_hex(8)
        #: By task, its holder's last sign and when it was first seen here.
        self._signs: dict[str, tuple[Any, float]] = {}

    async def run(self) -> None:
        """Carry out whatever there is, for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            if not self._region.is_open():
                continue
            for key in self._unheld():
                extra = {"action": "registration-task", "task": key}
                try:
                    await self._carry_out(key)
                except (Unavailable, TimeoutError) as error:
                    _log.info("a task waits", extra={**extra, "reason": str(error)})

    def _unheld(self) -> list[str]:
        """The tasks whose holder has given no sign for a lease, the oldest first."""
        names = list(self._region.store.catalogue.after(LISTED_OPEN, self._region.name))
        keys = [lists.key_of(each) for each in names]
        now_s, before = monotonic_s(), self._signs
        self._signs = {}
        for key in keys:
            sign = registration_tasks.sign(self._region.store.get(REGISTRATION_TASK, key))
            held, since_s = before.get(key, (None, now_s))
            self._signs[key] = (sign, since_s if held == sign else now_s)
        return [key for key in keys if self._is_unheld(key, now_s)]

    def _is_unheld(self, key: str, now_s: float) -> bool:
        sign, since_s = self._signs[key]
        # What this process holds and does not carry out, it has given up.
        is_own = sign is not None and sign[0] == self._holder
        return sign is None or is_own or now_s - since_s > self._region.lease_s

    async def _carry_out(self, key: str) -> None:
        sign, _ = self._signs[key]
        holding = _Holding(self._region, self._holder, key)
        item = await holding.write(
            partial(registration_tasks.claim, holder=self._holder, instead_of=sign)
        )
        if registration_tasks.is_held_by(item, self._holder):
            await holding.carry_out(item)


class _Holding:
    """One task, as long as this process holds it."""

    def __init__(self, region: Region, holder: str, key: str) -> None:
        self._region = region
        self._holder = holder
        self._key = key
        self._progress = Progress()
        self._reports: tuple[Report, Report] | None = None
        operation = models.service(models.IOT).operations["RegisterThing"]
        self._call = Call(models.service(models.IOT), operation, {})
        #: What lines have written, and nobody has waited for yet.
        self._written = Written()

    async def write(self, change: Callable[..., Item]) -> Item:
        return await self._region.context(self._call).write(REGISTRATION_TASK, self._key, change)

    async def carry_out(self, item: Item) -> None:
        """Do what is left; returns when it has ended, or when somebody else holds it."""
        self._progress = registration_tasks.progress(item)
        working = asyncio.create_task(self._work(item))
        keeping = asyncio.create_task(self._keep())
        try:
            done, _ = await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                await each
        finally:
            await end((working, keeping))
            for report in self._reports or ():
                report.close()

    async def _keep(self) -> None:
        """Say that it is held, and how far it is; returns when somebody else holds it."""
        while True:
            await asyncio.sleep(min(PROGRESS_S, self._region.lease_s / BEATS))
            # What is counted is on disk.
            progress = self._progress
            for report in self._reports or ():
                await asyncio.to_thread(report.sync)
            keep = partial(registration_tasks.keep, holder=self._holder, progress=progress)
            if not registration_tasks.is_held_by(await self.write(keep), self._holder):
                return

    async def _work(self, item: Item) -> None:
        try:
            status, message = await self._lines(item), ""
        except (InputError, OSError) as error:
            status, message = TaskStatus.FAILED, str(error)
        await self._kept()
        ended = partial(
            registration_tasks.end,
            holder=self._holder,
            progress=self._progress,
            status=status,
            message=message,
        )
        await self.write(ended)

    async def _kept(self) -> None:
        """Return once a second region has what was made, or this one is alone."""
        for report in self._reports or ():
            await asyncio.to_thread(report.sync)
        while self._written:
            with contextlib.suppress(TimeoutError):
                await self._region.promise()(self._written)
                self._written = Written()

    async def _lines(self, item: Item) -> TaskStatus:
        """Do the lines that are left; raises InputError or OSError where that cannot be."""
        template, bucket = provisioning.read(item.register(TEMPLATE)), item.register(BUCKET)
        begun = self._progress
        lines = await asyncio.to_thread(
            self._region.buckets.lines, bucket, item.register(KEY), begun.offset
        )
        try:
            report = partial(self._region.buckets.report, bucket, self._key)
            self._reports = (
                await asyncio.to_thread(report, "results.jsonl", begun.results),
                await asyncio.to_thread(report, "errors.jsonl", begun.errors),
            )
            return await self._until_stopped(template, lines)
        finally:
            lines.close()

    async def _until_stopped(self, template: Template, lines: Lines) -> TaskStatus:
        while found := await asyncio.to_thread(lines.read, LINES_AT_ONCE):
            if registration_tasks.is_stopped(self._region.store.get(REGISTRATION_TASK, self._key)):
                return TaskStatus.CANCELLED
            if not self._region.is_open():
                raise Unavailable("the region is catching up with its peers")
            first = self._progress.lines + 1
            outcomes = await asyncio.gather(
                *(self._line(template, n, line) for n, line in enumerate(found, first)),
                # All of them have ended before it is given up.
                return_exceptions=True,
            )
            self._count(found, [_outcome(each) for each in outcomes], lines.size)
            if len(self._written) > WRITTEN_MAX:
                await self._kept()
        return TaskStatus.COMPLETED

    def _count(self, lines: list[Line], outcomes: list[dict[str, Any] | None], size: int) -> None:
        """Report what became of lines, and go on behind them."""
        assert self._reports is not None
        results, errors = self._reports
        good = [each for each in outcomes if each is not None and "response" in each]
        bad = [each for each in outcomes if each is not None and "response" not in each]
        for report, entries in ((results, good), (errors, bad)):
            # Not in a thread: who is cancelled closes the file, and a thread would not know.
            report.append(b"".join(msgspec.json.encode(each) + b"\n" for each in entries))
        before = self._progress
        self._progress = Progress(
            offset=lines[-1].end,
            size=size,
            lines=before.lines + len(lines),
            succeeded=before.succeeded + len(good),
            failed=before.failed + len(bad),
            results=results.size,
            errors=errors.size,
        )

    async def _line(self, template: Template, number: int, line: Line) -> dict[str, Any] | None:
        """What is reported of a line; None of an empty one."""
        if line.text is not None and not line.text.strip():
            return None
        place = {"lineNumber": number, "offset": line.offset}
        context = self._region.context(self._call)
        try:
            response = await register_thing.register(context, template, _parameters(line))
        except ServiceError as error:
            return {**place, "errorCode": error.code, "errorMessage": error.message}
        except Unavailable:
            raise
        except Exception:
            extra = {"action": "registration-task-error", "task": self._key, "line": number}
            _log.exception("a line of a task failed", extra=extra)
            return {**place, "errorCode": "InternalFailureException", "errorMessage": INTERNAL}
        self._written.add(context.written)
        return {**place, "response": response}


def _outcome(value: dict[str, Any] | BaseException | None) -> dict[str, Any] | None:
    if isinstance(value, BaseException):
        raise value
    return value


def _parameters(line: Line) -> dict[str, str]:
    if line.text is None:
        raise ServiceError("InvalidRequestException", "The line is too long")
    try:
        return _PARAMETERS.decode(line.text)
    except UNDECODABLE as error:
        message = f"The line is not an object of texts: {error}"
        raise ServiceError("InvalidRequestException", message) from None
