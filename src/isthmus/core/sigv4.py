"""AWS Signature Version 4: which access key says that it has signed a request, and whether it has.

Both forms are read: the header ``Authorization``, and the query of a presigned address. ``read``
checks everything that needs no secret and raises InputError with the reason, which is for the log;
the client is better told one thing for all of them, but for a wrong clock, which is its own. What
remains is ``Claim.is_made_with``.

The canonical request is AWS's own: paths are normalised and encoded once more than they were sent,
queries sorted, headers folded. IoT is different in one place: of a presigned address of the device
gateway the session's token is no part, as clients add it after they have signed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from isthmus.errors import InputError

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
#: What signs MQTT over WebSocket, and may sign the rest of the data plane.
DEVICE_GATEWAY = "iotdevicegateway"
#: How far a client's clock may be off, either way; also how long a signature that does not say is
#: good for, so that a copy of it soon is not.
SKEW_MAX_S = 300
#: AWS's limit for addresses that are signed for later.
EXPIRES_MAX_S = 7 * 24 * 3600
#: Several times what any client sends; what is read costs time in proportion.
TARGET_CHARACTERS_MAX = 16 * 1024
HEADERS_CHARACTERS_MAX = 64 * 1024
PARAMETERS_MAX = 256
HEADERS_MAX = 256
SHOWN_MAX = 80
EMPTY_SHA256 = hashlib.sha256().hexdigest()

_AUTHORIZATION, _CONTENT, _DATE = "authorization", "x-amz-content-sha256", "x-amz-date"
_TOKEN = "X-Amz-Security-Token"  # noqa: S105 - its name
_QUERY_PREFIX = "X-Amz-"
_SIGNATURE = re.compile("[0-9a-f]{64}")
_ACCESS_KEY_ID = re.compile("[A-Z0-9]{1,128}")
_BROKEN_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_TIMESTAMP = re.compile("[0-9]{8}T[0-9]{6}Z")
_SIGNED_HEADER = re.compile("[a-z0-9!#$%&'*+.^_`|~-]+")
_UNRESERVED = "-_.~"


class WrongTime(InputError):
    """A signature is not good at this time."""


class Request(NamedTuple):
    """What was sent."""

    method: str
    #: Path and query, as they stand in the request line.
    target: str
    headers: tuple[tuple[str, str], ...]
    body_sha256: str = EMPTY_SHA256


class Accepted(NamedTuple):
    """What a signature may be for."""

    services: frozenset[str]
    #: Every name of every region: a client that was led elsewhere signs as before.
    regions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Claim:
    """A signature that is right in every respect but who has made it."""

    access_key_id: str
    #: Of a temporary session; empty for a key that lasts.
    token: str
    _scope: tuple[str, ...]
    _text: bytes
    _signature: str

    @property
    def service(self) -> str:
        """The service that it is for."""
        return self._scope[2]

    def is_made_with(self, secret: str) -> bool:
        """Whether it was made with the secret of that access key; says nothing by its time."""
        key = f"AWS4{secret}".encode()
        for part in self._scope:
            key = hmac.digest(key, part.encode(), "sha256")
        made = hmac.digest(key, self._text, "sha256").hex()
        return hmac.compare_digest(made, self._signature)


class _Stated(NamedTuple):
    """What a request says of its own signature, in either form."""

    credential: str
    date: str
    expires: str | None
    signed_headers: str
    signature: str
    token: str


def is_signed(request: Request) -> bool:
    """Whether a request claims to be signed, rightly or not."""
    if any(name.lower() == _AUTHORIZATION for name, _ in request.headers):
        return True
    query = request.target.partition("?")[2]
    return any(name.startswith(_QUERY_PREFIX) for name, _ in _parameters(query))


def read(request: Request, accepted: Accepted, now_s: float) -> Claim:
    """Check all but the secret; raises InputError with the reason."""
    _check_size(request)
    path, _, query = request.target.partition("?")
    parameters, headers = _parameters(query), _folded(request.headers)
    if _AUTHORIZATION in headers:
        stated = _from_header(headers, parameters)
    else:
        stated = _from_query(parameters)
    if not _SIGNATURE.fullmatch(stated.signature):
        raise InputError("the signature is not 64 hex digits in lower case")
    key_id, scope = _scope(stated, accepted)
    _check_time(stated, now_s)
    if headers.get(_CONTENT, request.body_sha256) != request.body_sha256:
        raise InputError(f"{_CONTENT} is not that of the body")
    is_in_query = _AUTHORIZATION not in headers
    left_out = {"X-Amz-Signature"} if is_in_query else set()
    if is_in_query and scope[2] == DEVICE_GATEWAY:
        left_out.add(_TOKEN)
    canonical = "\n".join(
        (
            request.method,
            quote(_normalised(path), safe=f"/{_UNRESERVED}"),
            _canonical_query([each for each in parameters if each[0] not in left_out]),
            *_canonical_headers(headers, stated.signed_headers),
            request.body_sha256,
        )
    )
    try:
        digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    except UnicodeEncodeError:
        raise InputError("a signed header is not text") from None
    text = "\n".join((ALGORITHM, stated.date, "/".join(scope), digest)).encode()
    return Claim(key_id, stated.token, scope, text, stated.signature)


def _check_size(request: Request) -> None:
    if len(request.target) > TARGET_CHARACTERS_MAX:
        raise InputError(f"the target has {len(request.target)} characters")
    if not request.target.isascii() or _BROKEN_ESCAPE.search(request.target):
        raise InputError("the target is not encoded")
    if request.target.count("&") >= PARAMETERS_MAX or len(request.headers) > HEADERS_MAX:
        raise InputError("too many parameters or headers")
    if sum(len(name) + len(value) for name, value in request.headers) > HEADERS_CHARACTERS_MAX:
        raise InputError("the headers are too long")


# What the request says


def _from_header(headers: Mapping[str, str], parameters: list[tuple[str, str]]) -> _Stated:
    if any(name == "X-Amz-Signature" for name, _ in parameters):
        raise InputError("it is signed in both forms")
    algorithm, _, rest = headers[_AUTHORIZATION].partition(" ")
    _check_algorithm(algorithm)
    found: dict[str, str] = {}
    for part in rest.split(",", 3):
        name, equals, value = part.strip().partition("=")
        if not equals or name in found:
            raise InputError(f"Authorization has {_show(part)}")
        found[name] = value
    if found.keys() != {"Credential", "SignedHeaders", "Signature"}:
        raise InputError(f"Authorization has {_show(', '.join(found))}")
    if _DATE not in headers:
        raise InputError(f"{_DATE} is missing")
    return _Stated(
        found["Credential"],
        headers[_DATE],
        None,
        found["SignedHeaders"],
        found["Signature"],
        headers.get(_TOKEN.lower(), ""),
    )


def _from_query(parameters: list[tuple[str, str]]) -> _Stated:
    found: dict[str, str] = {}
    for name, value in parameters:
        if name.startswith(_QUERY_PREFIX):
            if name in found:
                raise InputError(f"{_show(name)} is there twice")
            found[name] = value

    def needed(name: str) -> str:
        value = found.get(f"{_QUERY_PREFIX}{name}")
        if value is None:
            raise InputError(f"{_QUERY_PREFIX}{name} is missing")
        return value

    _check_algorithm(needed("Algorithm"))
    return _Stated(
        needed("Credential"),
        needed("Date"),
        found.get("X-Amz-Expires"),
        needed("SignedHeaders"),
        needed("Signature"),
        found.get(_TOKEN, ""),
    )


def _check_algorithm(algorithm: str) -> None:
    if algorithm != ALGORITHM:
        raise InputError(f"the algorithm is {_show(algorithm)}")


def _scope(stated: _Stated, accepted: Accepted) -> tuple[str, tuple[str, ...]]:
    """The access key's id, and the scope: date, region, service and terminator."""
    key_id, *scope = stated.credential.split("/")
    if not _ACCESS_KEY_ID.fullmatch(key_id) or len(scope) != 4 or scope[3] != TERMINATOR:
        raise InputError(f"the credential is {_show(stated.credential)}")
    date, region, service, _ = scope
    if date != stated.date[:8]:
        raise InputError(f"the credential is of {_show(date)}, the request of another day")
    if region not in accepted.regions:
        raise InputError(f"it is signed for the region {_show(region)}")
    if service not in accepted.services:
        raise InputError(f"it is signed for the service {_show(service)}")
    return key_id, tuple(scope)


