"""Who carries out what a device asks on a reserved topic.

A handler is a function of one question of ``core.device_topics``, declared with the operation of
AWS's API that it is most like, by whose names the items refuse input:

    @DEVICE_QUESTIONS.handles(device_topics.PROVISION, like="RegisterThing")
    async def provision(context: Context, asked: Asked) -> Answered: ...

It answers whatever there is to say, refusals too, on the topics that its question is answered on.
What it raises is a bug or passes, and then the device hears nothing and asks again.

``handles_together`` declares a function of all requests about one thing that have come at once, in
their order, which answers each of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from isthmus.aws import models
from isthmus.aws.context import Context
from isthmus.aws.requests import Call
from isthmus.core.device_topics import Question, question
from isthmus.errors import BrokenInvariant


class Asked(NamedTuple):
    """A request of a device that may publish it."""

    principal: str
    client: str
    #: The thing that its connection belongs to; empty where there is none.
    thing: str
    address: str
    topic: str
    payload: bytes


class Answered(NamedTuple):
    """Topics and payloads: for the connection that has asked, and for everybody."""

    answers: list[tuple[str, bytes]]
    events: list[tuple[str, bytes]] = []  # noqa: RUF012


Handler = Callable[[Context, Asked], Awaitable[Answered]]
HandlerOfMany = Callable[[Context, Sequence[Asked]], Awaitable[list[Answered]]]
H = TypeVar("H", bound=Handler)
M = TypeVar("M", bound=HandlerOfMany)


class DeviceQuestions:
    """Handlers by question."""

    def __init__(self) -> None:
        self._handlers: dict[Question, tuple[HandlerOfMany, str, str]] = {}

    def handles(self, asked: Question, *, like: str, service: str = models.IOT) -> Callable[[H], H]:
        """Declare a function as the handler of a question; ``like`` is of a service."""

        def declare(handler: H) -> H:
            async def one_by_one(context: Context, asked: Sequence[Asked]) -> list[Answered]:
                return [await handler(context, each) for each in asked]

            together(one_by_one)
            return handler

        together = self.handles_together(asked, like=like, service=service)
        return declare

    def handles_together(
        self, asked: Question, *, like: str, service: str = models.IOT
    ) -> Callable[[M], M]:
        """The same of a function of many."""
        if asked in self._handlers:
            raise BrokenInvariant(f"{asked.asked} have a handler already")

        def declare(handler: M) -> M:
            self._handlers[asked] = handler, like, service
            return handler

        return declare

    def handler(self, topic: str) -> tuple[HandlerOfMany, Call] | None:
        """Who carries out what is asked on a topic, and as which call; None where nobody does."""
        found = self._handlers.get(question(topic) or Question((), ()))
        if found is None:
            return None
        handler, like, name = found
        service = models.service(name)
        return handler, Call(service, service.operations[like], {})


#: All that are declared by the modules that were imported.
DEVICE_QUESTIONS = DeviceQuestions()
