"""Who carries out which operation.

A handler is a function of one operation, declared by its name, which is checked against the models
as the module is imported:

    @OPERATIONS.handles("DescribeThing")
    def describe_thing(context: Context, parameters: Parameters) -> Output: ...

It may be async: whoever calls it awaits what it returns where that can be awaited. What it may act
on is in its context, so that this package knows of no region. To refuse it raises ServiceError.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from isthmus.aws import models
from isthmus.aws.requests import Call
from isthmus.aws.service_error import ServiceError
from isthmus.errors import BrokenInvariant

#: Input and output, as a caller of boto3 has them.
Parameters = dict[str, Any]
Output = dict[str, Any]
Handler = Callable[[Any, Parameters], Output | Awaitable[Output]]
H = TypeVar("H", bound=Handler)


class Listed(NamedTuple):
    """An operation of the models, and whether it has a handler here."""

    service: str
    operation: str
    is_there: bool


class Operations:
    """Handlers by operation."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def handles(self, name: str) -> Callable[[H], H]:
        """Declare a function as the handler of an operation, which one service has, or several."""
        if not any(name in models.service(each).operations for each in models.SERVICES):
            raise BrokenInvariant(f"no service has an operation {name!r}")
        if name in self._handlers:
            raise BrokenInvariant(f"{name} has a handler already")

        def declare(handler: H) -> H:
            self._handlers[name] = handler
            return handler

        return declare

    def handler(self, call: Call) -> Handler:
        """Who carries out a call; raises ServiceError where nobody does."""
        name = call.operation.name
        if name not in self._handlers:
            message = f"{name} is not implemented here. `isthmus api --list` lists what is."
            raise ServiceError("NotImplementedException", message)
        return self._handlers[name]

    def listed(self) -> list[Listed]:
        """Every operation of every service."""
        return [
            Listed(service, name, name in self._handlers)
            for service in models.SERVICES
            for name in sorted(models.service(service).operations)
        ]


#: All that are declared by the modules that were imported.
OPERATIONS = Operations()
