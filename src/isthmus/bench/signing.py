"""Signs requests of the AWS-compatible API; the key of a day is derived once."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

from isthmus.bench.plan import AccessKey
from isthmus.core.sigv4 import ALGORITHM, TERMINATOR

SERVICE = "iot"
SIGNED_HEADERS = "host;x-amz-date"


class Signer:
    """Makes whole requests of one access key at one host, by Signature Version 4."""

    def __init__(self, key: AccessKey, host: str) -> None:
        self._key = key
        self._host = host
        self._day, self._day_key = "", b""

    def request(
        self, now_s: float, method: str, path: str, query: str = "", body: bytes = b""
    ) -> bytes:
        """What is sent. Path and query are encoded already, and the query is sorted."""
        date = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{date[:8]}/{self._key.region}/{SERVICE}/{TERMINATOR}"
        canonical = (
            f"{method}\n{path}\n{query}\nhost:{self._host}\nx-amz-date:{date}\n\n"
            f"{SIGNED_HEADERS}\n{hashlib.sha256(body).hexdigest()}"
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"{ALGORITHM}\n{date}\n{scope}\n{digest}"
        signature = hmac.digest(self._key_of(date[:8]), text.encode(), "sha256").hex()
        target = f"{path}?{query}" if query else path
        content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: {self._host}\r\nX-Amz-Date: {date}\r\n"
            f"Authorization: {ALGORITHM} Credential={self._key.key_id}/{scope},"
            f" SignedHeaders={SIGNED_HEADERS}, Signature={signature}\r\n"
            f"{content if body else ''}\r\n"
        )
        return head.encode() + body

    def _key_of(self, day: str) -> bytes:
        if day != self._day:
            key = f"AWS4{self._key.secret}".encode()
            for part in (day, self._key.region, SERVICE, TERMINATOR):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._day_key = day, key
        return self._day_key
