"""Devices that speak HTTPS with their certificates, by aiohttp."""

from __future__ import annotations

import json
import ssl
from typing import Any, NamedTuple

import aiohttp
from regions import HOME, Regions, until
from yarl import URL

from isthmus.adapters.pki import Identity
from isthmus.config import Listen


class Answer(NamedTuple):
    """What a device is answered."""

    status: int
    error: str
    body: Any
    headers: Any


class HttpsDevice:
    """A device and its connections, which are kept."""

    def __init__(
        self,
        regions: Regions,
        who: Identity | str | None,
        region: str = HOME,
        *,
        listen: Listen | None = None,
    ) -> None:
        address = regions.system.address(region)
        self.listen = listen or Listen(host=address.host, port=address.ports["https"])
        identity = regions.identity(who) if isinstance(who, str) else who
        self._tls = regions.tls(identity)

    async def __aenter__(self) -> HttpsDevice:
        # One connection, so that a second request shows whether it was kept.
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=1)
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def speak(self, *alpn: str) -> None:
        """Ask for a protocol."""
        self._tls.set_alpn_protocols(list(alpn))

    @property
    def tls(self) -> ssl.SSLContext:
        return self._tls

    async def ask(self, method: str, target: str, **options: Any) -> Answer:
        url = URL(f"https://{self.listen}{target}", encoded=True)
        async with self._session.request(method, url, **options) as answer:
            raw = await answer.read()
            is_json = raw and answer.content_type == "application/json"
            body = json.loads(raw) if is_json else raw
            error = answer.headers.get("x-amzn-ErrorType", "")
            return Answer(answer.status, error, body, answer.headers)

    async def post(self, target: str, body: Any = b"", **options: Any) -> Answer:
        return await self.ask("POST", target, data=body, **options)

    async def publish(self, target: str, body: bytes = b"", **options: Any) -> Answer:
        """Post until it is taken in: a busy machine has gateways catch up, who say so."""
        answers: list[Answer] = []

        async def taken() -> bool:
            answers.append(await self.post(target, body, **options))
            return answers[-1].status != 503

        await until("it is taken in", taken)
        assert answers[-1].status == 200, answers[-1]
        return answers[-1]

    async def until_served(self, target: str) -> None:
        """Read until it is answered by what is there, or not: a region hears of a device late."""

        async def served() -> bool:
            return (await self.ask("GET", target)).status in (200, 404)

        await until("it is served", served)
