"""Requests of AWS's API with something wrong in them, each way under its name.

Before they are signed, so that what is wrong reaches the operation; or after that, in the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from aws_wire import Signer, as_bytes
from hypothesis import strategies as st

from isthmus.aws.requests import BODY_BYTES_MAX, HttpRequest

#: Gives the request as it is to be signed.
Spoil = Callable[[st.DrawFn, HttpRequest], HttpRequest]
#: Gives the bytes that are sent for a request.
Mangle = Callable[[st.DrawFn, HttpRequest, Signer], bytes]

ODD_VALUES = (None, True, 0, -1, 1 << 70, 0.5, 1e300, "", "x", "x" * 5000, "\0", "ä", [], {}, [[]])
ODD_BODIES = (
    b"{",
    b"nil",
    b"[]",
    b'"text"',
    b"1e999",
    b"NaN",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\0}\0",
    b'{"a":"\xc0\xaf"}',
    b'{"a":"\\ud800"}',
    b'{"a":1,"a":2}',
    b'{"a":' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"{}" + b" " * 10 + b"{}",
    b"<xml/>",
    b"\0" * 100,
    b"a=b&c=d",
)
ODD_QUERIES = (
    "maxResults=-1",
    "maxResults=1e2",
    "maxResults=%32",
    "maxResults=99999999999999999999",
    "pageSize=",
    "nextToken=x",
    "nextToken=",
    "expectedVersion=1.0",
    "ascendingOrder=yes",
    "colour=red",
    "=",
    "&&&",
    "%00=%00",
    "%ff=1",
    "a=%c0%af",
    "a;b=c",
    "x=1&x=2",
    "+=+",
    "Action=DescribeThing&Version=2015-05-28",
)
ODD_PATHS = ("/", "//", "/.", "/..", "/%00", "/%2e%2e", "/%ff", "/%c0%af", "/%25", ";a=b", "/x/y/z")
METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "get", "PROPFIND")


# Before it is signed


def _another_type(draw: st.DrawFn, request: HttpRequest) -> HttpRequest:
    """A value somewhere in the body is another one."""
    try:
        body = json.loads(request.body)
    except ValueError:
        body = {}
    whole: dict[str, Any] = {"body": body}
    holder: Any = whole
    name: Any = "body"
    while isinstance(holder[name], dict | list) and holder[name] and draw(st.booleans()):
        holder = holder[name]
        names = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        name = draw(st.sampled_from(names))
    holder[name] = draw(st.sampled_from(ODD_VALUES))
    return request._replace(body=json.dumps(whole["body"]).encode())


def _a_member_too_much(draw: st.DrawFn, request: HttpRequest) -> HttpRequest:
    try:
        body = json.loads(request.body)
    except ValueError:
        body = {}
    return request._replace(body=json.dumps(body | {"colour": "red"}).encode())


def _not_json(draw: st.DrawFn, request: HttpRequest) -> HttpRequest:
    body = draw(
        st.sampled_from(ODD_BODIES)
        | st.binary(max_size=200)
        | st.integers(0, max(0, len(request.body) - 1)).map(lambda at: request.body[:at])
    )
    return request._replace(body=body)


def _odd_query(draw: st.DrawFn, request: HttpRequest) -> HttpRequest:
    odd = draw(st.sampled_from(ODD_QUERIES))
    mark = "&" if "?" in request.target else "?"
    return request._replace(target=f"{request.target}{mark}{odd}")


def _repeated_query(draw: st.DrawFn, request: HttpRequest) -> HttpRequest:
    path, mark, query = request.target.partition("?")
    return request._replace(target=f"{path}{mark}{query}&{query}") if mark else request


def _odd_path(draw: st.DrawFn, request: HttpRequest) -> HttpRequest:
    path, mark, query = request.target.partition("?")
    parts = path.split("/")
    at = draw(st.integers(1, len(parts) - 1))
    odd = draw(st.sampled_from(ODD_PATHS))
    parts[at] = draw(st.sampled_from([odd, parts[at] + odd, "", "x" * 9000, parts[at][:1]]))
    return request._replace(target="/".join(parts) + mark + query)


def _encoded_path(draw: st.DrawFn, request: HttpRequest) -> HttpRequest:
    """The same path, encoded without need."""
    path, mark, query = request.target.partition("?")
    form = draw(st.sampled_from(["%{:02x}", "%{:02X}"]))
    wanted = draw(st.integers(1, 3))
    path = "".join(
        form.format(ord(each))
        if each.isalnum() and not at % wanted and path[at - 1] != "%" and path[at - 2] != "%"
        else each
        for at, each in enumerate(path)
    )
    return request._replace(target=path + mark + query)


def _another_method(draw: st.DrawFn, request: HttpRequest) -> HttpRequest:
    return request._replace(method=draw(st.sampled_from(METHODS)))


SPOILS: dict[str, Spoil] = {
    "a value of another type": _another_type,
    "a member that nobody knows": _a_member_too_much,
    "a body that is not JSON": _not_json,
    "an odd query": _odd_query,
    "a query twice": _repeated_query,
    "an odd path": _odd_path,
    "a path encoded without need": _encoded_path,
    "another method": _another_method,
}


# After it was signed


def _with(request: HttpRequest, *headers: tuple[str, str]) -> HttpRequest:
    return request._replace(headers=(*request.headers, *headers))


def _instead(request: HttpRequest, name: str, value: str) -> HttpRequest:
    kept = tuple(each for each in request.headers if each[0].lower() != name.lower())
    return request._replace(headers=(*kept, (name, value)))


def _header(request: HttpRequest, name: str) -> str:
    return next(value for each, value in request.headers if each == name)


def _wrong_signature(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    request = signer.sign(request)
    given = _header(request, "Authorization")
    # Among the digits at its end.
    at = draw(st.integers(-64, -1))
    changed = f"{given[:at]}{'1' if given[at] == '0' else '0'}{given[at:][1:]}"
    return as_bytes(_instead(request, "Authorization", changed))


def _not_signed(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    whole = signer.sign(request)
    left = tuple(each for each in whole.headers if each[0] != "Authorization")
    return as_bytes(whole._replace(headers=left))


def _signed_at_another_time(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    seconds = draw(st.sampled_from([-(10**9), -3600, -310, 310, 3600, 10**9]))
    return as_bytes(signer.sign(request, timedelta(seconds=seconds)))


def _odd_date(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    date = draw(st.sampled_from(["", "x", "20260230T000000Z", "99991231T235959Z", "٢" * 8]))
    return as_bytes(_instead(signer.sign(request), "X-Amz-Date", date))


def _repeated_header(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    request = signer.sign(request)
    name, value = draw(st.sampled_from(request.headers))
    return as_bytes(_with(request, (name, draw(st.sampled_from([value, "", "x"])))))


def _huge_headers(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    size = draw(st.sampled_from([15_000, 17_000, 200_000]))
    huge = draw(
        st.sampled_from(
            [
                (("X-Huge", "x" * size),),
                ((f"X-{'x' * size}", "x"),),
                tuple((f"X-{number}", "x") for number in range(size // 10)),
            ]
        )
    )
    return as_bytes(_with(signer.sign(request), *huge))


def _odd_length(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    """Of a body that ends where the connection does."""
    signed = signer.sign(request)
    right = len(request.body)
    lengths = ["-1", "+1", "0x10", "1e1", "1 1", "", "x", "٣", "9" * 30, str(right + 1)]
    return as_bytes(_instead(signed, "Content-Length", draw(st.sampled_from(lengths))))


def _two_lengths(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    signed = _instead(signer.sign(request), "Content-Length", str(len(request.body)))
    other = draw(st.sampled_from([("Content-Length", "0"), ("Transfer-Encoding", "chunked")]))
    return as_bytes(_with(signed, other))


def _chunked(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    """In parts, as it was signed, or with something wrong in them."""
    signed = signer.sign(request)
    kept = tuple(each for each in signed.headers if each[0] != "Content-Length")
    head = as_bytes(signed._replace(headers=(*kept, ("Transfer-Encoding", "chunked")), body=b""))
    cuts = sorted(draw(st.lists(st.integers(0, len(request.body)), max_size=3)))
    parts = [
        request.body[start:end]
        for start, end in zip([0, *cuts], [*cuts, len(request.body)], strict=True)
    ]
    whole = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in parts if each) + b"0\r\n\r\n"
    odd = draw(
        st.sampled_from(
            [whole, whole[:-2], b"x\r\n" + whole, b"-1\r\n" + whole, b"f" * 40 + b"\r\n" + whole]
        )
        | st.just(b"5;" + b"e" * 20_000 + b"\r\n" + whole)
        | st.just(whole[:-2] + b"X-Trailer: x\r\n\r\n")
    )
    return head + odd


def _too_big(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    body = b" " * draw(st.sampled_from([BODY_BYTES_MAX + 1, 10 * BODY_BYTES_MAX]))
    return as_bytes(signer.sign(request._replace(body=body)))


def _cut_short(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    whole = as_bytes(signer.sign(request))
    return whole[: draw(st.integers(0, len(whole) - 1))]


def _accidents(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    """A few bytes are other ones."""
    data = bytearray(as_bytes(signer.sign(request)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(data) - 1, 600)))
        odd = [b"\0", b"\r", b"\n", b"\r\n\r\n", b" ", b":", b"\xff", b"%", b"\t", b"", b"\x80abc"]
        data[at : at + draw(st.integers(0, 2))] = draw(st.sampled_from(odd))
    return bytes(data)


def _odd_line(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    head, _, rest = as_bytes(signer.sign(request)).partition(b"\r\n")
    method, target, version = head.split(b" ")
    lines = [
        b"%b %b HTTP/1.0" % (method, target),
        b"%b %b HTTP/2.0" % (method, target),
        b"%b %b HTTP/9.9" % (method, target),
        b"%b %b" % (method, target),
        b"%b  %b %b" % (method, target, version),
        b"%b https://example.com%b %b" % (method, target, version),
        b"%b //example.com%b %b" % (method, target, version),
        b"%b http://[::1%b %b" % (method, target, version),
        b"%b %b#x %b" % (method, target, version),
        b"%b * %b" % (method, version),
        b"OPTIONS * %b" % version,
        b"CONNECT example.com:443 %b" % version,
        b"%b \xc3\xa4%b %b" % (method, target, version),
        b"%b %b%b %b" % (method, target, b"x" * 40_000, version),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ]
    return draw(st.sampled_from(lines)) + b"\r\n" + rest


def _odd_header(draw: st.DrawFn, request: HttpRequest, signer: Signer) -> bytes:
    odd = [
        ("Expect", "100-continue"),
        ("Expect", "miracle"),
        ("Connection", "Upgrade"),
        ("Connection", "close"),
        ("Upgrade", "websocket"),
        ("Content-Encoding", "gzip"),
        ("Content-Type", "multipart/form-data; boundary="),
        ("Content-Type", "\udcff"),
        ("Transfer-Encoding", "gzip, chunked"),
        ("Transfer-Encoding", "identity"),
        ("Cookie", "a=b; " * 100),
        ("X-Amz-Content-SHA256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("X-Amz-Security-Token", "x"),
        ("X-Amz-Target", "AWSIotService.DescribeThing"),
        ("", "x"),
        ("a b", "x"),
        ("\udcff", "\udcff"),
        (" folded", "x"),
    ]
    chosen = draw(st.lists(st.sampled_from(odd), min_size=1, max_size=3))
    return as_bytes(_with(signer.sign(request), *chosen))


MANGLES: dict[str, Mangle] = {
    "a wrong signature": _wrong_signature,
    "no signature": _not_signed,
    "a signature of another time": _signed_at_another_time,
    "a date that is none": _odd_date,
    "a header twice": _repeated_header,
    "huge headers": _huge_headers,
    "a length that is none": _odd_length,
    "two lengths": _two_lengths,
    "a body in parts": _chunked,
    "a huge body": _too_big,
    "a request that is cut short": _cut_short,
    "accidents": _accidents,
    "an odd request line": _odd_line,
    "an odd header": _odd_header,
}
#: What ends whatever they have left open: too long for a line, and no part of a body in parts.
UNTIL_ANSWERED = b"x" * 40_000 + b"\r\n\r\n"
#: Those that leave nothing open, and that nobody may be let in by.
NEVER_LET_IN = ("a wrong signature", "no signature", "a signature of another time")