def _check_time(stated: _Stated, now_s: float) -> None:
    try:
        if not _TIMESTAMP.fullmatch(stated.date):
            raise ValueError
        # The pattern leaves no other form; strptime takes ten times as long.
        signed = datetime.fromisoformat(stated.date)
    except ValueError:
        raise InputError(f"the date is {_show(stated.date)}") from None
    age_s = now_s - signed.timestamp()
    good_for_s = SKEW_MAX_S if stated.expires is None else _expires_s(stated.expires)
    if age_s < -SKEW_MAX_S:
        raise WrongTime(f"it is signed {-age_s:.0f} s from now")
    if age_s > good_for_s:
        raise WrongTime(f"it was signed {age_s:.0f} s ago, and is good for {good_for_s} s")


def _expires_s(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(EXPIRES_MAX_S))):
        raise InputError(f"X-Amz-Expires is {_show(text)}")
    expires_s = int(text)
    if not 1 <= expires_s <= EXPIRES_MAX_S:
        raise InputError(f"X-Amz-Expires is {expires_s}")
    return expires_s


# The canonical request


def _parameters(query: str) -> list[tuple[str, str]]:
    """Names and values of a query, decoded: every byte of them is a character here."""
    pairs = (each.partition("=") for each in query.split("&") if each)
    return [(_decoded(name), _decoded(value)) for name, _, value in pairs]


