"""What an operator does with a local system: over HTTPS, with the operator's certificate."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from isthmus.errors import InputError, Unavailable
from isthmus.local.system import LocalSystem

TIMEOUT_S = 15.0


class Operator:
    """A client of the regions' internal APIs and of the directors."""

    def __init__(self, system: LocalSystem) -> None:
        self._system = system
        self._session: aiohttp.ClientSession | None = None
        # The APIs' certificates come from the public side of the PKI, the directors' from the
        # internal one; operators trust both.
        self._tls = ssl.create_default_context(cafile=str(system.pki.ca_file))
        self._tls.load_verify_locations(str(system.pki.internal_ca_file))
        self._tls.load_cert_chain(str(system.operator.chain), str(system.operator.key))

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, connect=2.0)
        self._session = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def _call(self, method: str, url: str, body: object = None) -> Any:
        assert self._session is not None
        data = msgspec.json.encode(body) if body is not None else None
        try:
            async with self._session.request(method, url, data=data, ssl=self._tls) as answer:
                raw = await answer.read()
                if answer.status == 200:
                    return msgspec.json.decode(raw)
                kind = InputError if answer.status < 500 else Unavailable
                raise kind(f"{url} answered {answer.status}: {raw.decode(errors='replace')[:500]}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{url} does not answer: {error!r}") from error

    def _api(self, region: str, path: str) -> str:
        return self._system.address(region).url("api", "https") + path

    def _director(self, site: str, path: str) -> str:
        return self._system.address(site).url("mesh", "https") + path

    async def register(
        self, region: str, devices: list[dict[str, Any]], policies: list[dict[str, str]]
    ) -> dict[str, Any]:
        """Register things, certificates and policies; answers when two regions have them."""
        body = {"devices": devices, "policies": policies}
        answer: dict[str, Any] = await self._call("POST", self._api(region, "/v1/devices"), body)
        return answer

    async def revoke(self, region: str, certificate_id: str) -> dict[str, Any]:
        """Revoke a certificate for good."""
        url = self._api(region, f"/v1/certificates/{certificate_id}/revoke")
        answer: dict[str, Any] = await self._call("POST", url)
        return answer

    async def status(self, region: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self._call("GET", self._api(region, "/v1/status"))
        return answer

    async def digests(self, region: str) -> dict[str, str]:
        """A hash of every item as the region's services hold it."""
        answer: dict[str, Any] = await self._call("GET", self._api(region, "/v1/digests"))
        items: dict[str, str] = answer["items"]
        return items

    async def routing(self, site: str) -> dict[str, Any]:
        """What a director knows and serves."""
        answer: dict[str, Any] = await self._call("GET", self._director(site, "/status"))
        return answer

    async def send_intent(self, site: str, intent: dict[str, Any]) -> dict[str, Any]:
        """Hand an intent to a director; it answers whether it obeyed, and why."""
        answer: dict[str, Any] = await self._call("POST", self._director(site, "/intents"), intent)
        return answer
