"""What can be said only at the end: after healing, and once nobody wants anything any more."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any

from isthmus.core import conflicts, lattice, registry
from isthmus.core.item import Item
from isthmus.core.lattice import Flag, GrowSet, Live
from isthmus.sim import lake
from isthmus.sim.operators import POLICY
from isthmus.sim.store import LOG
from isthmus.sim.violation import Violation

if TYPE_CHECKING:
    from isthmus.sim.clients import Client
    from isthmus.sim.system import System


def after_healing(system: System) -> None:
    """All regions and sites are of one mind, and nothing was lost. Raises Violation."""
    _nobody_else_is_served(system)
    _nobody_is_alone(system)
    _acknowledged_is_stored(system)
    _nothing_trimmed(system)
    _default_view(system)
    _equal_views(system)
    _promised_writes_are_there(system)
    _writes_win_or_arelisted(system)
    _removals_hold(system)
    _one_route_per_epoch(system)


def heads(system: System) -> dict[str, int]:
    """How much was ever written to each region's log."""
    return {name: region.store.stream(LOG).last for name, region in system.regions.items()}


def zero_writes(system: System, before: dict[str, int]) -> None:
    """``zero-writes-after-full-exchange``."""
    now = heads(system)
    if now != before:
        raise Violation("zero-writes-after-full-exchange", f"heads went from {before} to {now}")


def unserved(system: System) -> dict[str, str]:
    """Who has the right to be served and is not at this moment, and what is wanting."""
    found = {}
    for client in system.clients.values():
        if _has_rights(system, client):
            if not client.is_connected:
                found[client.name] = "is not connected"
            elif client.waits_for:
                found[client.name] = f"waits for {client.waits_for} answers"
    return found


def everybody_is_served(before: dict[str, str], now: dict[str, str]) -> None:
    """``everybody-is-served``: liveness. Who is just moving is served a little later."""
    for name in sorted(before.keys() & now.keys()):
        raise Violation("everybody-is-served", f"{name} {now[name]}")


def _has_rights(system: System, client: Client) -> bool:
    """By the bare fields of the items: what they mean is the core's to get wrong."""
    region = system.regions_named[0]
    certificate = system.item(region, registry.CERTIFICATE, client.principal)
    policy = system.item(region, registry.POLICY, POLICY)
    key = registry.attachment_key(f"{registry.POLICY}:{POLICY}", client.principal)
    attachment = system.item(region, registry.ATTACHMENT, key)
    if certificate is None or policy is None or attachment is None:
        return False
    lives = _entries(certificate, "life").keys()
    activated = certificate.fields.get("activated")
    is_active = isinstance(activated, GrowSet) and bool(activated.members & lives)
    if certificate.fields.get("revoked") == Flag(True) or _entries(certificate, "blocks"):
        return False
    return is_active and any(
        _holds(attach, attachment, _entries(policy, "life").keys(), lives)
        for attach in _entries(attachment, "attaches").values()
    )


def _entries(item: Item, name: str) -> Mapping[str, Any]:
    field = item.fields.get(name)
    return field.entries if isinstance(field, Live) else {}


def _holds(
    attach: Mapping[str, Any], attachment: Item, policy: Set[str], certificate: Set[str]
) -> bool:
    """Whether an attach is of these lives, and no detach that it had not seen contests it."""
    detaches = attachment.fields.get("detaches")
    unseen = detaches.members - set(attach["saw"]) if isinstance(detaches, GrowSet) else set()
    of_target, of_principal = set(attach["target"][2]), set(attach["principal"][2])
    return not unseen and bool(of_target & policy) and bool(of_principal & certificate)


def _nobody_else_is_served(system: System) -> None:
    """``revoked-is-refused``, once everybody knows of everything."""
    gateways = [each for region in system.regions.values() for each in region.gateways]
    for client in system.clients.values():
        is_served = any(gateway.serves(client.name) for gateway in gateways)
        if is_served and not _has_rights(system, client):
            raise Violation("revoked-is-refused", f"{client.name} has no right and is served")


def _acknowledged_is_stored(system: System) -> None:
    """``acknowledged-is-stored``, in every region by now."""
    watch = system.watch
    names = set(system.regions_named)
    for payload in watch.acknowledged:
        missing = names - watch.copies[payload]
        if missing and payload not in watch.forfeited:
            text = f"{payload.decode()} was acknowledged, and {sorted(missing)} lack it"
            raise Violation("acknowledged-is-stored", text)


def _nothing_trimmed(system: System) -> None:
    """``nothing-trimmed``: what reached a bus stays there; nobody trims yet, so no member lacks."""
    for (region, stream), batches_stored in system.watch.stored.items():
        gone = batches_stored - system.regions[region].store.stream(stream).ids
        if gone:
            raise Violation("nothing-trimmed", f"{region}'s {stream} lost {sorted(gone)[:3]}")


