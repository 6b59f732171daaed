"""Other people's signers of AWS requests, and one by hand, which shares nothing with ours."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from unittest import mock
from urllib.parse import quote, urlsplit

from isthmus.core.sigv4 import Request

#: AWS's own examples use these.
KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SIGNED_AT = datetime(2026, 3, 1, 12, 30, 45, tzinfo=UTC)
SIGNED_AT_S = SIGNED_AT.timestamp()


@dataclass(frozen=True)
class Wanted:
    """A request before it is signed."""

    method: str = "GET"
    target: str = "/mqtt"
    headers: tuple[tuple[str, str], ...] = (("host", "eu.iot.example.com"),)
    body: bytes = b""
    service: str = "iotdevicegateway"
    region: str = "eu"
    in_query: bool = True
    expires_s: int | None = None
    token: str = ""

    def sent(self, target: str, headers: tuple[tuple[str, str], ...]) -> Request:
        return Request(self.method, target, headers, hashlib.sha256(self.body).hexdigest())


Sign = Callable[[Wanted], Request]


def by_awscrt(wanted: Wanted) -> Request:
    """As the AWS IoT Device SDK v2 does."""
    from awscrt import auth, http, io

    body = io.InputStream(BytesIO(wanted.body)) if wanted.body else None
    headers = http.HttpHeaders(list(wanted.headers))
    request = http.HttpRequest(wanted.method, wanted.target, headers, body)
    kinds = auth.AwsSignatureType
    kind = kinds.HTTP_REQUEST_QUERY_PARAMS if wanted.in_query else kinds.HTTP_REQUEST_HEADERS
    config = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=kind,
        credentials_provider=auth.AwsCredentialsProvider.new_static(
            KEY_ID, SECRET, wanted.token or None
        ),
        region=wanted.region,
        service=wanted.service,
        date=SIGNED_AT,
        expiration_in_seconds=wanted.expires_s,
        # As the SDK signs for the device gateway.
        omit_session_token=wanted.service == "iotdevicegateway",
    )
    signed = auth.aws_sign_request(request, config).result(10)
    return wanted.sent(signed.path, tuple(signed.headers))


def by_botocore(wanted: Wanted) -> Request:
    """As boto3 and the AWS CLI do."""
    from botocore import auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    credentials = Credentials(KEY_ID, SECRET, wanted.token or None)
    host = dict(wanted.headers)["host"]
    request = AWSRequest(
        wanted.method,
        f"https://{host}{wanted.target}",
        {name: value for name, value in wanted.headers if name != "host"},
        wanted.body,
    )
    signer = (
        auth.SigV4QueryAuth(credentials, wanted.service, wanted.region, wanted.expires_s or 3600)
        if wanted.in_query
        else auth.SigV4Auth(credentials, wanted.service, wanted.region)
    )
    at = SIGNED_AT.replace(tzinfo=None)
    with mock.patch.object(auth, "get_current_datetime", return_value=at):
        signer.add_auth(request)
    url = urlsplit(request.url)
    target = f"{url.path}?{url.query}" if url.query else url.path
    return wanted.sent(target, (("host", host), *request.headers.items()))


def by_hand(
    wanted: Wanted, secret: str = SECRET, at: datetime = SIGNED_AT, key_id: str = KEY_ID
) -> Request:
    """A presigned address as browsers make it, of a path and host that need no encoding."""
    assert wanted.in_query
    date = at.strftime("%Y%m%dT%H%M%SZ")
    scope = [date[:8], wanted.region, wanted.service, "aws4_request"]
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": quote("/".join([key_id, *scope]), safe=""),
        "X-Amz-Date": date,
        "X-Amz-SignedHeaders": "host",
    }
    if wanted.expires_s is not None:
        query["X-Amz-Expires"] = str(wanted.expires_s)
    line = "&".join(f"{name}={query[name]}" for name in sorted(query))
    host = dict(wanted.headers)["host"]
    body = hashlib.sha256(wanted.body).hexdigest()
    canonical = f"{wanted.method}\n{wanted.target}\n{line}\nhost:{host}\n\nhost\n{body}"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.new(key, part.encode(), "sha256").digest()
    text = f"AWS4-HMAC-SHA256\n{date}\n{'/'.join(scope)}\n{hashed}"
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    line += f"&X-Amz-Signature={signature}"
    if wanted.token:
        line += f"&X-Amz-Security-Token={quote(wanted.token, safe='')}"
    return wanted.sent(f"{wanted.target}?{line}", wanted.headers)