def _decoded(text: str) -> str:
    # What is no text has to be told apart too, before it is refused.
    return unquote_to_bytes(text.encode("utf-8", "surrogatepass")).decode("latin-1")


def _encoded(text: str) -> str:
    return quote(text.encode("latin-1"), safe=_UNRESERVED)


def _canonical_query(parameters: list[tuple[str, str]]) -> str:
    pairs = sorted((_encoded(name), _encoded(value)) for name, value in parameters)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _normalised(path: str) -> str:
    """A path without ``.``, ``..`` and empty segments."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment and segment != ".":
            kept.append(segment)
    return f"/{'/'.join(kept)}{'/' if kept and path.endswith('/') else ''}"


def _folded(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Each header once: in lower case, without needless space, its values in their order."""
    values: dict[str, list[str]] = defaultdict(list)
    for name, value in headers:
        values[name.lower()].append(" ".join(value.split()))
    if len(values.get(_AUTHORIZATION, ())) > 1:
        raise InputError("it has several Authorization headers")
    return {name: ",".join(each) for name, each in values.items()}


def _canonical_headers(headers: Mapping[str, str], signed: str) -> tuple[str, str, str]:
    """The lines of signed headers, an empty one, and their names."""
    names = signed.split(";")
    if names != sorted(set(names)) or not all(map(_SIGNED_HEADER.fullmatch, names)):
        raise InputError(f"the signed headers are {_show(signed)}")
    wanted = {"host", *(name for name in headers if name.startswith("x-amz-"))}
    if unsigned := wanted - set(names):
        raise InputError(f"not signed: {_show(', '.join(sorted(unsigned)))}")
    if absent := set(names) - headers.keys():
        raise InputError(f"signed, but not there: {_show(', '.join(sorted(absent)))}")
    return "\n".join(f"{name}:{headers[name]}" for name in names), "", signed


def _show(text: str) -> str:
    return ascii(text[:SHOWN_MAX])