def _default_view(system: System) -> None:
    """``default-view``: once where messages differ or have an identity, and never less often."""
    watch = system.watch
    has_jumped = system.world.faults["jump-clock"]
    for region in system.regions_named:
        rows = list(lake.rows(system, region))
        default = Counter(row.payload for row in rows if not row.is_repeat)
        system.world.reached["marked-as-repeat"] += sum(row.is_repeat for row in rows)
        for payload in watch.acknowledged:
            count = default[payload]
            if payload in watch.forfeited or payload.startswith(b"closed"):
                continue
            text = f"{region}'s default view has {payload.decode()} {count} times"
            if count < 1:
                raise Violation("default-view-has-everything", text)
            # Without an identity the order of connections is told by clocks.
            if count > 1 and (payload.startswith(b"id ") or not has_jumped):
                raise Violation("default-view-without-duplicates", text)
        for (client, payload), by_connection in watch.same.items():
            least = max(by_connection.values())
            # Which of several equal ones went with a disk, nobody can tell.
            if default[payload] < least and not watch.has_lost_a_disk:
                text = f"{region}: {client} sent {least} on one connection, {default[payload]} left"
                raise Violation("default-view-has-everything", text)


def _equal_views(system: System) -> None:
    """``equal-views``: on the disks, and in the memory of every process."""
    first, *others = system.regions_named
    log = _log(system, first)
    for name in others:
        theirs = _log(system, name)
        for at in sorted(log.keys() | theirs.keys()):
            if log.get(at) != theirs.get(at):
                text = f"{at} differs: {first} has {log.get(at)!r}, {name} has {theirs.get(at)!r}"
                raise Violation("equal-views", text)
    digest = system.regions[first].services.log.view.digest
    for region in system.regions.values():
        views = {region.services.who: region.services.log.view}
        views |= {gateway.who: gateway.log.view for gateway in region.gateways}
        for who, view in views.items():
            if view.digest != digest:
                raise Violation("equal-views", f"the memory of {who} differs")


def _log(system: System, region: str) -> dict[tuple[str, str], bytes]:
    entries = system.regions[region].store.stream(LOG).after(0, limit=10**9)
    return {entry.subject: entry.payload for entry in entries}


def _promised_writes_are_there(system: System) -> None:
    """``acknowledged-is-stored``, of operators' writes; and versions are equal everywhere."""
    for kind, key, actor, count in system.watch.promised:
        for region in system.regions_named:
            item = system.item(region, kind, key)
            if item is None or item.vv.get(actor, 0) < count:
                text = f"{region} lacks write {count} of {actor} to {kind} {key}"
                raise Violation("acknowledged-is-stored", text)


def _writes_win_or_arelisted(system: System) -> None:
    """``later-writes-win`` over what they saw, and ``conflicts-are-listed`` where nobody saw.

    Of items that were never deleted, whose other lives would make this another question.
    """
    promised = system.watch.promised
    region = system.regions_named[0]
    conflicts = listed(system, region)
    for (kind, key, path), writes in system.watch.writes.items():
        item = system.item(region, kind, key)
        life = item.fields.get("life") if item else None
        if item is None or not isinstance(life, Live) or life.dead:
            continue
        winner = dict(lattice.registers(item.fields)).get(path)
        if winner is None:
            # What only one region had is gone with its disk.
            continue
        won = next((each.item for each in writes if each.register.dot == winner.dot), None)
        for write in writes:
            register = write.register
            if register.dot == winner.dot or register.value == winner.value:
                continue
            if write.dot not in promised:
                # Nobody was told that it is done, or it is gone with the one disk that had it.
                continue
            if write.item.saw(winner.dot):
                text = f"{key}{path}: {register.value} was written over {winner.value} and lost"
                raise Violation("later-writes-win", text)
            is_newest = not any(each.item.saw(register.dot) for each in writes if each is not write)
            if won and is_newest and (kind, key, path, register.dot) not in conflicts:
                text = f"{key}{path}: {register.value} gave way to {winner.value} unseen"
                raise Violation("conflicts-are-listed", text)


def listed(system: System, region: str) -> set[tuple[str, str, str, str]]:
    """Kind, key and path of every conflict, with each dot that it names."""
    found = set()
    for (kind, _), payload in _log(system, region).items():
        if kind == conflicts.CONFLICT:
            field = system.decoded(payload).fields.get("conflict")
            assert isinstance(field, GrowSet)
            for text in sorted(field.members):
                conflict = json.loads(text)
                dots = [side["dot"] for side in conflict["sides"] if side]
                found |= {(*conflict["of"], conflict["path"], dot) for dot in dots}
    return found


def _nobody_is_alone(system: System) -> None:
    """``alone-ends``: with everybody in contact, no region goes on answering for itself."""
    for region in system.regions.values():
        if region.services.keeper.state.alone and region.services.links:
            raise Violation("alone-ends", f"{region.name} is alone among its peers")


def _removals_hold(system: System) -> None:
    """``removals-hold``: what a promised write removed never comes back from who was behind."""
    promised = system.watch.promised
    region = system.regions_named[0]
    for by, field, entry in system.watch.removals:
        kind, key, _, _ = by
        item = system.item(region, kind, key)
        value = item.fields.get(field) if item else None
        if by in promised and isinstance(value, Live) and entry in value.entries:
            raise Violation("removals-hold", f"{kind} {key}: {field} has {entry} again")


def _one_route_per_epoch(system: System) -> None:
    """``one-route-per-epoch``: every site holds the same route, and serves it."""
    routes = {name: site.direction.route for name, site in system.sites.items()}
    if len({(route.epoch, route.target) for route in routes.values()}) > 1:
        held = {name: (route.epoch, route.target) for name, route in routes.items()}
        raise Violation("one-route-per-epoch", f"sites hold {held}")
    for site in system.sites.values():
        if site.zone is None or site.zone.serial != site.direction.route.epoch:
            raise Violation("one-route-per-epoch", f"{site.name} does not serve its route")
