"""Of each group one member gets a message: the right one, and never two."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.core.batch import Share
from isthmus.core.session import Granted
from isthmus.core.sessions import Left, Owner, State
from isthmus.core.shares import Groups
from isthmus.wire.topics import matches, shared_filter

NOW_MS = 1_000_000
TOPICS = ("a", "a/b", "b")
FILTERS = (
    "$share/g/a",
    "$share/h/a",
    "$share/g/a/#",
    "$share/h/+/b",
    "$share/g/#",
    "a/#",
    "#",
)


def state(filters=FILTERS[:1], *, region="eu", expiry_s=0, left_ms=None, dialect="aws") -> State:
    owner = Owner(
        region=region, gateway="g", turn=0, level=5, dialect=dialect, expiry_s=expiry_s, places={}
    )
    left = None
    if left_ms is not None:
        left = Left(at_ms=left_ms, expiry_s=expiry_s, places={})
    return State(1, owner, left, dict.fromkeys(filters, Granted(1)))


STATES = st.builds(
    state,
    st.sets(st.sampled_from(FILTERS)),
    region=st.sampled_from(["eu", "us"]),
    expiry_s=st.sampled_from([0, 5, 100]),
    left_ms=st.sampled_from([None, NOW_MS - 10_000]),
    dialect=st.sampled_from(["aws", "standard"]),
)


def groups_of(members: dict[str, State]) -> Groups:
    groups = Groups("eu")
    for client, each in members.items():
        groups.note(client, each)
    return groups


def choose(groups: Groups, topic: str, *, is_everywhere=False, pick=lambda count: 0):
    return groups.choose(topic, is_everywhere=is_everywhere, now_ms=NOW_MS, pick=pick)


def candidates(members: dict[str, State], dialect: str, name: str, is_everywhere: bool) -> set[str]:
    """Who may be chosen of a group, straight from the rules."""
    of_group = {
        client: each
        for client, each in members.items()
        if each.owner.dialect == dialect and name in each.filters
    }
    connected = {client: each.owner.region for client, each in of_group.items() if not each.left}
    here = {client for client, region in connected.items() if region == "eu"}
    away = {
        client
        for client, each in of_group.items()
        if each.left and each.left.at_ms + each.left.expiry_s * 1000 > NOW_MS
    }
    return here or (set(connected) if is_everywhere else set()) or away


@given(
    st.dictionaries(st.sampled_from("stuvwxyz"), st.lists(STATES, min_size=1, max_size=3)),
    st.sampled_from(TOPICS),
    st.booleans(),
    st.randoms(use_true_random=False),
)
@example({"x": [state(["$share/g/a/#"])]}, "a", False, None)
@example({"x": [state(["$share/g/a/#"], dialect="standard")]}, "a", False, None)
def test_every_group_that_wants_a_message_has_one_member_who_gets_it(
    histories, topic, is_everywhere, random
):
    groups = Groups("eu")
    for client, states in histories.items():
        for each in states:
            groups.note(client, each)
    members = {client: states[-1] for client, states in histories.items()}
    pick = (lambda count: 0) if random is None else random.randrange
    found = choose(groups, topic, is_everywhere=is_everywhere, pick=pick)
    wanted = {
        (dialect, name): candidates(members, dialect, name, is_everywhere)
        for dialect in ("aws", "standard")
        for name in FILTERS[:5]
        if matches(shared_filter(name), topic, dialect=dialect)
    }
    chosen = sorted((members[each.client].owner.dialect, each.topic_filter) for each in found)
    assert chosen == sorted(group for group, clients in wanted.items() if clients)
    for each in found:
        dialect = members[each.client].owner.dialect
        assert each.client in wanted[dialect, each.topic_filter]


def test_everybody_is_chosen_at_some_time():
    groups = groups_of({name: state() for name in "xyz"})
    chosen = [choose(groups, "a", pick=lambda count, at=at: at) for at in range(3)]
    assert sorted(each[0].client for each in chosen) == ["x", "y", "z"]


def test_whoever_has_left_for_good_is_no_member():
    groups = groups_of({"x": state(), "y": state()})
    groups.note("x", state(left_ms=NOW_MS))
    assert choose(groups, "a") == (Share("y", "$share/g/a"),)
    groups.note("y", state(filters=()))
    assert choose(groups, "a") == ()
    assert not groups


def test_another_member_is_found_for_what_one_did_not_take():
    groups = groups_of({"x": state(), "y": state(), "z": state(["$share/h/a"])})

    def again(share: Share) -> Share | None:
        return groups.choose_again(
            share, is_everywhere=False, now_ms=NOW_MS, pick=lambda count: count - 1
        )

    assert again(Share("x", "$share/g/a")) == Share("y", "$share/g/a")
    assert again(Share("z", "$share/h/a")) is None


def test_what_a_shared_subscription_matches_by():
    assert shared_filter("$share/g/a/+/#") == "a/+/#"
    for none in ("$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/g+/a", "a/b/c"):
        assert shared_filter(none) == ""
