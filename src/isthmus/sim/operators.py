"""Operators: what they want of items and routes, asked again until it is answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from isthmus.core import policies, registry
from isthmus.core.direction import Answer as IntentAnswer
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.routing import Intent
from isthmus.sim.services import Answer
from isthmus.sim.shadows import Reply

if TYPE_CHECKING:
    from isthmus.sim.system import System

POLICY = "everything"
DOCUMENT = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}'
)
ATTEMPTS_MAX = 12
AGAIN_S = 1.0

Change = Callable[[Item, Writer], Item | None]
Changes = list[tuple[str, str, Change]]


class Operators:
    """Asks regions and sites; nobody answers where nobody is."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._intents = 0

    # Items

    def ask(self, region: str, what: str, changes: Changes, attempt: int = 1) -> None:
        """Have a region write, again if it fails: every change may be made twice."""
        system = self._system
        services = system.services(region)
        if services is None:
            self._again(region, what, changes, attempt, "nobody answers")
            return
        reply = partial(self._answered, region, what, changes, attempt)
        tightens = what.startswith("revoke ")
        write = partial(services.write, changes, reply, must_be_current=not tightens)
        services.process.after(0.0, write)

    def _answered(
        self, region: str, what: str, changes: Changes, attempt: int, answer: Answer
    ) -> None:
        if answer.failure:
            self._again(region, what, changes, attempt, answer.failure)
            return
        how = f"confirmed by {', '.join(answer.confirmed_by)}" if answer.confirmed_by else "alone"
        self._system.world.say("operator", f"{what} at {region}: done, {how}")
        self._system.watch.answered(region, answer)

    def _again(self, region: str, what: str, changes: Changes, attempt: int, failure: str) -> None:
        world = self._system.world
        world.say("operator", f"{what} at {region}: {failure}")
        if attempt < ATTEMPTS_MAX:
            world.at(world.now_s + AGAIN_S, None, self.ask, region, what, changes, attempt + 1)

    def register(self, client: str, region: str) -> None:
        """A thing, an active certificate, and the policy attached to it."""
        principal = f"cert-{client}"
        key = policies.version_key(POLICY, 1, DOCUMENT)
        changes: Changes = [
            (registry.POLICY_VERSION, key, partial(_version, document=DOCUMENT)),
            (registry.POLICY, POLICY, partial(_default, key=key)),
            (registry.THING, client, partial(_thing, name="made", value="yes")),
            (registry.CERTIFICATE, principal, _certificate),
            self._attach(region, client),
        ]
        self.ask(region, f"register {client}", changes)

    def _attach(self, region: str, client: str) -> tuple[str, str, Change]:
        principal = f"cert-{client}"
        key = registry.attachment_key(f"{registry.POLICY}:{POLICY}", principal)

        def attach(item: Item, writer: Writer) -> Item | None:
            log = self._system.regions[region].services.log
            policy = log.get(registry.POLICY, POLICY)
            certificate = log.get(registry.CERTIFICATE, principal)
            held = registry.attaches(item)
            if held and all(
                each.holds_for(policy, certificate) and not each.contested for each in held
            ):
                return None
            return registry.attach(item, writer, policy, certificate)

        return registry.ATTACHMENT, key, attach

    def attach(self, client: str, region: str) -> None:
        self.ask(region, f"attach {client}", [self._attach(region, client)])

    def detach(self, client: str, region: str) -> None:
        kind, key, _ = self._attach(region, client)
        self.ask(region, f"detach {client}", [(kind, key, registry.detach)])

    def set(self, client: str, name: str, value: str, region: str) -> None:
        """One attribute of a thing."""
        change = partial(_thing, name=name, value=value)
        self.ask(region, f"set {name}={value} of {client}", [(registry.THING, client, change)])

    def delete(self, client: str, region: str) -> None:
        """Delete a thing; somebody may create it again."""
        self.ask(region, f"delete {client}", [(registry.THING, client, _delete)])

    def change_certificate(self, verb: str, client: str, region: str) -> None:
        """Revoke, deactivate or activate."""
        change = {"revoke": _revoke, "deactivate": _deactivate, "activate": _activate}[verb]
        self.ask(region, f"{verb} {client}", [(registry.CERTIFICATE, f"cert-{client}", change)])

    # Shadows

    def ask_shadow(
        self, region: str, thing: str, what: str, payload: dict[str, Any], attempt: int = 1
    ) -> None:
        """Have a region update or delete a shadow, by HTTPS; again where nothing was promised."""
        system = self._system
        services = system.services(region)
        again = partial(self._shadow_again, region, thing, what, payload, attempt)
        if services is None:
            again("nobody answers")
            return
        token = {"clientToken": system.next_token()}
        topic, body = f"$aws/things/{thing}/shadow/{what}", json.dumps({**payload, **token})

        def reply(reply: Reply) -> None:
            if reply.failed:
                again(reply.failed)
                return
            text = f"{what} of {thing}'s shadow at {region}"
            for topic, _ in reply.answers:
                system.world.say("operator", f"{text}: {topic.rpartition('/')[2]}")
            if reply.events:
                version = json.loads(reply.events[0][1])["version"]
                system.world.say("operator", f"{text}: accepted as version {version}")
                system.regions[region].say(reply.events)

        carry_out = partial(services.shadows.carry_out, topic, body.encode(), reply)
        services.process.after(0.0, carry_out)

    def _shadow_again(
        self,
        region: str,
        thing: str,
        what: str,
        payload: dict[str, Any],
        attempt: int,
        failure: str,
    ) -> None:
        world = self._system.world
        world.say("operator", f"{what} of {thing}'s shadow at {region}: {failure}")
        if attempt < ATTEMPTS_MAX:
            world.at(
                world.now_s + AGAIN_S,
                None,
                self.ask_shadow,
                region,
                thing,
                what,
                payload,
                attempt + 1,
            )

    # Routes

    def intend(
        self, kind: str, target: str, site: str, seconds: float, *, force: bool = False
    ) -> None:
        """Tell one site's director."""
        system = self._system
        found = system.sites[site]
        self._intents += 1
        identity = f"{kind}-{self._intents}"

        def ask() -> None:
            epoch = found.direction.route.epoch
            expires_ms = found.process.now_ms() + int(seconds * 1000)
            intent = Intent(identity, kind, epoch, expires_ms, target, force)  # type: ignore[arg-type]
            system.watch.routes.intents.append(identity)
            found.intend(intent, answered)

        def answered(answer: IntentAnswer) -> None:
            word = "accepted" if answer.accepted else "refused"
            if answer.accepted and kind == "pause":
                system.watch.routes.holds(site, seconds)
            system.world.say(
                "operator", f"{kind} {target}: {word}. {answer.reason}", f"intent-{word}"
            )

        found.process.after(0.0, ask)


