"""Things, certificates, policies and attachments under concurrent writes, against a naive model.

The model knows nothing of lattices: it keeps every write with what its writer had seen, and
decides from these sets alone what each region should make of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.core import policies, registry
from isthmus.core.item import Item, join
from isthmus.core.registry import CertificateStatus, Writer
from isthmus.core.stamp import StampClock

REGIONS = ("eu", "us", "ap")
CERTIFICATE = (registry.CERTIFICATE, "c" * 64)
POLICY = (registry.POLICY, "p")
THING = (registry.THING, "t")
POLICY_AT = (registry.ATTACHMENT, registry.attachment_key("policy:p", CERTIFICATE[1]))
THING_AT = (registry.ATTACHMENT, registry.attachment_key("thing:t", CERTIFICATE[1]))
NAMES = (CERTIFICATE, POLICY, THING, POLICY_AT, THING_AT)
WRITES = {
    "register": CERTIFICATE,
    "register-pending": CERTIFICATE,
    "activate": CERTIFICATE,
    "deactivate": CERTIFICATE,
    "revoke": CERTIFICATE,
    "delete-certificate": CERTIFICATE,
    "put-policy": POLICY,
    "delete-policy": POLICY,
    "put-thing": THING,
    "delete-thing": THING,
    "attach-policy": POLICY_AT,
    "detach-policy": POLICY_AT,
    "attach-thing": THING_AT,
    "detach-thing": THING_AT,
}
#: What starts a life where there is none.
CREATES = {"register", "register-pending", "revoke", "put-policy", "put-thing"}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(REGIONS),
        st.sampled_from([*WRITES, "takes", "takes", "takes"]),
        st.integers(0, 2),
    ),
    max_size=40,
)


@dataclass(frozen=True, eq=False)
class Done:
    """One write, and all that its region had seen before it."""

    what: str
    at: tuple[str, str]
    value: int
    seen: frozenset[Done]
    #: Of an attach: the lives of both ends that were named.
    named: tuple[frozenset[Done], frozenset[Done]] = (frozenset(), frozenset())


def lives(seen: Iterable[Done], at: tuple[str, str]) -> frozenset[Done]:
    """Creations that nobody who saw them has ended."""
    here = [each for each in seen if each.at == at]
    begun = [each for each in here if each.what in CREATES and not lives(each.seen, at)]
    ends = [each for each in here if each.what.startswith("delete")]
    return frozenset(each for each in begun if not any(each in end.seen for end in ends))


def status(seen: frozenset[Done]) -> CertificateStatus | None:
    here = [each for each in seen if each.at == CERTIFICATE]
    if any(each.what == "revoke" for each in here):
        return CertificateStatus.REVOKED
    alive = lives(seen, CERTIFICATE)
    if not alive:
        return None
    activations = [each for each in here if each.what in ("register", "activate")]
    for block in (each for each in here if each.what == "deactivate"):
        if not any(block in each.seen for each in activations):
            return CertificateStatus.INACTIVE
    for each in activations:
        if alive & (lives(each.seen, CERTIFICATE) | {each}):
            return CertificateStatus.ACTIVE
    return CertificateStatus.PENDING_ACTIVATION


def attached(seen: frozenset[Done], at: tuple[str, str]) -> list[tuple[Done, bool]]:
    """Attaches that no later attach or detach has seen, and whether a detach contests each."""
    here = [each for each in seen if each.at == at]
    detaches = [each for each in here if each.what.startswith("detach")]
    return [
        (each, any(detach not in each.seen for detach in detaches))
        for each in here
        if each.what.startswith("attach") and not any(each in other.seen for other in here)
    ]


def defaults(seen: frozenset[Done]) -> list[int]:
    """What was chosen in a life that goes on, and by nobody who has seen that in another way."""
    puts = [each for each in seen if each.what == "put-policy"]
    alive = lives(seen, POLICY)
    return sorted(
        {
            each.value
            for each in puts
            if not any(each in put.seen for put in puts)
            and (lives(each.seen, POLICY) or frozenset({each})) & alive
        }
    )


@dataclass
class World:
    items: dict[str, dict[tuple[str, str], Item]] = field(
        default_factory=lambda: {region: {at: Item(*at) for at in NAMES} for region in REGIONS}
    )
    seen: dict[str, frozenset[Done]] = field(
        default_factory=lambda: dict.fromkeys(REGIONS, frozenset())
    )
    clocks: dict[str, StampClock] = field(
        default_factory=lambda: {region: StampClock(region, "i") for region in REGIONS}
    )

    def step(self, region: str, what: str, value: int) -> None:
        if what == "takes":
            self.take(region, REGIONS[value])
            return
        at, held, seen = WRITES[what], self.items[region], self.seen[region]
        target = {POLICY_AT: POLICY, THING_AT: THING}.get(at, at)
        held[at] = _written(
            what,
            held[at],
            Writer(self.clocks[region], value),
            value,
            held[target],
            held[CERTIFICATE],
        )
        named = (lives(seen, target), lives(seen, CERTIFICATE))
        self.seen[region] = seen | {Done(what, at, value, seen, named)}

    def take(self, region: str, other: str) -> None:
        mine, theirs = self.items[region], self.items[other]
        self.items[region] = {at: join(mine[at], theirs[at]) for at in NAMES}
        self.seen[region] |= self.seen[other]

    def exchange_all(self) -> None:
        for _ in range(2):
            for region in REGIONS:
                for other in REGIONS:
                    self.take(region, other)

    def check(self, region: str) -> None:
        """Compare what a region's items mean with what the model says."""
        held, seen = self.items[region], self.seen[region]
        assert registry.certificate_status(held[CERTIFICATE]) is status(seen)
        for at in (CERTIFICATE, POLICY, THING):
            assert len(held[at].lives) == len(lives(seen, at))
        assert policies.default_versions(held[POLICY]) == [f"p:{n}" for n in defaults(seen)]
        for at, target in ((POLICY_AT, POLICY), (THING_AT, THING)):
            expected = sorted(
                (
                    contested,
                    bool(each.named[0] & lives(seen, target))
                    and bool(each.named[1] & lives(seen, CERTIFICATE)),
                )
                for each, contested in attached(seen, at)
            )
            found = sorted(
                (each.contested, each.holds_for(held[target], held[CERTIFICATE]))
                for each in registry.attaches(held[at])
            )
            assert found == expected


