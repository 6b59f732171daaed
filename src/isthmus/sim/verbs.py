"""What can be done to a system: the verbs of plans and stories.

Each takes words, as they stand in a plan. A fault that lasts takes its seconds last, and ends by
itself; ``heal`` ends all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from isthmus.errors import InputError
from isthmus.sim.clients import RETAINED_PREFIX
from isthmus.sim.gateway import LOCAL_PREFIX
from isthmus.sim.network import Way
from isthmus.sim.plan import FAULTS
from isthmus.sim.shadow_client import ShadowClient
from isthmus.sim.site import Site
from isthmus.sim.subscriber import Subscriber

if TYPE_CHECKING:
    from isthmus.sim.system import System

FAULTS_NAMED = frozenset(verb for verb, _, _ in FAULTS)


class Verbs:
    """Performs steps on one system."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._world = system.world
        #: How to end each fault that lasts; one that was ended does nothing when asked again.
        self._undo: dict[int, Callable[[], None]] = {}
        self._made = 0

    def do(self, verb: str, words: tuple[str, ...]) -> None:
        """Perform one step. Raises InputError for a verb or words that there are not."""
        self.check(verb)
        method = getattr(self, f"do_{verb.replace('-', '_')}")
        if verb in FAULTS_NAMED:
            self._world.faults[verb] += 1
            self._world.say("fault", " ".join((verb, *words)))
        try:
            method(*words)
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(f"{verb} {' '.join(words)}: {error}") from error
        self._system.watch.reach.changed()

    def check(self, verb: str) -> None:
        """Raises InputError for a verb that there is not."""
        if not hasattr(self, f"do_{verb.replace('-', '_')}"):
            raise InputError(f"verb is {verb!r}", hint=f"one of {', '.join(names())}")

    def do_heal(self) -> None:
        """End every fault that lasts."""
        self._world.say("fault", "everything heals")
        for undo in list(self._undo.values()):
            undo()

    def _for(self, seconds: str, undo: Callable[[], None]) -> None:
        self._made += 1
        number = self._made

        def once() -> None:
            if self._undo.pop(number, None) is not None:
                undo()
                self._system.watch.reach.changed()

        self._undo[number] = once
        self._world.at(self._world.now_s + float(seconds), None, once)

    # Machines and processes

    def do_kill(self, region: str, disk: str, seconds: str) -> None:
        """The machine is gone, and comes back with its disk as it was, older, or empty."""
        found = self._system.regions[region]
        if not found.machine.is_up:
            return
        if disk in ("restored", "wiped") and not self._system.watch.may_destroy(region):
            self._world.say("fault", f"{region}'s disk is spared: another one was just lost")
            disk = "disk-kept"
        if disk == "power-cut":
            found.store.lose_power()
        found.stop()
        self._system.sites[region].process.end()
        if disk == "wiped":
            found.store.wipe()
        elif disk == "restored" and not found.restore():
            disk = "disk-kept"
        self._world.reached[f"restart-{disk}"] += 1
        if disk in ("restored", "wiped"):
            self._system.watch.destroyed(found)
        self._for(seconds, partial(self._start, region))

    def _start(self, region: str) -> None:
        self._world.say("fault", f"{region} starts again")
        self._system.regions[region].start()
        self._restart_site(region)

    def _restart_site(self, name: str) -> None:
        old = self._system.sites[name]
        if old.machine.is_up and not old.process.is_running:
            self._system.watch.routes.restarted(name)
            self._system.sites[name] = Site(self._system, name, old.machine, old.disk)

    def do_steal(self, client: str, region: str, other: str, seconds: str) -> None:
        """A key is revoked elsewhere while a region is down; its thief waits at that door.

        The region comes back with a slow disk, and has much to learn before it can tell.
        """
        self.do_kill(region, "disk-kept", seconds)
        for each in self._system.regions_named:
            if each != region:
                self.do_cut_client(client, each, str(float(seconds) + 4.0))
        revoke = self._system.operators.change_certificate
        self._world.at(self._world.now_s + 0.3, None, revoke, "revoke", client, other)
        self.do_slow_disk(region, "0.1", str(float(seconds) + 2.0))

    def do_freeze(self, region: str, seconds: str) -> None:
        """Everything stands still, and goes on as if nothing had been."""
        found = self._system.regions[region]
        if not found.machine.is_up or found.is_frozen:
            return
        found.freeze()
        self._system.sites[region].process.pause()
        self._for(seconds, partial(self._thaw, region))

    def _thaw(self, region: str) -> None:
        self._system.regions[region].thaw()
        self._system.sites[region].process.resume()

    def do_kill_gateway(self, region: str, number: str) -> None:
        found = self._system.regions[region]
        if found.machine.is_up and not found.is_frozen:
            found.restart_gateway(int(number) % len(found.gateways))

    def do_kill_services(self, region: str) -> None:
        found = self._system.regions[region]
        if found.machine.is_up and not found.is_frozen:
            found.restart_services()
            self._system.watch.reach.disturbed(region)

    def do_kill_site(self, site: str, seconds: str) -> None:
        self._system.sites[site].process.end()
        self._for(seconds, partial(self._restart_site, site))

    def do_restart_store(self, region: str) -> None:
        found = self._system.regions[region]
        if found.machine.is_up and not found.is_frozen:
            found.restart_store()
            self._system.watch.reach.disturbed(region)

    def do_pause_services(self, region: str, seconds: str) -> None:
        process = self._system.regions[region].services.process
        process.pause()
        self._for(seconds, process.resume)

    def do_pause_gateway(self, region: str, number: str, seconds: str) -> None:
        gateways = self._system.regions[region].gateways
        process = gateways[int(number) % len(gateways)].process
        process.pause()
        self._for(seconds, process.resume)

    def do_pause_site(self, site: str, seconds: str) -> None:
        process = self._system.sites[site].process
        process.pause()
        self._for(seconds, process.resume)

    # Ways

    def _ways(self, *pairs: tuple[str, str]) -> list[Way]:
        return [self._system.net.way(source, target) for source, target in pairs]

    def _places(self) -> list[str]:
        return self._system.sites_named

    def _cut(self, ways: list[Way], seconds: str) -> None:
        fresh = [way for way in ways if not way.is_cut]
        for way in fresh:
            way.is_cut = True

        def undo() -> None:
            for way in fresh:
                way.is_cut = False

        self._for(seconds, undo)

    def do_cut(self, one: str, other: str, seconds: str) -> None:
        self._cut(self._ways((one, other), (other, one)), seconds)

    def do_cut_one_way(self, source: str, target: str, seconds: str) -> None:
        self._cut(self._ways((source, target)), seconds)

    def do_isolate(self, site: str, seconds: str) -> None:
        """Cut one place off from all others, but not from its devices."""
        others = [each for each in self._places() if each != site]
        pairs = [(site, each) for each in others] + [(each, site) for each in others]
        self._cut(self._ways(*pairs), seconds)

    def do_cut_client(self, client: str, region: str, seconds: str) -> None:
        self._cut(self._ways((client, region), (region, client)), seconds)

    def _spoil(self, one: str, other: str, name: str, value: float, seconds: str) -> None:
        ways = self._ways((one, other), (other, one))
        for way in ways:
            setattr(way, name, value)

        def undo() -> None:
            for way in ways:
                setattr(way, name, 0.0)

        self._for(seconds, undo)

    def do_lossy(self, one: str, other: str, share: str, seconds: str) -> None:
        self._spoil(one, other, "loss", float(share), seconds)

    def do_double(self, one: str, other: str, share: str, seconds: str) -> None:
        self._spoil(one, other, "doubles", float(share), seconds)

    def do_slow(self, one: str, other: str, extra: str, seconds: str) -> None:
        self._spoil(one, other, "extra_s", float(extra), seconds)

    # Disks and clocks

    def do_fill_disk(self, region: str, seconds: str) -> None:
        store = self._system.regions[region].store
        store.is_full = True
        self._for(seconds, partial(setattr, store, "is_full", False))

    def do_slow_disk(self, region: str, extra: str, seconds: str) -> None:
        store = self._system.regions[region].store
        store.slow_s = float(extra)
        self._for(seconds, partial(setattr, store, "slow_s", 0.0))

    def do_back_up(self, region: str) -> None:
        found = self._system.regions[region]
        if found.machine.is_up:
            found.back_up()

    def do_jump_clock(self, region: str, milliseconds: str) -> None:
        """Its processes notice when they start the next time."""
        self._system.regions[region].machine.wall_offset_ms += int(milliseconds)

    def do_drift_clock(self, region: str, rate: str) -> None:
        self._system.regions[region].machine.drift(float(rate))

    # People and devices

    def do_publish(self, client: str, payload: str = "") -> None:
        self._system.clients[client].publish(payload.encode() or None)

    def do_publish_same(self, client: str) -> None:
        """A content that was sent before and will be again, as a door's ``closed``."""
        self._system.clients[client].publish(f"closed {client}".encode())

    def do_publish_local(self, client: str) -> None:
        """To a topic for which one region is enough."""
        self._system.clients[client].publish(topic=f"{LOCAL_PREFIX}{client}")

    def do_publish_many(self, client: str, number: str) -> None:
        """At once, so that who was away comes back to more than it takes."""
        for _ in range(int(number)):
            self._system.clients[client].publish()

    def do_retain(self, client: str, name: str, payload: str = "") -> None:
        """To a topic that several clients publish to, and that keeps the newest."""
        self._system.clients[client].publish(payload.encode() or None, f"{RETAINED_PREFIX}{name}")

    def _subscriber(self, client: str) -> Subscriber:
        found = self._system.clients[client]
        if not isinstance(found, Subscriber):
            raise ValueError(f"{client} is no subscriber")
        return found

    def do_subscribe(self, client: str, name: str) -> None:
        self._subscriber(client).subscribe(name)

    def do_unsubscribe(self, client: str, name: str) -> None:
        self._subscriber(client).unsubscribe(name)

    def do_leave(self, client: str, seconds: str) -> None:
        """A subscriber disconnects in good order, and comes back."""
        self._subscriber(client).leave(float(seconds))

    def do_wander(self, client: str, region: str) -> None:
        """A subscriber connects elsewhere, and its old connection hangs."""
        self._subscriber(client).wander(region)

    def do_begin_anew(self, client: str) -> None:
        """A subscriber asks for a clean session, which ends the one that it had."""
        self._subscriber(client).begin_anew()

    def do_add(self, client: str, kind: str, region: str) -> None:
        self._system.add_client(client, kind, region)

    def do_set(self, client: str, name: str, value: str, region: str) -> None:
        self._system.operators.set(client, name, value, region)

    def do_set_everywhere(self, client: str, name: str, value: str) -> None:
        """At every region in the same moment, each to a value of its own."""
        for region in self._system.regions_named:
            self._system.operators.set(client, name, f"{value}-{region}", region)

    def do_delete(self, client: str, region: str) -> None:
        self._system.operators.delete(client, region)

    def do_revoke(self, client: str, region: str) -> None:
        self._system.operators.change_certificate("revoke", client, region)

    def do_deactivate(self, client: str, region: str) -> None:
        self._system.operators.change_certificate("deactivate", client, region)

    def do_activate(self, client: str, region: str) -> None:
        self._system.operators.change_certificate("activate", client, region)

    def do_detach(self, client: str, region: str) -> None:
        self._system.operators.detach(client, region)

    def do_contest(self, client: str, one: str, other: str) -> None:
        """Detach everywhere, and then in the same moment attach here and detach there."""
        operators = self._system.operators
        operators.detach(client, one)

        def both() -> None:
            operators.attach(client, one)
            operators.detach(client, other)

        self._world.at(self._world.now_s + 1.0, None, both)

    def do_attach(self, client: str, region: str) -> None:
        self._system.operators.attach(client, region)

    # Shadows

    def _shadow_client(self, client: str) -> ShadowClient:
        found = self._system.clients[client]
        if not isinstance(found, ShadowClient):
            raise ValueError(f"{client} has no shadow")
        return found

    def do_want(self, client: str, name: str, value: str, region: str) -> None:
        """Somebody desires something of a device, by HTTPS."""
        state = {"state": {"desired": _state(name, value)}}
        self._system.operators.ask_shadow(region, client, "update", state)

    def do_want_everywhere(self, client: str, name: str, value: str) -> None:
        """At every region in the same moment, each something of its own."""
        for region in self._system.regions_named:
            self.do_want(client, name, f"{value}-{region}", region)

    def do_want_and_kill(
        self, client: str, name: str, value: str, region: str, other: str, seconds: str
    ) -> None:
        """The same, and elsewhere the services die while they take it in, on a slow disk."""
        self.do_slow_disk(other, "0.15", "1.5")
        self.do_want(client, name, value, region)
        when_s = self._world.now_s + float(seconds)
        self._world.at(when_s, None, self.do_kill_services, other)

    def do_report(self, client: str, name: str, value: str) -> None:
        """A device says how it is."""
        self._shadow_client(client).report(_state(name, value))

    def do_report_checked(self, client: str, name: str, value: str) -> None:
        """The same, unless its shadow is another one than it knows."""
        self._shadow_client(client).report(_state(name, value), is_checked=True)

    def do_get_shadow(self, client: str) -> None:
        self._shadow_client(client).ask("get")

    def do_forget(self, client: str) -> None:
        """A device deletes its shadow."""
        self._shadow_client(client).ask("delete")

    def do_delete_shadow(self, client: str, region: str) -> None:
        """Somebody deletes a device's shadow, by HTTPS."""
        self._system.operators.ask_shadow(region, client, "delete", {})

    def do_move(self, target: str, site: str) -> None:
        self._system.operators.intend("move", target, site, 5.0)

    def do_move_by_force(self, target: str, site: str) -> None:
        """Move to a region that is not known to be healthy: for want of a majority, say."""
        self._system.operators.intend("move", target, site, 5.0, force=True)

    def do_pin(self, target: str, site: str, seconds: str) -> None:
        self._system.operators.intend("pin", target, site, float(seconds))

    def do_hold(self, site: str, seconds: str) -> None:
        """Pause every change of the route."""
        self._system.operators.intend("pause", "", site, float(seconds))


def _state(name: str, value: str) -> dict[str, Any]:
    """A leaf at a path with dots in it; a value with commas is an array, and "nothing" is none."""
    said: Any = value.split(",") if "," in value else None if value == "nothing" else value
    for each in reversed(name.split(".")):
        said = {each: said}
    return cast("dict[str, Any]", said)


def names() -> list[str]:
    """Every verb."""
    return sorted(each[3:].replace("_", "-") for each in dir(Verbs) if each.startswith("do_"))
