"""Signatures as other people's signers make them, as AWS publishes them, and as nobody should."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sigv4_signers import (
    KEY_ID,
    SECRET,
    SIGNED_AT_S,
    Sign,
    Wanted,
    by_awscrt,
    by_botocore,
    by_hand,
)

from isthmus.core import sigv4
from isthmus.core.sigv4 import Accepted, Request
from isthmus.errors import InputError

ACCEPTED = Accepted(frozenset({"iotdevicegateway", "iotdata", "iot"}), frozenset({"eu", "us"}))


def missing(module: str) -> pytest.MarkDecorator:
    is_missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(is_missing, reason=f"pip install {module}")


every_signer = pytest.mark.parametrize(
    "sign",
    [
        pytest.param(by_awscrt, marks=missing("awscrt")),
        by_botocore,
    ],
)


def read(request: Request, now_s: float = SIGNED_AT_S) -> sigv4.Claim:
    return sigv4.read(request, ACCEPTED, now_s)


def is_right(request: Request, now_s: float = SIGNED_AT_S) -> bool:
    """Whether it is signed with the secret, and with no other one."""
    claim = read(request, now_s)
    assert claim.access_key_id == KEY_ID
    assert not claim.is_made_with(SECRET[:-1])
    return claim.is_made_with(SECRET)


# As AWS publishes them

PUBLISHED = {
    # The example of "Signature Version 4 signing process".
    "ListUsers": (
        "/?Action=ListUsers&Version=2010-05-08",
        {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "Host": "iam.amazonaws.com",
            "X-Amz-Date": "20150830T123600Z",
        },
        "iam",
        "content-type;host;x-amz-date",
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    ),
    # Of the test suite.
    "get-vanilla": (
        "/",
        {"Host": "example.amazonaws.com", "X-Amz-Date": "20150830T123600Z"},
        "service",
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_aws_publishes_is_right(name: str) -> None:
    target, headers, service, signed, signature = PUBLISHED[name]
    authorization = (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request,"
        f" SignedHeaders={signed}, Signature={signature}"
    )
    request = Request("GET", target, (*headers.items(), ("Authorization", authorization)))
    accepted = Accepted(frozenset({service}), frozenset({"us-east-1"}))
    now_s = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
    claim = sigv4.read(request, accepted, now_s)
    assert claim.access_key_id == "AKIDEXAMPLE"
    assert claim.is_made_with("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


# As others sign

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)
NAME = st.text("abcXYZ0-_.~ /:+*'()$&=äß€", min_size=1, max_size=8)
#: Encoded as clients send it, and some characters that need not be.
SEGMENT = st.builds(quote, TEXT, safe=st.sampled_from(("", "$", "@,=!")))
PATH = st.lists(st.one_of(SEGMENT, st.sampled_from(("", ".", "..", "$aws"))), max_size=6)
QUERY = st.lists(st.tuples(NAME, TEXT), max_size=5, unique_by=lambda pair: pair[0])
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(("X-Amz-Mqtt5-Correlation-Data", "content-type", "X-Other", "a")),
        st.text("abc ,;=äß\t", min_size=1, max_size=12).map(str.strip),
    ),
    max_size=4,
    unique_by=lambda pair: pair[0],
)


@st.composite
def requests(draw: st.DrawFn) -> Wanted:
    path = "/" + "/".join(draw(PATH))
    query = "&".join(f"{quote(n, safe='')}={quote(v, safe='')}" for n, v in draw(QUERY))
    in_query = draw(st.booleans())
    return Wanted(
        method=draw(st.sampled_from(("GET", "POST", "DELETE"))),
        target=f"{path}?{query}" if query else path,
        headers=(("host", "eu.iot.example.com:8443"), *draw(HEADERS)),
        body=b"" if in_query else draw(st.binary(max_size=20)),
        service=draw(st.sampled_from(sorted(ACCEPTED.services))),
        region=draw(st.sampled_from(("eu", "us"))),
        in_query=in_query,
        expires_s=draw(st.sampled_from((None, 60))) if in_query else None,
        # In a header of IoT's device gateway nobody but awscrt leaves it out.
        token=draw(st.sampled_from(("", "a/token=="))) if in_query else "",
    )


@every_signer
@given(wanted=requests())
@settings(max_examples=200)
def test_what_others_sign_is_right_and_of_no_other_secret(sign: Sign, wanted: Wanted) -> None:
    if sign is by_botocore:
        # It signs headers as they are given, and the token of every service.
        ascii_only = all(value.isascii() for _, value in wanted.headers)
        if not ascii_only or (wanted.token and wanted.service == sigv4.DEVICE_GATEWAY):
            wanted = replace(wanted, token="", headers=wanted.headers[:1])
    request = sign(wanted)
    assert sigv4.is_signed(request)
    assert read(request).token == wanted.token
    assert is_right(request)


@every_signer
@given(wanted=requests(), data=st.data())
@settings(max_examples=200)
def test_whatever_is_changed_afterwards_makes_it_wrong(
    sign: Sign, wanted: Wanted, data: st.DataObject
) -> None:
    wanted = replace(wanted, token="", headers=wanted.headers[:1])
    request = sign(wanted)
    path, _, query = request.target.partition("?")
    match data.draw(st.sampled_from(("method", "path", "query", "host", "body", "signature"))):
        case "method":
            request = request._replace(method="PUT")
        case "path":
            request = request._replace(target=f"{path.rstrip('/')}/more?{query}")
        case "query":
            request = request._replace(target=f"{path}?{query}{'&' if query else ''}more=1")
        case "host":
            headers = ((n, "x" if n == "host" else v) for n, v in request.headers)
            request = request._replace(headers=tuple(headers))
        case "body":
            request = request._replace(body_sha256="0" * 64)
        case _:
            place = data.draw(st.integers(0, 63))
            request = _another_digit(request, place)
    try:
        assert not read(request).is_made_with(SECRET)
    except InputError:
        # botocore says in a header what the hash of the body is.
        assert "x-amz-content-sha256" in [name.lower() for name, _ in request.headers]


def _another_digit(request: Request, place: int) -> Request:
    def changed(text: str) -> str:
        def flip(found: re.Match[str]) -> str:
            digits = found[2]
            other = "0" if digits[place] != "0" else "1"
            return found[1] + digits[:place] + other + digits[place + 1 :]

        return re.sub(r"(Signature=)([0-9a-f]{64})", flip, text)

    headers = tuple((name, changed(value)) for name, value in request.headers)
    return request._replace(target=changed(request.target), headers=headers)


@missing("awscrt")
def test_headers_are_folded() -> None:
    spaced = (("host", "h"), ("X-Multi", "  one,   two "), ("x-multi", "three"))
    request = by_awscrt(Wanted(in_query=False, headers=spaced))
    assert is_right(request)
    folded = [(n, v) for n, v in request.headers if n.lower() != "x-multi"]
    assert is_right(request._replace(headers=(*folded, ("X-MULTI", "one, two,three"))))


# By hand


def presigned(**wanted: object) -> Request:
    return by_hand(replace(Wanted(), **wanted))  # type: ignore[arg-type]


def test_an_address_that_is_signed_by_hand_is_right() -> None:
    assert is_right(presigned())
    assert is_right(presigned(expires_s=60, token="to/ken"))


def test_only_for_the_device_gateway_the_token_is_left_out() -> None:
    assert is_right(presigned(token="to/ken"))
    assert not is_right(presigned(token="to/ken", service="iotdata"))


@pytest.mark.parametrize(
    ("expires_s", "after_s", "is_in_time"),
    [
        (None, -300, True),
        (None, -301, False),
        (None, 300, True),
        (None, 301, False),
        (60, -300, True),
        (60, -301, False),
        (60, 60, True),
        (60, 61, False),
        (604_800, 604_800, True),
        (604_801, 0, False),
        (0, 0, False),
    ],
)
def test_a_signature_has_its_time(expires_s: int | None, after_s: int, is_in_time: bool) -> None:
    request = presigned(expires_s=expires_s)
    if is_in_time:
        assert is_right(request, SIGNED_AT_S + after_s)
    else:
        with pytest.raises(InputError):
            read(request, SIGNED_AT_S + after_s)


def edited(old: str, new: str, request: Request | None = None) -> Request:
    request = request or presigned(expires_s=60)
    assert old in request.target
    return request._replace(target=request.target.replace(old, new))


SIGNED_HEADER = (
    f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20260301/eu/iotdata/aws4_request,"
    f"SignedHeaders=host;x-amz-date,Signature={'0' * 64}"
)


def by_header(
    authorization: str = SIGNED_HEADER, *more: tuple[str, str], date: str = ""
) -> Request:
    named = ("x-amz-date", date or "20260301T123045Z")
    return Request("GET", "/", (("Host", "h"), named, ("Authorization", authorization), *more))


REFUSED: dict[str, tuple[str, Request]] = {
    "no signature at all": ("X-Amz-Algorithm is missing", Request("GET", "/mqtt", ())),
    "another algorithm": ("the algorithm is 'AWS4-HMAC-SHA1'", edited("SHA256", "SHA1")),
    "no date": ("X-Amz-Date is missing", edited("X-Amz-Date", "X-Amz-Day")),
    "a name in lower case": ("X-Amz-Date is missing", edited("X-Amz-Date", "x-amz-date")),
    "two dates": ("'X-Amz-Date' is there twice", edited("&X-Amz-D", "&X-Amz-Date=1&X-Amz-D")),
    "no such date": (
        "the date is",
        edited("=20260301T", "=20261301T", edited("%2F202603", "%2F202613")),
    ),
    "Arabic digits": ("the date is", edited("=20260301T123045", "=20260301T12304%D9%A5")),
    "a day that is not the date's": ("another day", edited("%2F20260301", "%2F20260302")),
    "another region": ("the region 'ap'", edited("%2Feu%2F", "%2Fap%2F")),
    "another service": ("the service 's3'", edited("iotdevicegateway", "s3")),
    "another terminator": ("the credential is", edited("aws4_request", "aws5_request")),
    "a credential with too much": ("the credential is", edited("%2Feu", "%2Feu%2Feu")),
    "a key in lower case": ("the credential is", edited("AKIA", "akia")),
    "a signature in capitals": ("64 hex digits", edited("Signature=", "Signature=A")),
    "host is not signed": ("not signed: 'host'", edited("Headers=host", "Headers=accept")),
    "a signed header that is not there": (
        "not there: 'x'",
        edited("Headers=host", "Headers=host;x"),
    ),
    "signed headers in disorder": (
        "the signed headers are",
        edited("Headers=host", "Headers=x;host"),
    ),
    "a signed header twice": (
        "the signed headers are",
        edited("Headers=host", "Headers=host;host"),
    ),
    "a header of Amazon's that is not signed": (
        "not signed: 'x-amz-meta'",
        presigned()._replace(headers=(("host", "h"), ("X-Amz-Meta", "x"))),
    ),
    "a word for the time": ("X-Amz-Expires is 'soon'", edited("Expires=60", "Expires=soon")),
    "a broken escape": ("not encoded", edited("%2F2026", "%2G2026")),
    "another alphabet": ("not encoded", edited("/mqtt", "/mqtt\u00e4")),
    "another body": (
        "not that of the body",
        by_header(SIGNED_HEADER, ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")),
    ),
    "both forms": ("in both forms", by_header()._replace(target=presigned().target)),
    "two headers": ("several Authorization", by_header(SIGNED_HEADER, ("authorization", "x"))),
    "Basic": ("the algorithm is 'Basic'", by_header("Basic eDp5")),
    "an empty one": ("the algorithm is ''", by_header("")),
    "less in the header": ("Authorization has", by_header(SIGNED_HEADER.partition(",Sig")[0])),
    "more in the header": ("Authorization has", by_header(SIGNED_HEADER + ",More=1")),
    "a part twice": (
        "Authorization has",
        by_header(SIGNED_HEADER.replace("Signature", "Credential")),
    ),
    "an old date in a header": ("ago", by_header(date="20260301T115959Z")),
    "many parameters": ("too many", Request("GET", "/?" + "a&" * 300, ())),
    "many headers": ("too many", Request("GET", "/", (("a", "b"),) * 300)),
    "long headers": ("too long", Request("GET", "/", (("a", "b" * 70_000),))),
    "a long target": ("20001 characters", Request("GET", "/" + "x" * 20_000, ())),
    "half a character": (
        "not text",
        by_header(SIGNED_HEADER.replace("date,", "date;z,"), ("z", "\ud800")),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_whatever_is_wrong_is_named(name: str) -> None:
    reason, request = REFUSED[name]
    with pytest.raises(InputError, match=re.escape(reason)) as refused:
        read(request)
    assert str(refused.value).isascii()
    assert len(str(refused.value)) < 200


def test_who_does_not_claim_to_have_signed_has_not() -> None:
    plain = Request("GET", "/mqtt?x-amz-customauthorizer-name=a&x=X-Amz-", (("host", "h"),))
    assert not sigv4.is_signed(plain)
    assert sigv4.is_signed(by_header("Basic eDp5"))
    assert sigv4.is_signed(plain._replace(target="/mqtt?%58-Amz-Signature=0"))


# Garbage

ANY = st.text(st.characters(), max_size=40)
LIKELY = st.sampled_from(
    [
        *("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Signature=" + "0" * 64, "X-Amz-Expires=9"),
        *(f"X-Amz-Credential={KEY_ID}/20260301/eu/iotdata/aws4_request", "X-Amz-Expires=\u0669"),
        *("X-Amz-Date=20260301T123045Z", "X-Amz-SignedHeaders=host", "%zz", "=", "&", "a"),
    ]
)
NAMES = st.sampled_from(("host", "Authorization", "x-amz-date", "X-Amz-Security-Token"))


@given(
    target=st.lists(st.one_of(ANY, LIKELY), max_size=9).map(lambda each: "/?" + "&".join(each)),
    headers=st.lists(
        st.tuples(st.one_of(NAMES, ANY), st.one_of(ANY, st.just(SIGNED_HEADER), LIKELY)), max_size=5
    ),
    now_s=st.floats(-1e12, 1e12),
)
def test_garbage_is_refused_or_read_and_is_never_right(
    target: str, headers: list[tuple[str, str]], now_s: float
) -> None:
    request = Request("GET", target, tuple(headers))
    sigv4.is_signed(request)
    try:
        claim = read(request, now_s)
    except InputError:
        return
    assert not claim.is_made_with(SECRET)


@pytest.mark.parametrize("target", ["/?\ud800=1", "/?\udcff&X-Amz-Date=x", "/?é"])
def test_a_target_that_is_no_text_claims_nothing_and_is_refused(target):
    request = Request("GET", target, ())
    assert sigv4.is_signed(request) == ("X-Amz-" in target)
    with pytest.raises(InputError):
        sigv4.read(request, ACCEPTED, 0.0)
