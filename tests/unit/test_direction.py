"""One site's routing: it joins whatever it hears, never goes back, and obeys an intent once."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.contact import INTENTS_MAX, SiteState
from isthmus.core.direction import Answer, Direction, answer_of
from isthmus.core.health import Health, Vote
from isthmus.core.routing import Decision, Intent, Route, Rules, first_route
from isthmus.errors import BrokenInvariant

REGIONS = ("eu", "us", "ap")
SITES = ("eu", "us", "witness")
RULES = Rules(preference=REGIONS, sites=SITES)
NAME = "iot.example.com"
NOW_MS = 1_000_000
AT_EU = Route(NAME, 5, "eu", "It was so.")
HEALTHY, UNHEALTHY, UNKNOWN = Health.HEALTHY, Health.UNHEALTHY, Health.UNKNOWN


def direction(recorded: Route | None = AT_EU, site: str = "eu") -> Direction:
    return Direction(NAME, site, RULES, recorded)


def intent(kind: str = "move", target: str = "us", **changes) -> Intent:
    fields = {"id": "i-1", "if_epoch": 5, "expires_ms": NOW_MS + 1, "target": target} | changes
    return Intent(kind=kind, **fields)


def votes(**health: Health) -> dict[str, Vote]:
    return {region: Vote(each, "it said so.") for region, each in health.items()}


def told(*routes: Route, intents: tuple[Intent, ...] = (), **health: Health) -> SiteState:
    return SiteState(votes(**health), routes, intents)


def judged(recorded: Route | None = AT_EU, **health: Health) -> Direction:
    """A site that all three sites tell the same."""
    mine = direction(recorded)
    for region, vote in votes(**health).items():
        mine.vote(region, vote)
    mine.judge(dict.fromkeys(("us", "witness"), told(**health)))
    return mine


routes = st.builds(
    Route,
    name=st.sampled_from([NAME, NAME, NAME, "other.example.com"]),
    epoch=st.integers(1, 4),
    target=st.sampled_from([*REGIONS, "elsewhere"]),
    reason=st.sampled_from(["", "because"]),
)
#: Versions of one intent differ by what happens to it, never by when it expires.
intents = st.builds(
    lambda number, kind, lifted: intent(
        kind, id=f"i-{number}", expires_ms=NOW_MS + number, if_epoch=3, lifted=lifted
    ),
    st.integers(-1, 3),
    st.sampled_from(["pause", "pin"]),
    st.booleans(),
)
states = st.builds(
    SiteState,
    votes=st.dictionaries(
        st.sampled_from(REGIONS),
        st.builds(Vote, st.sampled_from([HEALTHY, UNHEALTHY, UNKNOWN]), st.just("it said so.")),
    ),
    routes=st.lists(routes, max_size=2).map(tuple),
    intents=st.lists(intents, max_size=3).map(tuple),
)
recorded_routes = st.none() | st.builds(
    Route,
    name=st.just(NAME),
    epoch=st.integers(1, 4),
    target=st.sampled_from(REGIONS),
    reason=st.sampled_from(["", "because"]),
)


def take_in(mine: Direction, known, now_ms: int = NOW_MS) -> None:
    joined = mine.listen(known, now_ms)
    if joined is not None:
        mine.adopt(joined)


def test_a_new_system_starts_with_its_first_region_and_a_known_one_with_its_record():
    assert direction(None).route == first_route(NAME, RULES)
    assert direction().route == AT_EU


def test_a_site_tells_its_votes_its_route_and_its_intents():
    mine = direction()
    mine.vote("us", Vote(HEALTHY, "it answers."))
    pause = intent("pause", "")
    mine.listen([told(intents=(pause,))], NOW_MS)
    state = mine.state()
    assert state == SiteState({"us": Vote(HEALTHY, "it answers.")}, (AT_EU,), (pause,))
    mine.vote("us", Vote(UNHEALTHY, "silence."))
    assert state.votes["us"].health is HEALTHY


@given(recorded_routes, st.lists(st.lists(states, max_size=3), max_size=6), st.data())
def test_the_route_never_goes_back_whatever_is_listened_to(recorded, heard, data):
    mine = direction(recorded)
    for known in heard:
        before = mine.route
        take_in(mine, known)
        mine.judge(dict(zip(("us", "witness"), known, strict=False)))
        decision = mine.decide(data.draw(st.sets(st.sampled_from(SITES))), NOW_MS)
        if decision.route is not None:
            mine.adopt(decision.route)
        after = mine.route
        assert (after.name, after.target in REGIONS) == (NAME, True)
        assert after.epoch >= before.epoch
        if after.epoch == before.epoch:
            assert REGIONS.index(after.target) <= REGIONS.index(before.target)


@given(recorded_routes, st.lists(states, max_size=3))
def test_listening_twice_is_listening_once(recorded, known):
    mine = direction(recorded)
    take_in(mine, iter(known))
    once = mine.state()
    assert mine.listen(known, NOW_MS) is None
    assert mine.state() == once


@given(recorded_routes, st.lists(states, max_size=3))
def test_the_order_of_what_is_listened_to_does_not_matter(recorded, known):
    results = []
    for order in permutations(known):
        mine = direction(recorded)
        for state in order:
            take_in(mine, [state])
        results.append((mine.route, mine.intents))
    together = direction(recorded)
    take_in(together, known)
    assert all(each == (together.route, together.intents) for each in results)


@given(recorded_routes, recorded_routes, states, states)
def test_two_sites_that_heard_each_other_agree(one, other, at_one, at_other):
    here, there = direction(one), direction(other, "us")
    take_in(here, [at_one])
    take_in(there, [at_other])
    take_in(here, [there.state()])
    take_in(there, [here.state()])
    assert (here.route, here.intents) == (there.route, there.intents)


def test_what_is_answered_is_not_adopted_yet():
    mine = direction()
    newer = Route(NAME, 6, "us", "failover")
    assert mine.listen([told(newer)], NOW_MS) == newer
    assert mine.route == AT_EU
    assert judged(eu=UNHEALTHY, us=HEALTHY).decide(SITES, NOW_MS).route is not None
    assert mine.listen([told(Route(NAME, 4, "us", "older"))], NOW_MS) is None


def test_a_route_to_a_region_that_is_not_known_here_waits():
    mine = direction()
    elsewhere = Route(NAME, 9, "mars", "failover")
    assert mine.listen([told(elsewhere)], NOW_MS) is None
    assert mine.listen([told(elsewhere), told(Route(NAME, 6, "us", ""))], NOW_MS) == Route(
        NAME, 6, "us", ""
    )


def test_an_older_route_cannot_be_adopted():
    mine = direction()
    with pytest.raises(BrokenInvariant, match="epoch 4"):
        mine.adopt(Route(NAME, 4, "us", "older"))
    assert mine.route == AT_EU


def test_intents_count_until_they_expire_and_lifted_stays_lifted():
    mine = direction()
    pause = intent("pause", "", expires_ms=NOW_MS + 10)
    lifted = msgspec.structs.replace(pause, lifted=True)
    mine.listen([told(intents=(pause,))], NOW_MS)
    assert mine.intents == {"i-1": pause}
    mine.listen([told(intents=(lifted,)), told(intents=(pause,))], NOW_MS)
    assert mine.intents == {"i-1": lifted}
    mine.listen([], NOW_MS + 9)
    assert mine.intents == {"i-1": lifted}
    mine.listen([told(intents=(pause,))], NOW_MS + 10)
    assert mine.intents == {}


def test_intents_of_others_are_bounded_so_that_our_state_can_be_read():
    mine = direction()
    for first in (0, INTENTS_MAX // 2, INTENTS_MAX):
        many = tuple(intent("pause", "", id=str(first + n)) for n in range(INTENTS_MAX))
        mine.listen([told(intents=many)], NOW_MS)
    body = msgspec.json.encode(mine.state())
    assert len(msgspec.json.decode(body, type=SiteState).intents) == INTENTS_MAX
    refused = mine.answer(intent("pause", "", id="new"), NOW_MS, contacted=True)
    assert refused == Answer(
        False, "32 intents are known already: one must be lifted and expire first."
    )


def test_an_intent_that_others_overtook_is_refused_for_want_of_room():
    """Between the answer and the decision another cycle may have filled the table."""
    mine = direction()
    mine.judge({"us": told(eu=HEALTHY), "witness": told(eu=HEALTHY)})
    late = intent("pause", "", id="late")
    assert mine.answer(late, NOW_MS, contacted=True) is None
    # Of a lower rank, so that it would win.
    many = tuple(intent("pin", "us", id=str(n)) for n in range(INTENTS_MAX))
    mine.listen([told(intents=many)], NOW_MS)
    decision = mine.decide(["eu", "us"], NOW_MS, late)
    assert "late" in decision.refused
    assert "late" not in mine.intents


def test_a_verdict_is_answered_when_its_health_changes():
    mine = direction()
    heard = {"us": told(eu=UNHEALTHY, us=HEALTHY), "witness": told(eu=UNHEALTHY)}
    first = {verdict.region: verdict.health for verdict in mine.judge(heard)}
    assert first == {"eu": UNHEALTHY, "us": UNKNOWN, "ap": UNKNOWN}
    assert mine.judge(heard) == []
    mine.vote("us", Vote(HEALTHY, "it answers."))
    assert [(verdict.region, verdict.health) for verdict in mine.judge(heard)] == [("us", HEALTHY)]
    assert mine.verdicts["us"].votes == {"eu": HEALTHY, "us": HEALTHY}
    assert {verdict.region for verdict in mine.judge({})} == {"eu", "us"}
    assert mine.verdicts["eu"].health is UNKNOWN


def test_nobody_else_votes_for_this_site():
    mine = direction()
    mine.vote("eu", Vote(HEALTHY, "it answers."))
    mine.judge({"eu": told(eu=UNHEALTHY), "us": told(eu=UNHEALTHY)})
    assert mine.verdicts["eu"].votes == {"eu": HEALTHY, "us": UNHEALTHY}


kinds = st.sampled_from([HEALTHY, UNHEALTHY, UNKNOWN])


@given(st.dictionaries(st.sampled_from(SITES), st.fixed_dictionaries({"eu": kinds, "us": kinds})))
def test_a_failover_agrees_with_a_naive_count_of_our_vote_and_those_heard(health):
    mine = direction()
    for region, vote in votes(**health.get("eu", {})).items():
        mine.vote(region, vote)
    heard = {site: told(**each) for site, each in health.items() if site != "eu"}
    mine.judge(heard)
    decision = mine.decide({"eu", *heard}, NOW_MS)
    against = sum(each["eu"] is UNHEALTHY for each in health.values())
    behind = sum(each["us"] is HEALTHY for each in health.values())
    moves = against >= 2 and behind >= 2
    assert (decision.route is not None) is moves
    if decision.route is not None:
        assert (decision.route.epoch, decision.route.target) == (6, "us")


@pytest.mark.parametrize("kind", ["pause", "pin"])
def test_what_holds_the_name_is_kept_once_it_is_obeyed(kind):
    mine = judged(eu=HEALTHY, us=HEALTHY)
    wanted = intent(kind)
    assert mine.answer(wanted, NOW_MS, contacted=True) is None
    decision = mine.decide(SITES, NOW_MS, wanted)
    assert answer_of(decision, wanted) == Answer(True, decision.reason)
    assert mine.intents == {"i-1": wanted}
    state = f"The {kind} 'i-1' is already in force."
    assert mine.answer(wanted, NOW_MS, contacted=True) == Answer(True, state)


def test_a_move_is_done_once_and_kept_nowhere():
    mine = judged(eu=HEALTHY, us=HEALTHY)
    wanted = intent()
    assert mine.answer(wanted, NOW_MS, contacted=True) is None
    decision = mine.decide(SITES, NOW_MS, wanted)
    assert decision.route is not None
    mine.adopt(decision.route)
    assert (mine.route.epoch, mine.route.target, mine.intents) == (6, "us", {})
    again = mine.answer(wanted, NOW_MS, contacted=True)
    assert again == Answer(True, f"{NAME} is already at us.")


def test_an_intent_that_lost_to_another_one_is_refused_and_not_kept():
    mine = judged(eu=HEALTHY, us=HEALTHY)
    mine.listen([told(intents=(intent("pause", "", id="p"),))], NOW_MS)
    pin = intent("pin")
    assert mine.answer(pin, NOW_MS, contacted=True) is None
    decision = mine.decide(SITES, NOW_MS, pin)
    accepted, reason = answer_of(decision, pin)
    assert (accepted, "Paused by intent 'p'" in reason) == (False, True)
    assert set(mine.intents) == {"p"}


@pytest.mark.parametrize(
    ("changes", "contacted", "why"),
    [
        ({"if_epoch": 4}, True, "if_epoch is 4, but the route of iot.example.com has 5."),
        ({"expires_ms": NOW_MS}, True, "move 'i-1' has expired."),
        ({"target": "ap"}, True, "target ap is unknown"),
        ({}, False, "this site has not heard from a majority of the sites since it started."),
    ],
)
def test_an_intent_is_refused_with_its_reason(changes, contacted, why):
    mine = judged(eu=HEALTHY, us=HEALTHY)
    answer = mine.answer(intent(**changes), NOW_MS, contacted=contacted)
    assert answer is not None
    assert (answer.accepted, answer.reason.startswith(why)) == (False, True)


def test_force_needs_no_contact():
    assert judged().answer(intent(force=True), NOW_MS, contacted=False) is None


def test_lifting_ends_what_is_in_force_and_nothing_else():
    mine = judged(eu=HEALTHY, us=HEALTHY)
    pause = intent("pause", "")
    lifted = msgspec.structs.replace(pause, lifted=True)
    assert mine.lift(lifted) == Answer(False, "no intent 'i-1' is in force.")
    mine.decide(SITES, NOW_MS, pause)
    assert mine.decide(SITES, NOW_MS).reason == "Paused by intent 'i-1': eu stays."
    assert mine.lift(lifted) == Answer(True, "The pause 'i-1' is lifted.")
    assert mine.decide(SITES, NOW_MS) == Decision(None, "eu is healthy: it stays.", {})
    already = Answer(True, "The pause 'i-1' is already lifted.")
    assert mine.answer(pause, NOW_MS, contacted=True) == already