# Each of these changes nothing where the item already is as it should be.


def _version(item: Item, writer: Writer, document: str) -> Item | None:
    return None if item.lives else policies.put_version(item, writer, document)


def _default(item: Item, writer: Writer, key: str) -> Item | None:
    return None if item.lives else policies.put(item, writer, key)


def _thing(item: Item, writer: Writer, name: str, value: str) -> Item | None:
    if item.lives and registry.attributes(item).get(name) == value:
        return None
    return registry.put_thing(item, writer, {name: value})


def _delete(item: Item, writer: Writer) -> Item | None:
    return registry.delete(item, writer) if item.lives else None


def _certificate(item: Item, writer: Writer) -> Item | None:
    return None if item.lives else registry.register_certificate(item, writer, "pem", active=True)


def _revoke(item: Item, writer: Writer) -> Item | None:
    is_done = registry.certificate_status(item) is registry.CertificateStatus.REVOKED
    return None if is_done else registry.revoke(item, writer)


def _deactivate(item: Item, writer: Writer) -> Item | None:
    is_done = registry.certificate_status(item) is registry.CertificateStatus.INACTIVE
    return None if is_done else registry.deactivate(item, writer)


def _activate(item: Item, writer: Writer) -> Item | None:
    is_done = registry.certificate_status(item) is registry.CertificateStatus.ACTIVE
    return None if is_done else registry.activate(item, writer)
