"""The HTTPS listener of a site: the mesh for sites, intents for operators, status for both.

Nobody gets in without a certificate of the mesh's CA; what it may do is decided by the one
organizational unit in its subject, and a site speaks only for the name in its certificate.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from isthmus.adapters.tls import Identity, identity_of
from isthmus.config import SiteConfig
from isthmus.core.health import Verdict, Vote
from isthmus.core.routing import Intent, Route
from isthmus.core.undecodable import UNDECODABLE
from isthmus.director.director import Director
from isthmus.director.mesh import STATE_BYTES_MAX, Mesh
from isthmus.errors import InputError

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JSON = "application/json"
UNIT_OF_SITES = "site"
UNIT_OF_OPERATORS = "operator"
#: An intent is a few hundred bytes; the mesh has the largest bodies.
BODY_BYTES_MAX = STATE_BYTES_MAX
#: A stop does not wait for peers that keep their connections open.
SHUTDOWN_S = 0.2


class ServedStatus(msgspec.Struct, frozen=True):
    """What this site's nameserver answers; ``answering`` is false while it may be behind."""

    answering: bool
    target: str = ""
    override: bool = False
    reason: str = ""


class SiteStatus(msgspec.Struct, frozen=True):
    """One site as this one sees it; ``age_s`` is absent if it was never heard."""

    heard: bool
    age_s: float | None = None


class Status(msgspec.Struct, frozen=True):
    """The answer of ``GET /status``; its fields are a contract."""

    site: str
    stable_name: str
    route: Route
    served: ServedStatus
    #: Why the last cycle did what it did.
    reason: str
    verdicts: dict[str, Verdict]
    votes: dict[str, Vote]
    sites: dict[str, SiteStatus]
    intents: list[Intent]


class IntentAnswer(msgspec.Struct, frozen=True):
    """The answer of ``POST /intents``: obeyed or refused, why, and the route as it is now."""

    accepted: bool
    reason: str
    route: Route


class OperatorApi:
    """Handlers of one site's listener."""

    def __init__(
        self, config: SiteConfig, director: Director, mesh: Mesh, *, clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._director = director
        self._mesh = mesh
        self._clock = clock
        self._runner: web.AppRunner | None = None

    async def start(self, context: ssl.SSLContext) -> None:
        """Listen; raises OSError if the address is taken."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_errors_as_json])
        app.router.add_post("/mesh", self._on_mesh)
        app.router.add_post("/intents", self._on_intents)
        app.router.add_get("/status", self._on_status)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        listen = self._config.mesh
        await web.TCPSite(self._runner, listen.host, listen.port, ssl_context=context).start()

    async def stop(self) -> None:
        """Stop listening; doing it twice is fine."""
        if self._runner:
            await self._runner.cleanup()

    async def _on_mesh(self, request: web.Request) -> web.Response:
        identity = _identity(request)
        if identity.unit != UNIT_OF_SITES:
            return _refused(identity, UNIT_OF_SITES)
        try:
            self._mesh.read(identity.common_name, await request.read())
        except InputError as error:
            return _json({"error": str(error)}, status=400)
        return web.Response(body=self._mesh.write(identity.common_name), content_type=JSON)

    async def _on_intents(self, request: web.Request) -> web.Response:
        identity = _identity(request)
        if identity.unit != UNIT_OF_OPERATORS:
            return _refused(identity, UNIT_OF_OPERATORS)
        try:
            intent = msgspec.json.decode(await request.read(), type=Intent)
        except UNDECODABLE as error:
            # msgspec names the field and what it should be.
            return _json({"error": f"not an intent: {error}"}, status=400)
        # An operator who hangs up must not leave half an intent behind.
        accepted, reason = await asyncio.shield(self._director.submit(intent))
        extra = {"action": "intent", "operator": identity.common_name, "accepted": accepted}
        log.warning("an operator sent an intent", extra=extra)
        answer = IntentAnswer(accepted, reason, self._director.direction.route)
        return _json(answer, status=200 if accepted else 409)

    async def _on_status(self, request: web.Request) -> web.Response:
        identity = _identity(request)
        if identity.unit not in (UNIT_OF_OPERATORS, UNIT_OF_SITES):
            return _refused(identity, UNIT_OF_OPERATORS)
        return _json(self.status())

    def status(self) -> Status:
        """What this site knows, now."""
        director, serving = self._director, self._director.serving
        direction = director.direction
        served = ServedStatus(serving.informed.is_set())
        if serving.served:
            held = serving.served
            served = ServedStatus(served.answering, held.target, held.override, held.reason)
        return Status(
            site=self._config.site,
            stable_name=self._config.stable_name,
            route=direction.route,
            served=served,
            reason=director.reason,
            verdicts=direction.verdicts,
            votes=direction.votes,
            sites=self._sites(),
            intents=list(direction.intents.values()),
        )

    def _sites(self) -> dict[str, SiteStatus]:
        fresh, ages_s = self._mesh.fresh(), self._mesh.ages_s()
        sites = {
            site.name: SiteStatus(site.name in fresh, ages_s.get(site.name))
            for site in self._config.sites
        }
        sites[self._config.site] = SiteStatus(heard=True, age_s=0.0)
        return sites


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what aiohttp itself refuses, a wrong path or a body too large, in our form."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _json({"error": error.reason}, status=error.status)


def _identity(request: web.Request) -> Identity:
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport else None
    return identity_of(tls.getpeercert() if tls else None)


def _refused(identity: Identity, needed: str) -> web.Response:
    shown = f"certificate of {identity.common_name!r} has OU {identity.unit!r}"
    return _json({"error": f"{shown}, and this needs OU {needed!r}"}, status=403)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type=JSON)
