"""The region's internal API: what `isthmus up`, `drill` and `revoke` need of it, over HTTPS.

It is not the AWS-compatible API. Every request shows a certificate of the operators' CA whose
subject says OU=operator; there is no other way in. A write answers when its promise is kept, and
names the regions that confirmed it.

    POST /v1/devices                      register things, certificates and policies
    POST /v1/certificates/{id}/revoke     revoke for good
    POST /v1/access-keys                  make one; its secret is in this answer and no other
    GET  /v1/access-keys                  all of them, without secrets
    POST /v1/access-keys/{id}/deactivate  until activate; DELETE /v1/access-keys/{id} for good
    POST /v1/suspensions                  of things and groups; POST /v1/resumptions ends them
    GET  /v1/suspensions                  those that hold, a page at a time
    POST /v1/expected-devices             activated when they come; /removal: no longer; GET: all
    GET  /v1/conflicts                    the newest first, a page at a time; ?kind= and ?key=
    GET  /v1/connections/{client}         where a client is connected, or was, and since when
    GET  /v1/status                       this region, its peers, its gateways
    GET  /v1/digests                      a hash of every item, as this process holds it
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from isthmus.adapters.pki import certificate_id, load_certificate
from isthmus.adapters.tls import identity_of, server_context
from isthmus.clock import monotonic_s
from isthmus.core import policies, policy_document, registry
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.stamp import StampClock
from isthmus.core.view import View
from isthmus.core.written import Written
from isthmus.errors import InputError, IsthmusError, Unavailable
from isthmus.region import bodies
from isthmus.region.access_keys import AccessKeys
from isthmus.region.conflicts import Conflicts
from isthmus.region.expected_devices import ExpectedDevices
from isthmus.region.suspensions import Suspensions
from isthmus.region.writes import Writes

if TYPE_CHECKING:
    from isthmus.region.services import Services

_log = logging.getLogger(__name__)

BODY_MAX_BYTES = 8 * 1024**2
#: AWS IoT allows 47 kilobytes of attributes; an item must hold them with room to spare.
ATTRIBUTES_MAX_CHARACTERS = 47 * 1024
SHUTDOWN_S = 1.0
_CERTIFICATE_ID = re.compile("[0-9a-f]{64}")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_NAME = re.compile("[a-zA-Z0-9:_-]{1,128}")


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Unknown fields are errors, which name them."""


class NewPolicy(_Section, frozen=True):
    """A policy with its only version."""

    name: str
    document: str


class NewDevice(_Section, frozen=True):
    """A thing, its certificate and the policies of that certificate."""

    thing: str
    attributes: dict[str, str]
    certificate_pem: str
    policies: tuple[str, ...]


class Registration(_Section, frozen=True):
    """What is registered together: everything is checked before anything is written."""

    devices: tuple[NewDevice, ...]
    policies: tuple[NewPolicy, ...] = ()


