"""What an operator does with a local system: over HTTPS, with the operator's certificate."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from isthmus.adapters.pki import Identity, Pki
from isthmus.config import RegionConfig, load
from isthmus.errors import InputError, Unavailable
from isthmus.local.addresses import SiteAddress

TIMEOUT_S = 15.0


class Reached(Protocol):
    """A system that somebody runs: its certificates, and where its services listen."""

    @property
    def pki(self) -> Pki: ...
    @property
    def operator(self) -> Identity: ...
    def address(self, site: str, /) -> SiteAddress: ...


class KeptSystem:
    """What another process runs in a directory, by the settings that it has written there."""

    def __init__(self, state: Path) -> None:
        files = sorted((state / "regions").glob("*/region.toml"))
        if not files:
            hint = "the directory that `isthmus up --state` was given"
            raise InputError(f"{state}: no system is kept here", hint=hint)
        configs = [load(file, RegionConfig) for file in files]
        self._api = {config.region: config.api for config in configs}
        self.pki = Pki(state.absolute() / "pki")
        self.operator = self.pki.operator("operator")

    @property
    def regions(self) -> tuple[str, ...]:
        return tuple(self._api)

    def address(self, site: str) -> SiteAddress:
        api = self._api.get(site)
        if api is None:
            raise InputError(f"region is {site!r}", hint=" or ".join(self._api))
        return SiteAddress(api.host, {"api": api.port})


class Operator:
    """A client of the regions' internal APIs and of the directors."""

    def __init__(self, system: Reached) -> None:
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
        except aiohttp.ClientConnectorError as error:
            hint = "is isthmus up running there?"
            raise Unavailable(f"{url} does not answer: {error.strerror}", hint=hint) from error
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

    async def create_access_key(self, region: str, role: str) -> dict[str, Any]:
        """Make an access key; its secret is in this answer and in no other."""
        url = self._api(region, "/v1/access-keys")
        answer: dict[str, Any] = await self._call("POST", url, {"role": role})
        return answer

    async def access_keys(self, region: str) -> list[dict[str, Any]]:
        """The access keys that were not deleted, without their secrets."""
        answer = await self._call("GET", self._api(region, "/v1/access-keys"))
        keys: list[dict[str, Any]] = answer["access_keys"]
        return keys

    async def change_access_key(self, region: str, key_id: str, what: str) -> dict[str, Any]:
        """``activate`` or ``deactivate`` an access key, or ``delete`` it for good."""
        url = self._api(region, f"/v1/access-keys/{quote(key_id, safe='')}")
        answer: dict[str, Any] = await (
            self._call("DELETE", url) if what == "delete" else self._call("POST", f"{url}/{what}")
        )
        return answer

    async def suspend(
        self,
        region: str,
        things: Sequence[str] = (),
        groups: Sequence[str] = (),
        reason: str = "",
        *,
        wait_for_all: bool = False,
    ) -> dict[str, Any]:
        """Let no device of these in anywhere, and close those that are connected."""
        body = {"things": things, "groups": groups, "wait_for_all": wait_for_all, "reason": reason}
        url = self._api(region, "/v1/suspensions")
        answer: dict[str, Any] = await self._call("POST", url, body)
        return answer

    async def resume(
        self,
        region: str,
        things: Sequence[str] = (),
        groups: Sequence[str] = (),
        *,
        wait_for_all: bool = False,
    ) -> dict[str, Any]:
        """End the suspensions of these that are known."""
        body = {"things": things, "groups": groups, "wait_for_all": wait_for_all}
        answer: dict[str, Any] = await self._call(
            "POST", self._api(region, "/v1/resumptions"), body
        )
        return answer

    async def suspensions(self, region: str) -> list[dict[str, Any]]:
        """All that hold."""
        found: list[dict[str, Any]] = []
        url = behind = self._api(region, "/v1/suspensions")
        while True:
            answer = await self._call("GET", behind)
            found += answer["suspensions"]
            if answer["next"] is None:
                return found
            behind = f"{url}?after={quote(answer['next'], safe='')}"

    async def expect_devices(
        self, region: str, devices: list[dict[str, str]], *, is_removal: bool = False
    ) -> dict[str, Any]:
        """Have devices activated when they come, or no longer."""
        url = self._api(region, "/v1/expected-devices" + ("/removal" if is_removal else ""))
        answer: dict[str, Any] = await self._call("POST", url, {"devices": devices})
        return answer

    async def expected_devices(self, region: str) -> list[dict[str, Any]]:
        """The devices that are expected."""
        found: list[dict[str, Any]] = []
        url = behind = self._api(region, "/v1/expected-devices")
        while True:
            page = await self._call("GET", behind)
            found += page["devices"]
            if page["next"] is None:
                return found
            behind = f"{url}?after={quote(page['next'], safe='')}"

    async def conflicts(
        self, region: str, kind: str = "", key: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        """The conflicts that a region lists, the newest first: all, or of a kind or key only."""
        asked = {name: text for name, text in (("kind", kind), ("key", key)) if text}
        while True:
            page = await self._call("GET", self._api(region, f"/v1/conflicts?{urlencode(asked)}"))
            for each in page["conflicts"]:
                yield each
            if page["next"] is None:
                return
            asked["after"] = page["next"]

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
