"""A region's AWS-compatible API in one process, for clients of botocore as they are."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from functools import cache, partial
from io import BytesIO
from typing import Any

import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from isthmus.adapters.buckets import Buckets
from isthmus.adapters.hooks import Hooks
from isthmus.adapters.memory import MemoryChangeLog
from isthmus.adapters.sealing import KEY_BYTES, Sealing
from isthmus.adapters.x509 import DeviceX509
from isthmus.aws import handlers, models, requests, responses
from isthmus.aws.context import Context
from isthmus.aws.devices.fleet_provisioning import creations
from isthmus.aws.listed import LISTED
from isthmus.aws.operations import Operations
from isthmus.aws.requests import Call, HttpRequest
from isthmus.aws.responses import HttpResponse
from isthmus.aws.service_error import ServiceError
from isthmus.core.arns import Naming
from isthmus.core.presence import Roster, Word
from isthmus.core.retained import RETAINED, retain
from isthmus.core.stamp import StampClock
from isthmus.region.items import ItemStore
from isthmus.region.turns import Turns
from isthmus.wire.packets import Publish

ENDPOINT = "https://iot.example.com"
ACCOUNT = "123456789012"
#: So few are told of at once that tests see what comes then.
CONNECTED_MAX = 2


def handled(service: str = "iot") -> list[str]:
    """The operations that the project has handlers for; tests may have made others."""
    return [
        each.operation
        for each in handlers.OPERATIONS.listed()
        if each.is_there and each.service == service and not each.operation.endswith("Dimension")
    ]


class Stream(BytesIO):
    """A body as urllib3 hands it to botocore."""

    def stream(self, *arguments: Any, **named: Any) -> Any:
        yield self.read()


class Services:
    """The region's services, asked by nobody else."""

    def __init__(self) -> None:
        self.roster = Roster()
        #: By the name of a connection: what it subscribes to.
        self.filters: dict[str, dict[str, int]] = {}

    async def known(self, clients: Sequence[str]) -> list[Word]:
        return self.roster.known(clients)

    async def connected(self, behind: str) -> list[Word]:
        return self.roster.connected(behind, CONNECTED_MAX)

    async def subscriptions(self, word: Word) -> dict[str, int]:
        return self.filters[word.present.session]


class Gateway:
    """The region's gateway, which has nobody but the API to listen to."""

    def __init__(self, region: AwsRegion) -> None:
        self._region = region
        self.taken: list[tuple[Publish, str]] = []

    async def publish(self, message: Publish, principal: str) -> None:
        self.taken.append((message, principal))
        if message.retain:
            region = self._region
            present = region.store.get(RETAINED, message.topic)
            await region.store.merge(retain(present, region.clock, message, region.now_ms))


class AwsRegion:
    """The items of a region, and whoever asks for them."""

    def __init__(
        self,
        region: str = "eu-west-1",
        operations: Operations = handlers.OPERATIONS,
        x509: DeviceX509 | None = None,
    ) -> None:
        self.store = ItemStore(MemoryChangeLog(), listed=LISTED)
        self.naming = Naming(ACCOUNT, region, frozenset({"eu-west-1", "us-east-1"}))
        self.clock = StampClock(region, "i")
        #: What the next request's handler takes for the time.
        self.now_ms = 1_700_000_000_000
        self.sealing = Sealing(b"k" * KEY_BYTES)
        self.x509 = x509 or DeviceX509(self.sealing)
        self._turns = Turns()
        self.services = Services()
        self.gateway = Gateway(self)
        #: By name, the directories that stand for buckets.
        self.buckets = Buckets({})
        #: By ARN, the hooks of provisioning templates.
        self.hooks = Hooks({})
        self.creations = creations()
        #: The operations that whoever asks may not carry out.
        self.never: set[str] = set()
        self._operations = operations

    def context(self, call: Call) -> Any:
        """What a handler acts on."""

        def may(operation: str) -> bool:
            return operation not in self.never

        return Context(
            call,
            self.store,
            self.naming,
            self.clock,
            self.now_ms,
            self.x509,
            turn=self._turns.of,
            connectivity=self.services,
            messages=self.gateway,
            give_way=partial(asyncio.sleep, 0),
            buckets=self.buckets,
            sealing=self.sealing,
            hooks=self.hooks,
            creations=self.creations,
            may=may,
        )

    def answer(self, service: str, request: HttpRequest) -> HttpResponse:
        """Do as a server does, without its signatures and its promises."""
        return asyncio.run(self._answer(models.service(service), request))

    async def _answer(self, service: models.Service, request: HttpRequest) -> HttpResponse:
        try:
            call = requests.read(service, request)
            output = self._operations.handler(call)(self.context(call), call.parameters)
            if inspect.isawaitable(output):
                output = await output
            return responses.write(call, output, "r")
        except ServiceError as error:
            return responses.refuse(service, error, "r")

    def client(self, service: str = "iot") -> Any:
        """A client of botocore whose requests are carried out at once.

        It leaves the checking of its parameters to the region.
        """
        client = _session().create_client(
            service,
            region_name=self.naming.region,
            endpoint_url=ENDPOINT,
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        )

        def instead_of_sending(request: Any, **_: Any) -> AWSResponse:
            headers = tuple((name, _text(value)) for name, value in request.headers.items())
            body = request.body or b""
            body = body.encode() if isinstance(body, str) else body
            target = request.url.removeprefix(ENDPOINT)
            response = self.answer(service, HttpRequest(request.method, target, headers, body))
            raw = Stream(response.body)
            return AWSResponse(request.url, response.status, response.headers, raw)

        client.meta.events.register("before-send", instead_of_sending)
        return client


@cache
def _session() -> botocore.session.Session:
    """One for all: what it reads of AWS's models takes longer than most tests."""
    return botocore.session.Session()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value
