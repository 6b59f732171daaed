"""Clients of a running region's AWS-compatible API: botocore's, and requests made by hand."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import aiohttp
import botocore.session
import msgspec
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from regions import HOME, Regions, until
from second_gateway import free_place
from yarl import URL

from isthmus.adapters.nats import connection
from isthmus.aws_server.server import Server
from isthmus.config import Listen
from isthmus.core.table import MemoryTable

Key = dict[str, Any]
#: Starts processes whose API has dimensions.
LAUNCHER = (sys.executable, str(Path(__file__).with_name("aws_dimensions.py")))


async def a_key(regions: Regions, role: str = "admin", region: str = HOME) -> Key:
    return await regions.operator.create_access_key(region, role)


def endpoint(regions: Regions, region: str = HOME) -> str:
    return regions.system.address(region).url("aws_api", "https")


class Caller:
    """A client of botocore that sends once, and tells the loop of nothing."""

    def __init__(
        self,
        regions: Regions,
        key: Key,
        region: str = HOME,
        *,
        service: str = "iot",
        signs_for: str = "",
        url: str = "",
        secret: str = "",
    ) -> None:
        self._client = botocore.session.Session().create_client(
            service,
            region_name=signs_for or region,
            endpoint_url=url or endpoint(regions, region),
            verify=str(regions.system.pki.ca_file),
            aws_access_key_id=key["id"],
            aws_secret_access_key=secret or key["secret"],
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        )
        self.errors = self._client.exceptions

    async def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """The output, or ClientError."""
        called: dict[str, Any] = await asyncio.to_thread(
            getattr(self._client, operation), **parameters
        )
        return called

    async def make(self, name: str, *values: str) -> Mapping[str, str]:
        """Write a dimension; the headers of the answer."""
        made = await self(
            "create_dimension",
            name=name,
            type="TOPIC_FILTER",
            stringValues=list(values or ("a",)),
            clientRequestToken="token",
        )
        headers: Mapping[str, str] = made["ResponseMetadata"]["HTTPHeaders"]
        return headers


class Sent(NamedTuple):
    """A request before it is sent, or after it was signed."""

    method: str = "GET"
    path: str = "/endpoint"
    body: bytes = b""
    headers: Mapping[str, str] = {}


def sign(
    regions: Regions,
    key: Key,
    sent: Sent,
    *,
    late: timedelta = timedelta(),
    service: str = "iot",
    scope: str = HOME,
) -> Sent:
    """Sign a request as botocore does, at some other time perhaps."""
    request = AWSRequest(
        sent.method, endpoint(regions) + sent.path, dict(sent.headers), sent.body or None
    )
    signer = auth.SigV4Auth(Credentials(key["id"], key["secret"]), service, scope)
    at = (datetime.now(UTC) - late).replace(tzinfo=None)
    with mock.patch.object(auth, "get_current_datetime", return_value=at):
        signer.add_auth(request)
    return sent._replace(headers=dict(request.headers.items()))


class Answer(NamedTuple):
    status: int
    #: The error's name; nothing where it is none.
    error: str
    headers: Mapping[str, str]
    text: str

    @property
    def message(self) -> str:
        return str(json.loads(self.text)["message"])


async def send(regions: Regions, sent: Sent, data: Any = None, region: str = HOME) -> Answer:
    """Send a request as it is, or another body in parts."""
    url = URL(endpoint(regions, region) + sent.path, encoded=True)
    connector = aiohttp.TCPConnector(ssl=regions.tls(None), force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector, skip_auto_headers=("Content-Type",)) as session,
        session.request(
            sent.method, url, data=data or BytesIO(sent.body), headers=sent.headers
        ) as answer,
    ):
        error = answer.headers.get("x-amzn-ErrorType", "")
        return Answer(answer.status, error, answer.headers.copy(), await answer.text())


#: Until a server in the test's own process takes itself for paused.
PAUSE_S = 30.0


def logged(regions: Regions, request_id: str, region: str = HOME) -> Iterator[dict[str, Any]]:
    """What the log of the API's process says of a request."""
    file = regions.system.settings.state_dir / "logs" / f"{region}-api.log"
    for line in file.read_text().splitlines():
        if request_id in line:
            yield json.loads(line)


@asynccontextmanager
async def second_api(
    regions: Regions, place: Listen | None = None, **changes: Any
) -> AsyncIterator[tuple[Server, str]]:
    """Another server of the home region, in the test's own process; where it listens.

    It takes longer pauses than others: a test has to share its process with it.
    """
    changes.setdefault("alone_after_s", PAUSE_S)
    config = msgspec.structs.replace(regions.config(HOME), **changes)
    assert config.aws_api is not None
    place = place or free_place(config.aws_api.listen.host)
    aws_api = msgspec.structs.replace(config.aws_api, listen=place)
    client = await connection.connect(aws_api.nats, name="api")
    server = Server(config, aws_api, client, MemoryTable())
    ready = asyncio.Event()
    running = asyncio.create_task(server.run(ready.set))
    try:
        await ready.wait()
        await until("it serves", lambda: server.is_open)
        yield server, f"https://{place}"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.close()