class Api:
    """Serves the internal API of one region."""

    def __init__(self, services: Services, clock: StampClock) -> None:
        self._services = services
        self._clock = clock
        self._writes = Writes(services, clock)

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled."""
        app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[_operators_only])
        keys = AccessKeys(self._services.config, self._writes)
        suspended, expected = Suspensions(self._writes), ExpectedDevices(self._writes)
        app.add_routes(
            [
                web.post("/v1/access-keys", _answer(keys.create)),
                web.get("/v1/access-keys", _answer(keys.list)),
                web.post("/v1/access-keys/{id}/activate", _answer(keys.activate)),
                web.post("/v1/access-keys/{id}/deactivate", _answer(keys.deactivate)),
                web.delete("/v1/access-keys/{id}", _answer(keys.delete)),
                web.post("/v1/suspensions", _answer(suspended.suspend)),
                web.post("/v1/resumptions", _answer(suspended.resume)),
                web.get("/v1/suspensions", _answer(suspended.list)),
                web.post("/v1/expected-devices", _answer(expected.expect)),
                web.get("/v1/expected-devices", _answer(expected.list)),
                web.post("/v1/expected-devices/removal", _answer(expected.forget)),
                web.get("/v1/conflicts", _answer(Conflicts(self._services.store.view).list)),
                web.post("/v1/devices", self._register),
                web.post("/v1/certificates/{id}/revoke", self._revoke),
                web.get("/v1/connections/{client:.+}", self._connection),
                web.get("/v1/status", self._status),
                web.get("/v1/digests", self._digests),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await runner.setup()
        config = self._services.config
        try:
            context = server_context(config.api_tls)
            await web.TCPSite(runner, config.api.host, config.api.port, ssl_context=context).start()
            ready()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    # Writes

    async def _register(self, request: web.Request) -> web.Response:
        body = bodies.read(await request.read(), Registration)
        await self._services.be_current()
        identities = _check(body, self._services.store.view)
        written = Written()
        made = await self._write_policies(written, body)
        pairs = zip(body.devices, identities, strict=True)
        await self._writes.at_once(
            partial(self._write_device, written, *pair, made) for pair in pairs
        )
        answer = await self._writes.kept(written)
        return _json({"things": len(body.devices), **answer})

    async def _write_policies(self, written: Written, body: Registration) -> dict[str, Item]:
        made: dict[str, Item] = {}
        for new in body.policies:
            key = policies.version_key(new.name, 1, new.document)
            put_version = partial(policies.put_version, document=new.document)
            await self._writes.make(written, registry.POLICY_VERSION, key, put_version)
            put_policy = partial(_default, key=key)
            made[new.name] = await self._writes.make(written, registry.POLICY, new.name, put_policy)
        return made

    async def _write_device(
        self, written: Written, device: NewDevice, identity: str, made: dict[str, Item]
    ) -> None:
        put_thing = partial(_thing, attributes=device.attributes)
        register = partial(_certificate, pem=_only_certificate(device.certificate_pem))
        thing = await self._writes.make(written, registry.THING, device.thing, put_thing)
        certificate = await self._writes.make(written, registry.CERTIFICATE, identity, register)
        attached = [made.get(name) or self._policy(name) for name in device.policies]
        for target in (thing, *attached):
            key = registry.attachment_key(f"{target.kind}:{target.key}", identity)
            attach = partial(_attached, target=target, certificate=certificate)
            await self._writes.make(written, registry.ATTACHMENT, key, attach)

    def _policy(self, name: str) -> Item:
        item = self._services.store.view.get(registry.POLICY, name)
        if item is None or not item.lives:
            raise InputError(f"policies: there is no policy {name!r}")
        return item

    async def _revoke(self, request: web.Request) -> web.Response:
        identity = request.match_info["id"]
        if not _CERTIFICATE_ID.fullmatch(identity):
            raise InputError(f"id is {identity[:80]!r}: not 64 lowercase hex digits")
        written = Written()
        item = await self._writes.make(written, registry.CERTIFICATE, identity, _revoked)
        status = registry.certificate_status(item)
        # Not only of a region that is current: what takes rights away is right whatever was missed.
        return _json({"id": identity, "status": status, **await self._writes.kept(written)})

    # Reads

    async def _status(self, request: web.Request) -> web.Response:
        services = self._services
        now_s = monotonic_s()
        peers = {
            name: {
                "reachable": services.promises.peers.heard_within(name, now_s, 1.0),
                "log_applied": link.pull.log.sequence,
            }
            for name, link in services.links.items()
        }
        gateways = [stats for heard_s, stats in services.gateways.values() if now_s - heard_s < 5.0]
        state = services.keeper.state
        return _json(
            {
                "region": services.config.region,
                "incarnation": self._clock.incarnation,
                "alone": state.alone,
                "alone_epoch": state.epoch,
                "alone_history": list(services.alone_history),
                "items": len(services.store.view),
                "log_position": services.store.position,
                "peers": peers,
                "gateways": gateways,
            }
        )

    async def _connection(self, request: web.Request) -> web.Response:
        client = request.match_info["client"]
        word = self._services.presence.roster.get(client)
        if word is None:
            return _json({"message": f"nothing is known of a client {client[:140]!r}"}, 404)
        return _json(
            {
                "client": client,
                "connected": not word.has_ended,
                "region": word.region,
                "gateway": word.gateway,
                "since_ms": word.present.at_ms,
                "version": word.version,
                "principal": word.present.principal,
                "address": word.present.address,
                **({"ended_ms": word.ended_ms, "reason": word.reason} if word.has_ended else {}),
            }
        )

    async def _digests(self, request: web.Request) -> web.Response:
        store = self._services.store
        return _json({"position": store.position, "items": store.view.digests()})


# Each of these changes nothing where the item already is as it should be: writing again is free.


def _thing(item: Item, writer: Writer, attributes: dict[str, str]) -> Item:
    held = registry.attributes(item)
    # What is not given stays, and an empty value removes: as put_thing writes it.
    if item.lives and all(held.get(name, "") == value for name, value in attributes.items()):
        return item
    return registry.put_thing(item, writer, attributes)


def _certificate(item: Item, writer: Writer, pem: str) -> Item:
    return item if item.lives else registry.register_certificate(item, writer, pem, active=True)


def _revoked(item: Item, writer: Writer) -> Item:
    if registry.certificate_status(item) is registry.CertificateStatus.REVOKED:
        return item
    return registry.revoke(item, writer)


def _default(item: Item, writer: Writer, key: str) -> Item:
    if item.lives and policies.default_versions(item) == [key]:
        return item
    return policies.put(item, writer, key)


def _attached(item: Item, writer: Writer, target: Item, certificate: Item) -> Item:
    held = registry.attaches(item)
    if held and all(each.holds_for(target, certificate) and not each.contested for each in held):
        return item
    return registry.attach(item, writer, target, certificate)


def _check(body: Registration, view: View) -> list[str]:
    """Check everything that can be wrong with a registration; return the certificates' ids."""
    for number, new in enumerate(body.policies):
        with _at(f"policies[{number}]"):
            _check_name("name", new.name)
            policy_document.parse(new.document)
    given = {new.name for new in body.policies}
    return [
        _check_device(device, f"devices[{number}]", given, view)
        for number, device in enumerate(body.devices)
    ]


