"""A client of the AWS-compatible API that costs little: one connection, one request at a time.

A connection is kept for as long as the server keeps it: one that closes after each answer is
connected to again, as every client of such a server has to.
"""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from isthmus.bench.plan import AccessKey, LoadPlan
from isthmus.bench.signing import Signer
from isthmus.clock import now_ms
from isthmus.core.undecodable import UNDECODABLE
from isthmus.errors import BrokenInvariant, Unavailable

#: A page of a long list is far below it.
HEAD_BYTES_MAX = 64 * 1024
ANSWERED_WITHIN_S = 60.0
OK = 200
ATTRIBUTES = {"model": "m-1", "line": "l-2"}
THING = msgspec.json.encode({"attributePayload": {"attributes": ATTRIBUTES}})
_END = b"\r\n\r\n"
SHOWN_MAX = 200


class Server(NamedTuple):
    """Where requests go, and who signs them."""

    host: str
    port: int
    hostname: str
    ca_file: str
    key: AccessKey

    @classmethod
    def of(cls, plan: LoadPlan) -> Self:
        assert plan.access_key is not None
        return cls(plan.host, plan.port, plan.hostname, plan.ca_file, plan.access_key)


class Head(NamedTuple):
    """What an answer begins with."""

    status: int
    length: int
    is_last: bool

    @classmethod
    def read(cls, head: bytes) -> Self:
        """Of a status line and headers; raises BrokenInvariant where they are none."""
        first, *lines = head[: -len(_END)].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in map(_parted, lines)}
        try:
            status, length = int(first.split(" ")[1]), int(headers["content-length"])
        except (LookupError, ValueError):
            raise BrokenInvariant(f"an answer begins {head[:SHOWN_MAX]!r}") from None
        return cls(status, length, headers.get("connection", "").lower() == "close")


def _parted(line: str) -> tuple[str, str, str]:
    return line.partition(":")


class ApiClient:
    """One client. Whatever is not an answer with status 200 and a JSON object is an error."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._signer = Signer(server.key, f"{server.hostname}:{server.port}")
        self._tls = ssl.create_default_context(cafile=server.ca_file)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    async def create(self, name: str) -> None:
        """Make a thing with two attributes."""
        made = await self._ask("POST", f"/things/{name}", body=THING)
        _expect(made.get("thingName") == name, "CreateThing", made)

    async def describe(self, name: str) -> None:
        """Read a thing and what it was made with."""
        said = await self._ask("GET", f"/things/{name}")
        is_it = said.get("thingName") == name and said.get("attributes") == ATTRIBUTES
        _expect(is_it, "DescribeThing", said)

    async def list_page(self, count: int, token: str = "") -> tuple[list[str], str]:
        """The names of a page, and the token of the next; nothing where it is the last."""
        # In the order in which a query is signed.
        query = f"maxResults={count}" + (f"&nextToken={_quoted(token)}" if token else "")
        said = await self._ask("GET", "/things", query)
        things = said.get("things")
        _expect(isinstance(things, list), "ListThings", said)
        return [each["thingName"] for each in things or ()], said.get("nextToken") or ""

    async def delete(self, name: str) -> None:
        """Take a thing away."""
        await self._ask("DELETE", f"/things/{name}")

    async def _ask(
        self, method: str, path: str, query: str = "", body: bytes = b""
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                status, answer = await self._exchange(method, path, query, body)
        except TimeoutError:
            raise Unavailable(f"{method} {path}: no answer in {ANSWERED_WITHIN_S:g} s") from None
        except (OSError, asyncio.IncompleteReadError) as error:
            self._close()
            raise Unavailable(f"{method} {path}: {error!r}") from None
        if status != OK:
            text = answer[:SHOWN_MAX].decode(errors="replace")
            raise Unavailable(f"{method} {path} was answered {status}: {text}")
        try:
            return msgspec.json.decode(answer or b"{}", type=dict[str, Any])
        except UNDECODABLE:
            raise BrokenInvariant(f"{method} {path} was answered {answer[:SHOWN_MAX]!r}") from None

    async def _exchange(self, method: str, path: str, query: str, body: bytes) -> tuple[int, bytes]:
        reader, writer = self._streams or await self._connect()
        writer.write(self._signer.request(now_ms() / 1000, method, path, query, body))
        head = Head.read(await reader.readuntil(_END))
        answer = await reader.readexactly(head.length)
        if head.is_last:
            self._close()
        return head.status, answer

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._streams = await asyncio.open_connection(
            self._server.host,
            self._server.port,
            ssl=self._tls,
            server_hostname=self._server.hostname,
            limit=HEAD_BYTES_MAX,
        )
        return self._streams

    def _close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _quoted(token: str) -> str:
    return token.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")


def _expect(is_right: bool, operation: str, answer: dict[str, Any]) -> None:
    if not is_right:
        raise BrokenInvariant(f"{operation} was answered {str(answer)[:SHOWN_MAX]}")