def _written(
    what: str, item: Item, writer: Writer, value: int, target: Item, certificate: Item
) -> Item:
    match what:
        case "register" | "register-pending":
            active = what == "register"
            return registry.register_certificate(item, writer, "pem", active=active)
        case "activate":
            return registry.activate(item, writer)
        case "deactivate":
            return registry.deactivate(item, writer)
        case "revoke":
            return registry.revoke(item, writer)
        case "put-policy":
            return policies.put(item, writer, f"p:{value}")
        case "put-thing":
            return registry.put_thing(item, writer, {"n": str(value)})
        case "attach-policy" | "attach-thing":
            return registry.attach(item, writer, target, certificate)
        case "detach-policy" | "detach-thing":
            return registry.detach(item, writer)
    return registry.delete(item, writer)


@given(STEPS)
@settings(max_examples=300)
def test_every_region_makes_of_every_history_what_the_naive_model_makes_of_it(steps):
    world = World()
    for step in steps:
        world.step(*step)
        world.check(step[0])
    world.exchange_all()
    for region in REGIONS:
        world.check(region)
    assert (
        len({tuple(item.encode() for item in held.values()) for held in world.items.values()}) == 1
    )


@given(STEPS, STEPS)
def test_a_revoked_certificate_is_never_anything_else_after_any_join(before, after):
    world = World()
    for step in before:
        world.step(*step)
    world.step("eu", "revoke", 0)
    revoked = world.items["eu"][CERTIFICATE]
    for step in after:
        world.step(*step)
        for held in world.items.values():
            both = join(held[CERTIFICATE], revoked)
            assert registry.certificate_status(both) is CertificateStatus.REVOKED
    assert registry.certificate_status(world.items["eu"][CERTIFICATE]) is CertificateStatus.REVOKED


def writers() -> tuple[Writer, Writer]:
    return Writer(StampClock("eu", "i"), 10), Writer(StampClock("us", "i"), 20)


def empty(kind: str = registry.CERTIFICATE) -> Item:
    return Item(kind, "k")


def test_two_regions_that_register_a_certificate_at_once_lock_nobody_out():
    """One of them has activated it already when the other only registers it."""
    eu, us = writers()
    here = registry.register_certificate(empty(), eu, "pem", active=True)
    there = registry.register_certificate(empty(), us, "pem", active=False)
    both = join(here, there)
    assert registry.certificate_status(both) is CertificateStatus.ACTIVE


