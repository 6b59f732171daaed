"""Answers what devices ask on reserved topics, as gateways pass it on.

In the order of ``exchange``: the region may serve, the view has what was answered anywhere in the
region, the handler has carried it out, and what it wrote is in a second region.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from isthmus import protocol
from isthmus.aws.context import Context
from isthmus.aws.device_questions import Asked, DeviceQuestions
from isthmus.aws.devices import DEVICE_QUESTIONS
from isthmus.aws.requests import Call
from isthmus.aws_server.exchange import Say, WhenKept
from isthmus.aws_server.serving import Serving
from isthmus.clock import monotonic_s
from isthmus.core.device_topics import about, question
from isthmus.errors import InputError, Unavailable
from isthmus.protocol import DeviceReply, DeviceReplyBatch, DeviceRequest, RegionEvent

_log = logging.getLogger(__name__)

#: Bytes of answers and events in one message of replies, which is a third larger: NATS takes 8 MiB,
#: and a request of a few bytes may have hundreds of thousands to tell. The first reply has room.
REPLIES_MAX_BYTES = 4 * 1024**2


class DeviceRequests:
    """Those that one process of the API answers."""

    def __init__(
        self,
        client: Client,
        is_open: Callable[[], bool],
        may_serve: Callable[[], Awaitable[None]],
        context: Callable[[Call], Context],
        promise: Callable[[], WhenKept],
        say: Say,
        questions: DeviceQuestions = DEVICE_QUESTIONS,
    ) -> None:
        """``is_open``: whether the region has caught up; ``may_serve`` waits for the view too.

        ``say`` publishes the events that are too large for a message with many replies.
        """
        self._may_serve = may_serve
        self._context = context
        self._promise = promise
        self._say = say
        self._questions = questions
        self.run = Serving(client, "region.device-request", is_open, self._answer).run

    async def _answer(self, message: Msg) -> None:
        try:
            asked = protocol.decode(message.data, protocol.DeviceRequestBatch).requests
            replies = await self._replies(asked)
        except InputError as error:
            extra = {"action": "device-request", "reason": str(error)}
            _log.warning("what a gateway asks cannot be read", extra=extra)
            replies = []
        try:
            await message.respond(protocol.encode(DeviceReplyBatch(replies)))
        except NatsError as error:
            extra = {"action": "device-request", "reason": f"{len(replies)}: {error}"}
            _log.warning("answers are lost", extra=extra)

    async def _replies(self, asked: list[DeviceRequest]) -> list[DeviceReply]:
        try:
            await self._may_serve()
        except Unavailable as error:
            return _failed(asked, str(error))
        kept = self._promise()
        together: dict[tuple[str, str, str], list[DeviceRequest]] = {}
        for each in asked:
            together.setdefault(_group(each), []).append(each)
        groups = await asyncio.gather(*(self._reply(each, kept) for each in together.values()))
        self._make_room(groups)
        found = dict(zip(together, map(iter, groups), strict=True))
        return [next(found[_group(each)]) for each in asked]

    def _make_room(self, groups: list[list[DeviceReply]]) -> None:
        """Take out of the replies what one message has no room for.

        The last answer of a group can be asked for once more, as nothing that was carried out
        stands behind it; those before it are refusals, which are small.
        """
        room = REPLIES_MAX_BYTES
        for number, replies in enumerate(groups):
            room -= sum(len(payload) for reply in replies for _, payload in reply.answers)
            room -= sum(len(each.payload) for reply in replies for each in reply.events)
            if room < 0 and number:
                self._say([(e.topic, e.payload) for reply in replies for e in reply.events])
                *first, last = replies
                replies[:] = [DeviceReply(each.answers, [], each.failed) for each in first]
                replies.append(DeviceReply(failed=last.failed, is_left=bool(last.answers)))

    async def _reply(self, asked: list[DeviceRequest], kept: WhenKept) -> list[DeviceReply]:
        """Reply to requests about one thing."""
        began_s = monotonic_s()
        try:
            replies = await self._carry_out(asked, kept)
        except (Unavailable, TimeoutError) as error:
            replies = _failed(asked, str(error) or "no second region has confirmed it in time")
        except InputError as error:
            replies = _failed(asked, str(error))
        except Exception:
            extra = {**_line(asked[0]), "action": "device-error"}
            _log.exception("a device's request failed", extra=extra)
            replies = _failed(asked, "an internal error")
        ms = round(1000 * (monotonic_s() - began_s), 1)
        for request, reply in zip(asked, replies, strict=True):
            what = question(request.topic)
            # Of the quick ones there are as many as publishes, and as these they are not told of.
            if reply.failed or what is None or not what.is_quick:
                line = _line(request) | {"reason": reply.failed, "ms": ms}
                line["answers"] = [topic for topic, _ in reply.answers]
                _log.info("a device's request is answered", extra=line)
        return replies

    async def _carry_out(self, asked: list[DeviceRequest], kept: WhenKept) -> list[DeviceReply]:
        found = self._questions.handler(asked[0].topic)
        if found is None:
            raise InputError("nobody here answers that")
        handler, call = found
        context = self._context(call)
        answered = await handler(context, [_asked(each) for each in asked])
        if context.written:
            await kept(context.written)
        return [
            DeviceReply(each.answers, [RegionEvent(*event) for event in each.events])
            for each in answered
        ]


def _group(request: DeviceRequest) -> tuple[str, str, str]:
    """What is carried out together: what one client asks about one thing."""
    return request.principal, request.client, about(request.topic)


def _asked(request: DeviceRequest) -> Asked:
    return Asked(
        request.principal,
        request.client,
        request.thing,
        request.address,
        request.topic,
        request.payload,
    )


def _failed(asked: Sequence[DeviceRequest], reason: str) -> list[DeviceReply]:
    return [DeviceReply(failed=reason) for _ in asked]


def _line(request: DeviceRequest) -> dict[str, Any]:
    return {
        "action": "device-request",
        "principal": request.principal,
        "client": request.client,
        "topic": request.topic,
        "address": request.address,
    }