def _check_device(device: NewDevice, where: str, given: set[str], view: View) -> str:
    with _at(where):
        _check_name("thing", device.thing)
        size = sum(len(name) + len(value) for name, value in device.attributes.items())
        if size > ATTRIBUTES_MAX_CHARACTERS:
            limit = f"at most {ATTRIBUTES_MAX_CHARACTERS}, names included"
            raise InputError(f"attributes have {size} characters", hint=limit)
        for name in device.policies:
            known = view.get(registry.POLICY, name)
            if name not in given and (known is None or not known.lives):
                raise InputError(f"policies: there is no policy {name[:140]!r}")
    with _at(f"{where}.certificate_pem"):
        return certificate_id(device.certificate_pem)


@contextlib.contextmanager
def _at(field: str) -> Iterator[None]:
    """Say where in the request the wrong value stands."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{field}: {error.args[0]}", hint=error.hint) from None


def _only_certificate(pem: str) -> str:
    """The first certificate and nothing else: files often hold the private key too."""
    return load_certificate(pem).public_bytes(Encoding.PEM).decode()


def _check_name(field: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InputError(f"{field} is {name[:140]!r}", hint="1 to 128 of a-z A-Z 0-9 : _ -")


def _answer(handler: Callable[[web.Request], Awaitable[object]]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return _json(await handler(request))

    return answer


def _json(value: Any, status: int = 200) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json")


@web.middleware
async def _operators_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in who is an operator, and turn errors into answers that name field and value."""
    transport = request.transport
    connection = transport.get_extra_info("ssl_object") if transport else None
    identity = identity_of(connection.getpeercert() if connection else None)
    if identity.unit != "operator":
        return _json({"message": "this certificate is not an operator's"}, 403)
    try:
        return await handler(request)
    except InputError as error:
        return _json({"message": str(error)}, 400)
    except Unavailable as error:
        return _json({"message": str(error)}, 503)
    except IsthmusError:
        _log.exception("request failed", extra={"action": "api-error", "path": request.path})
        return _json({"message": "internal error; see the region's log"}, 500)