def test_a_block_outlives_an_activation_that_had_not_seen_it():
    eu, us = writers()
    first = registry.register_certificate(empty(), eu, "pem", active=True)
    blocked, activated = registry.deactivate(first, eu), registry.activate(first, us)
    both = join(blocked, activated)
    assert registry.certificate_status(both) is CertificateStatus.INACTIVE
    assert registry.certificate_status(registry.activate(both, us)) is CertificateStatus.ACTIVE


def test_a_certificate_that_nobody_knows_can_be_revoked_and_stays_so():
    eu, us = writers()
    revoked = registry.revoke(empty(), eu)
    known = registry.register_certificate(empty(), us, "pem", active=True)
    for item in (revoked, join(revoked, known), registry.activate(join(known, revoked), us)):
        assert registry.certificate_status(item) is CertificateStatus.REVOKED
    deleted = registry.delete(revoked, eu)
    assert registry.certificate_status(deleted) is CertificateStatus.REVOKED


def test_a_certificate_registered_again_is_not_active_because_of_an_earlier_life():
    eu, _ = writers()
    item = registry.delete(registry.register_certificate(empty(), eu, "pem", active=True), eu)
    assert registry.certificate_status(item) is None
    again = registry.register_certificate(item, eu, "pem", active=False)
    assert registry.certificate_status(again) is CertificateStatus.PENDING_ACTIVATION
    assert registry.certificate_status(registry.activate(again, eu)) is CertificateStatus.ACTIVE


@pytest.mark.parametrize("change", [registry.activate, registry.deactivate, registry.revoke])
def test_every_change_of_status_says_when_it_was(change):
    eu, us = writers()
    item = registry.register_certificate(empty(), eu, "pem", active=False)
    assert item.modified_ms == eu.now_ms
    assert change(item, us).modified_ms == us.now_ms


def test_a_policy_created_again_inherits_no_attachment():
    eu, _ = writers()
    certificate = registry.register_certificate(empty(), eu, "pem", active=True)
    policy = policies.put(empty(registry.POLICY), eu, "k:1")
    (attach,) = registry.attaches(
        registry.attach(empty(registry.ATTACHMENT), eu, policy, certificate)
    )
    again = policies.put(registry.delete(policy, eu), eu, "k:2")
    assert attach.holds_for(policy, certificate)
    assert not attach.holds_for(again, certificate)
    assert not attach.holds_for(policy, registry.delete(certificate, eu))
    assert not attach.holds_for(None, certificate)
    # A concurrent creation of the same policy is no other life: nobody loses rights by it.
    _, us = writers()
    twin = policies.put(empty(registry.POLICY), us, "k:1")
    assert attach.holds_for(join(policy, twin), certificate)


def test_attributes_are_those_of_the_present_life_and_empty_ones_are_gone():
    eu, us = writers()
    item = registry.put_thing(empty(registry.THING), eu, {"a": "1", "b": "2"})
    item = registry.put_thing(item, eu, {"b": "", "c": "3"})
    assert registry.attributes(item) == {"a": "1", "c": "3"}
    assert registry.attributes(registry.delete(item, eu)) == {}
    again = registry.put_thing(registry.delete(item, eu), eu, {"d": "4"})
    assert registry.attributes(again) == {"d": "4"}
    other = registry.put_thing(item, us, {"e": "5"})
    assert registry.attributes(join(registry.put_thing(item, eu, {"a": "9"}), other)) == {
        "a": "9",
        "c": "3",
        "e": "5",
    }


def test_a_default_takes_the_place_of_those_that_were_known():
    eu, us = writers()
    first = policies.put(empty(registry.POLICY), eu, "k:1")
    here, there = policies.put(first, eu, "k:2"), policies.put(first, us, "k:3")
    assert policies.default_versions(here) == ["k:2"]
    both = join(here, there)
    assert policies.default_versions(both) == ["k:2", "k:3"]
    assert policies.default_versions(policies.put(both, eu, "k:4")) == ["k:4"]


def test_a_policy_version_is_written_once():
    eu, us = writers()
    item = policies.put_version(empty(registry.POLICY_VERSION), eu, "{}")
    assert policies.put_version(item, us, "{}") is item
    one, other = policies.version_key("p", 2, "{}"), policies.version_key("p", 2, "{ }")
    assert one != other
