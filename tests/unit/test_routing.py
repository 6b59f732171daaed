"""Routes join, failovers need their majority, intents rank, a cut-off site writes nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.health import Health, Verdict, Vote, verdict_of
from isthmus.core.routing import (
    Decision,
    Intent,
    Route,
    Rules,
    check_failover_has_majority,
    check_one_route_per_epoch,
    check_route_never_goes_back,
    decide,
    first_route,
    join,
    join_intents,
    refusal,
    served_target,
)
from isthmus.errors import BrokenInvariant

REGIONS = ("eu", "us", "ap")
SITES = ("eu", "us", "witness")
RULES = Rules(preference=REGIONS, sites=SITES)
NAME = "iot.example.com"
NOW_MS = 1_000_000
AT_EU = Route(NAME, 5, "eu", "It was so.")
HEALTHY, UNHEALTHY, UNKNOWN = Health.HEALTHY, Health.UNHEALTHY, Health.UNKNOWN

routes = st.builds(
    Route,
    name=st.just(NAME),
    epoch=st.integers(1, 3),
    target=st.sampled_from([*REGIONS, "elsewhere"]),
    reason=st.sampled_from(["", "because", "why not"]),
    votes=st.dictionaries(st.sampled_from(SITES), st.sampled_from(Health)),
)
votes_by_site = st.dictionaries(
    st.sampled_from(SITES),
    st.fixed_dictionaries(
        {region: st.sampled_from([HEALTHY, UNHEALTHY, UNKNOWN]) for region in REGIONS}
    ),
)


def verdicts_from(votes: dict[str, dict[str, Health]], rules: Rules = RULES) -> dict[str, Verdict]:
    return {
        region: verdict_of(
            region,
            {site: Vote(each[region], "it said so.") for site, each in votes.items()},
            rules.sites,
        )
        for region in rules.preference
    }


def seen(**health: Health) -> dict[str, Verdict]:
    """Verdicts that every site agrees on."""
    every = {region: health.get(region, UNKNOWN) for region in REGIONS}
    return verdicts_from(dict.fromkeys(SITES, every))


def decided(verdicts: dict[str, Verdict], *intents: Intent, route: Route = AT_EU) -> Decision:
    return decide(route, verdicts, SITES, RULES, intents, NOW_MS)


def intent(kind: str = "move", target: str = "us", **changes) -> Intent:
    fields = {"id": "i-1", "if_epoch": 5, "expires_ms": NOW_MS + 1, "target": target} | changes
    return Intent(kind=kind, **fields)


@given(routes, routes, routes)
def test_join_is_commutative_associative_and_idempotent(a, b, c):
    def joined(one, other):
        return join(one, other, REGIONS)

    assert joined(a, b) == joined(b, a)
    assert joined(joined(a, b), c) == joined(a, joined(b, c))
    assert joined(a, a) == a
    assert joined(a, b).epoch == max(a.epoch, b.epoch)
    check_one_route_per_epoch(a, b, REGIONS)
    check_route_never_goes_back(a, joined(a, b), REGIONS)


def test_equal_epochs_fall_to_the_preferred_region():
    to_us, to_ap = Route(NAME, 6, "us", "z"), Route(NAME, 6, "ap", "a")
    assert join(to_ap, to_us, REGIONS) == to_us
    assert join(to_ap, to_us, ("eu", "ap", "us")) == to_ap
    assert join(to_us, Route(NAME, 7, "ap", ""), REGIONS).target == "ap"


def test_an_older_plan_never_replaces_a_newer_one():
    with pytest.raises(BrokenInvariant, match="epoch 4"):
        check_route_never_goes_back(AT_EU, Route(NAME, 4, "us", ""), REGIONS)


def test_a_new_system_starts_alike_everywhere():
    assert first_route(NAME, RULES) == first_route(NAME, Rules(REGIONS, ("us", "eu")))
    assert (first_route(NAME, RULES).epoch, first_route(NAME, RULES).target) == (1, "eu")


def test_failover_goes_to_the_first_healthy_region_in_order_of_preference():
    decision = decided(seen(eu=UNHEALTHY, us=HEALTHY, ap=HEALTHY))
    assert decision.route is not None
    assert (decision.route.epoch, decision.route.target) == (6, "us")
    assert decision.route.votes == dict.fromkeys(SITES, UNHEALTHY)
    assert decision.reason.startswith("3 of 3 configured sites say that eu is unhealthy")
    assert decision.reason.endswith("us is healthy.")
    skipped = decided(seen(eu=UNHEALTHY, us=UNKNOWN, ap=HEALTHY)).route
    assert skipped is not None
    assert skipped.target == "ap"


def test_nothing_moves_where_no_other_region_is_known_healthy():
    decision = decided(seen(eu=UNHEALTHY, us=UNHEALTHY))
    assert decision.route is None
    assert decision.reason == (
        "eu is unhealthy, but no other region is known to be healthy: it stays."
    )


def test_a_former_target_that_is_healthy_again_changes_nothing():
    at_us = Route(NAME, 6, "us", "failover")
    decision = decided(seen(eu=HEALTHY, us=HEALTHY), route=at_us)
    assert decision == Decision(None, "us is healthy: it stays.", {})


@given(votes_by_site, st.sampled_from(REGIONS))
def test_a_failover_agrees_with_a_naive_count(votes, target):
    route = Route(NAME, 5, target, "")
    against = [site for site in votes if votes[site][target] is UNHEALTHY]
    healthy = [
        region
        for region in REGIONS
        if sum(votes[site][region] is HEALTHY for site in votes) * 2 > len(SITES)
    ]
    decision = decide(route, verdicts_from(votes), votes, RULES, (), NOW_MS)
    if len(against) * 2 > len(SITES) and healthy:
        assert decision.route is not None
        assert (decision.route.epoch, decision.route.target) == (6, healthy[0])
        check_failover_has_majority(verdicts_from(votes)[target], RULES)
    else:
        assert decision.route is None


@given(st.integers(1, 7), st.data())
def test_a_minority_never_writes_an_epoch(count, data):
    sites = tuple(f"site-{number}" for number in range(count))
    rules = Rules(REGIONS, sites)
    heard = data.draw(st.sets(st.sampled_from(sites), max_size=(count - 1) // 2 + (count % 2 == 0)))
    if len(heard) * 2 > count:
        return
    kinds = st.sampled_from([HEALTHY, UNHEALTHY])
    votes = {site: {region: data.draw(kinds) for region in REGIONS} for site in heard}
    decision = decide(AT_EU, verdicts_from(votes, rules), heard, rules, (), NOW_MS)
    assert decision.route is None


def test_verdicts_of_a_majority_count_for_nothing_if_it_is_not_heard():
    verdicts = seen(eu=UNHEALTHY, us=HEALTHY)
    decision = decide(AT_EU, verdicts, ["eu", "mallory"], RULES, (), NOW_MS)
    assert decision == Decision(None, "1 of 3 configured sites are heard, 2 must be: eu stays.", {})


def test_a_verdict_without_its_votes_moves_nothing():
    forged = seen(us=HEALTHY) | {"eu": Verdict("eu", UNHEALTHY, "trust me", {"eu": UNHEALTHY})}
    assert decided(forged).route is None
    with pytest.raises(BrokenInvariant, match="minority"):
        check_failover_has_majority(forged["eu"], RULES)


def test_an_operator_moves_to_a_healthy_region():
    decision = decided(seen(eu=HEALTHY, us=HEALTHY), intent())
    assert decision.route == Route(NAME, 6, "us", "An operator's move 'i-1' to us.")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"if_epoch": 4}, "if_epoch is 4, but the route of iot.example.com has 5."),
        ({"expires_ms": NOW_MS}, "move 'i-1' has expired."),
        ({"target": "mars"}, "target 'mars' is not one of eu, us, ap."),
        ({"target": "ap"}, "target ap is unknown: 0 of 3 configured sites say that ap is healthy"),
    ],
)
def test_an_intent_is_refused_with_its_reason(changes, why):
    wanted = intent(**changes)
    verdicts = seen(eu=HEALTHY, us=HEALTHY)
    decision = decided(verdicts, wanted)
    assert decision.route is None
    assert decision.refused["i-1"].startswith(why)
    assert refusal(wanted, AT_EU, verdicts, RULES, NOW_MS).startswith(why)


def test_force_moves_to_a_region_that_is_not_known_to_be_healthy_but_not_to_an_unknown_one():
    forced = decided(seen(), intent(force=True)).route
    assert forced is not None
    assert forced.target == "us"
    assert forced.reason.endswith("by force.")
    assert decided(seen(), intent(force=True, target="mars")).route is None
    assert decided(seen(), intent(force=True, if_epoch=4)).route is None


def test_pause_ranks_before_pin_before_move_and_losers_are_reported():
    verdicts = seen(eu=UNHEALTHY, us=HEALTHY, ap=HEALTHY)
    move, pin = intent(id="m"), intent("pin", "ap", id="n")
    pause = intent("pause", "", id="p")
    decision = decided(verdicts, move, pin, pause)
    assert decision.route is None
    assert decision.reason == "Paused by intent 'p': eu stays."
    assert set(decision.refused) == {"m", "n"}
    assert "Paused by intent 'p'" in decision.refused["m"]
    pinned = decided(verdicts, move, pin)
    assert pinned.route is not None
    assert pinned.route.target == "ap"
    assert set(pinned.refused) == {"m"}


def test_a_pin_holds_even_a_region_that_died_until_it_expires_or_is_lifted():
    pin = intent("pin", "us")
    pinned = decided(seen(eu=HEALTHY, us=HEALTHY), pin).route
    assert pinned is not None
    dead = seen(eu=HEALTHY, us=UNHEALTHY)
    assert decided(dead, pin, route=pinned) == Decision(None, "Pinned to us by intent 'i-1'.", {})
    for ended in (intent("pin", "us", lifted=True), intent("pin", "us", expires_ms=NOW_MS)):
        failover = decided(dead, ended, route=pinned).route
        assert failover is not None
        assert (failover.epoch, failover.target) == (7, "eu")


def test_a_pin_that_lost_its_epoch_to_another_route_is_reported_and_holds_nothing():
    pin = intent("pin", "us")
    other = Route(NAME, 6, "ap", "An operator's move.")
    decision = decided(seen(eu=HEALTHY, ap=UNHEALTHY), pin, route=other)
    assert decision.refused["i-1"].startswith("if_epoch is 5")
    assert decision.route is not None
    assert decision.route.target == "eu"


def test_a_move_to_where_the_name_already_is_writes_no_epoch():
    decision = decided(seen(eu=HEALTHY), intent(target="eu"))
    assert decision == Decision(None, "iot.example.com is already at eu.", {})


@given(st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["us", "ap"]))
def test_intents_join_and_lifted_stays_lifted(a, b, c, target):
    x, y, z = intent(lifted=a), intent(lifted=b, target=target), intent(lifted=c, force=True)
    assert join_intents(x, y) == join_intents(y, x)
    assert join_intents(join_intents(x, y), z) == join_intents(x, join_intents(y, z))
    assert join_intents(x, x) == x
    assert join_intents(x, y).lifted is (a or b)


def test_a_lift_lasts_as_long_as_what_it_lifts():
    held = intent(expires_ms=20_000)
    lifted = msgspec.structs.replace(held, if_epoch=held.if_epoch + 1, expires_ms=10, lifted=True)
    for joined in (join_intents(held, lifted), join_intents(lifted, held)):
        assert joined.lifted
        assert joined.expires_ms == 20_000


def test_a_cut_off_site_keeps_the_last_route_unless_its_own_probes_say_it_is_dead():
    kept = served_target(AT_EU, {"eu": UNKNOWN, "us": HEALTHY}, ["us"], RULES)
    assert (kept.target, kept.override) == ("eu", False)
    over = served_target(AT_EU, {"eu": UNHEALTHY, "us": HEALTHY}, ["us"], RULES)
    assert (over.target, over.override) == ("us", True)
    blind = served_target(AT_EU, {"eu": UNHEALTHY, "us": UNHEALTHY}, ["us"], RULES)
    assert (blind.target, blind.override) == ("eu", False)


def test_an_override_is_dropped_on_contact():
    own = {"eu": UNHEALTHY, "us": HEALTHY}
    assert served_target(AT_EU, own, ["us", "witness"], RULES).target == "eu"
    assert served_target(AT_EU, own, ["us", "mallory"], RULES).override
