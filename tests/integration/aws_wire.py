"""Requests to a region's AWS-compatible API byte for byte, and answers as botocore reads them.

Connections block, so that hypothesis and threads can have them; they send nothing again by
themselves.
"""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPException, HTTPResponse
from typing import Any, NamedTuple, cast
from unittest import mock

from aws_inputs import request_of
from botocore import auth
from botocore.awsrequest import AWSRequest, HeadersDict
from botocore.credentials import Credentials
from botocore.model import OperationModel
from botocore.parsers import create_parser
from regions import HOME, POLL_S, Regions

from isthmus.aws import models
from isthmus.aws.requests import HttpRequest
from isthmus.aws.service_error import COMMON_ERRORS

IOT = models.service("iot")
#: What any operation may be answered, besides the errors that its model has.
ANY = {*COMMON_ERRORS, "InvalidRequestException", "ServiceUnavailableException"}
ANSWER_S = 30.0
_PARSER = create_parser("rest-json")


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    #: Whether the connection ends with it.
    is_last: bool

    @property
    def error(self) -> str:
        """The error's name; nothing where it is none."""
        return self.headers.get("x-amzn-ErrorType", "")

    @property
    def request_id(self) -> str:
        return self.headers.get("x-amzn-RequestId", "")

    def read_as(self, operation: OperationModel) -> dict[str, Any]:
        """What botocore makes of it."""
        answer = {"status_code": self.status, "headers": self.headers, "body": self.body}
        parsed: dict[str, Any] = _PARSER.parse(answer, operation.output_shape)
        return parsed


class Refused(Exception):
    """A call ended in an error, whose name is its first argument."""


class Place(NamedTuple):
    """Where a region's API is, and by what it is known."""

    host: str
    port: int
    tls: ssl.SSLContext

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def place(regions: Regions, region: str = HOME) -> Place:
    address = regions.system.address(region)
    return Place(address.host, address.ports["aws_api"], regions.tls(None))


class Signer:
    """Signs as botocore does."""

    def __init__(self, key: Mapping[str, str], to: Place, scope: str = HOME) -> None:
        credentials = Credentials(key["id"], key["secret"])
        self._auth = auth.SigV4Auth(credentials, "iot", scope)
        self._to = to

    def sign(self, request: HttpRequest, late: timedelta = timedelta()) -> HttpRequest:
        """The request with all headers that it needs; at another time it signs in one thread."""
        made = AWSRequest(
            request.method,
            f"https://{self._to}{request.target}",
            dict(request.headers),
            request.body or None,
        )
        if late:
            at = (datetime.now(UTC) - late).replace(tzinfo=None)
            with mock.patch.object(auth, "get_current_datetime", return_value=at):
                self._auth.add_auth(made)
        else:
            self._auth.add_auth(made)
        headers = {"Host": str(self._to), **made.headers}
        if request.body or request.method not in ("GET", "HEAD", "DELETE"):
            headers["Content-Length"] = str(len(request.body))
        return request._replace(headers=tuple(headers.items()))


def as_bytes(request: HttpRequest) -> bytes:
    """As it goes over the wire."""
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + request.body


class _Reader(io.BufferedReader):
    """What has come of a connection, for one answer after the other; each would close it."""

    def makefile(self, _: str) -> _Reader:
        return self

    def close(self) -> None: ...


class Wire:
    """One connection."""

    def __init__(self, to: Place) -> None:
        plain = socket.create_connection((to.host, to.port), ANSWER_S)
        # What is written in parts is to come in parts.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = to.tls.wrap_socket(plain, server_hostname=to.host)
        self._reader = _Reader(socket.SocketIO(self.socket, "r"))

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def write(self, data: bytes) -> None:
        """Send; who has been answered and closed meanwhile need not hear all of it."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.socket.sendall(data)

    def no_more(self) -> None:
        """Close this half, of TCP: TLS has no such thing."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_WR)

    def reply(self, method: str = "GET") -> Reply | None:
        """The next answer; None where the connection was closed without one."""
        answer = HTTPResponse(cast(socket.socket, self._reader), method=method)
        try:
            answer.begin()
            is_last = answer.will_close
            return Reply(answer.status, HeadersDict(answer.getheaders()), answer.read(), is_last)
        except (ConnectionError, ssl.SSLError, HTTPException):
            return None


class Client:
    """Calls operations on one connection, which it opens anew when the last one was lost."""

    def __init__(self, key: Mapping[str, str], to: Place) -> None:
        self._to = to
        self._signer = Signer(key, to)
        self._wire: Wire | None = None

    def close(self) -> None:
        if self._wire is not None:
            self._wire.socket.close()
            self._wire = None

    def call(self, name: str, **parameters: Any) -> dict[str, Any]:
        """The output of an operation; Refused with the name of an error.

        Sends again where the region is catching up: then nothing was carried out. Raises OSError
        where nothing was answered, whatever has become of it.
        """
        operation = IOT.operations[name]
        request = request_of(operation, parameters)
        until_s = time.monotonic() + ANSWER_S
        while True:
            parsed = self._exchange(self._signer.sign(request)).read_as(operation)
            if "Error" not in parsed:
                return parsed
            code, message = parsed["Error"]["Code"], parsed["Error"]["Message"]
            if "catching up" not in message or time.monotonic() > until_s:
                raise Refused(code, message, name)
            time.sleep(POLL_S)

    def _exchange(self, request: HttpRequest) -> Reply:
        try:
            if self._wire is None:
                self._wire = Wire(self._to)
            self._wire.socket.sendall(as_bytes(request))
            reply = self._wire.reply(request.method)
        except OSError:
            self.close()
            raise
        if reply is None:
            self.close()
            raise ConnectionResetError("closed without an answer")
        if reply.is_last:
            self.close()
        return reply
