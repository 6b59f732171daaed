"""A region goes on alone after real silence only, and until a peer has confirmed the head."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.core.alone import AloneKeeper, AloneState
from isthmus.core.confirm import Watermarks

NOBODY = Watermarks()
TICK_S = 0.1


def keeper(state: AloneState | None = None, *, peers: int = 1) -> AloneKeeper:
    return AloneKeeper(state or AloneState(), peers, 1.0, 0.0)


def run(each: AloneKeeper, from_s: float, to_s: float, stored=None, confirmed=NOBODY):
    """Tick as the services do, until a decision falls; apply it, and say when and what."""
    for number in range(1, round((to_s - from_s) / TICK_S) + 1):
        now_s = from_s + number * TICK_S
        decision = each.tick(now_s, int(now_s * 1000), stored or {}, confirmed)
        if decision is not None:
            each.entered(decision[0])
            return now_s, decision
    return None


def test_silence_of_all_peers_makes_a_region_alone_and_it_says_so():
    now_s, (state, reason) = run(keeper(), 0.0, 3.0)
    assert 1.0 <= now_s < 1.0 + 2 * TICK_S
    assert state == AloneState(True, 1, int(now_s * 1000))
    assert "no peer was heard" in reason
    assert "goes on alone" in reason


def test_a_region_that_has_no_peers_is_never_alone():
    assert run(keeper(peers=0), 0.0, 5.0) is None


def test_a_peer_that_is_heard_keeps_a_region_from_being_alone():
    each = keeper()
    for number in range(50):
        each.heard(number * TICK_S)
        assert each.tick(number * TICK_S + 0.05, 0, {}, NOBODY) is None


def test_it_stays_alone_while_it_does_not_know_its_own_head():
    """A process that has just started has read nothing yet: that is not to have nothing."""
    each = keeper(AloneState(True, 1))
    each.heard(0.05)
    assert each.tick(0.1, 0, None, Watermarks({"w": 9})) is None
    each.heard(0.15)
    assert each.tick(0.2, 0, {"w": 10}, Watermarks({"w": 9})) is None
    each.heard(0.25)
    assert each.tick(0.3, 0, {"w": 10}, Watermarks({"w": 10})) is not None


def test_it_comes_back_when_a_peer_has_confirmed_what_was_the_head_at_contact():
    each = keeper()
    now_s, _ = run(each, 0.0, 2.0)
    each.heard(now_s)
    assert each.tick(now_s + 0.1, 0, {"w": 5}, Watermarks({"w": 4})) is None
    # The head moves on under load; what is waited for does not.
    each.heard(now_s + 0.1)
    state, reason = each.tick(now_s + 0.2, 0, {"w": 9}, Watermarks({"w": 5}))
    assert (state.alone, state.ending, state.epoch) == (True, True, 2)
    assert not state.answers
    assert "confirmed the head" in reason


def ending(each: AloneKeeper) -> float:
    """Bring a region to where it acknowledges nothing alone any more; say when."""
    now_s, _ = run(each, 0.0, 2.0)
    each.heard(now_s + 0.1)
    state, _ = each.tick(now_s + 0.1, 0, {"w": 5}, Watermarks({"w": 5}))
    each.entered(state)
    return now_s + 0.1


def heard_and_ticked(each: AloneKeeper, from_s: float, to_s: float, stored, confirmed):
    """Tick in contact; return the first decision and when it fell."""
    for number in range(1, round((to_s - from_s) / TICK_S) + 1):
        now_s = from_s + number * TICK_S
        each.heard(now_s)
        decision = each.tick(now_s, 0, stored, confirmed)
        if decision is not None:
            return now_s, decision
    return None


def test_what_was_acknowledged_alone_after_the_head_is_waited_for_too():
    each = keeper()
    since_s = ending(each)
    # Gateways have a second to hear of it; then the head is read once more.
    assert heard_and_ticked(each, since_s, since_s + 0.9, {"w": 7}, Watermarks({"w": 9})) is None
    assert (
        heard_and_ticked(each, since_s + 0.9, since_s + 3, {"w": 7}, Watermarks({"w": 6})) is None
    )
    _, (state, reason) = heard_and_ticked(
        each, since_s + 3, since_s + 4, {"w": 9}, Watermarks({"w": 7})
    )
    assert (state.alone, state.epoch) == (False, 3)
    assert "not alone any more" in reason


def test_the_second_that_gateways_have_begins_when_the_state_is_on_disk():
    """They are told after it was written, however long that took."""
    each = keeper()
    now_s, _ = run(each, 0.0, 2.0)
    each.heard(now_s + 0.1)
    state, _ = each.tick(now_s + 0.1, 0, {"w": 5}, Watermarks({"w": 5}))
    written_s = now_s + 0.5
    for number in range(4):
        each.heard(now_s + 0.2 + number * TICK_S)
    each.entered(state)
    early = heard_and_ticked(each, written_s, written_s + 0.9, {"w": 5}, Watermarks({"w": 5}))
    assert early is None
    assert heard_and_ticked(each, written_s + 0.9, written_s + 3, {"w": 5}, Watermarks({"w": 5}))


def test_a_peer_that_falls_silent_on_the_way_out_leaves_the_region_answering_alone_again():
    each = keeper()
    since_s = ending(each)
    now_s, (state, _) = run(each, since_s, since_s + 3)
    assert now_s >= since_s + 1.0
    assert state.answers
    assert state.epoch == 3


def test_a_head_from_before_a_second_silence_does_not_count():
    each = keeper()
    now_s, _ = run(each, 0.0, 2.0)
    each.heard(now_s)
    assert each.tick(now_s + 0.1, 0, {"w": 5}, NOBODY) is None
    assert run(each, now_s + 0.1, now_s + 2.1, {"w": 9}) is None
    each.heard(now_s + 2.1)
    assert each.tick(now_s + 2.2, 0, {"w": 9}, Watermarks({"w": 8})) is None
    assert each.tick(now_s + 2.3, 0, {"w": 9}, Watermarks({"w": 9})) is not None


def test_a_region_that_starts_alone_stays_so_until_it_hears_a_peer():
    """Nothing was stored since the start, and nobody was heard: nothing has been confirmed."""
    each = keeper(AloneState(True, 3, 0))
    assert run(each, 0.0, 0.5) is None
    # The decision on the incarnation may take half a minute before the first tick.
    assert run(each, 30.0, 30.5) is None
    each.heard(30.5)
    assert run(each, 30.5, 30.7) is not None


def test_a_region_that_was_paused_while_alone_stays_so_until_it_hears_a_peer():
    each = keeper()
    run(each, 0.0, 2.0)
    assert run(each, 22.0, 24.0) is None
    each.heard(24.0)
    assert run(each, 24.0, 24.2) is not None


def test_what_was_heard_before_a_pause_ends_nothing_after_it():
    each = keeper()
    now_s, _ = run(each, 0.0, 2.0)
    each.heard(now_s)
    assert each.tick(now_s + 0.1, 0, {"w": 5}, NOBODY) is None
    assert each.tick(now_s + 20.0, 0, {"w": 5}, Watermarks({"w": 5})) is None
    each.heard(now_s + 20.0)
    assert each.tick(now_s + 20.1, 0, {"w": 5}, Watermarks({"w": 5})) is not None


@given(st.floats(0.0, 30.0))
@example(0.92)
def test_a_pause_of_any_length_is_not_mistaken_for_the_silence_of_others(paused_s):
    """After a pause the first tick runs before the heartbeats that wait in the socket are read."""
    each = keeper()
    now_s = 0.0
    for number in range(10):
        now_s = number * TICK_S
        each.heard(now_s)
        assert each.tick(now_s + 0.05, 0, {}, NOBODY) is None
    now_s += 0.1 + paused_s
    assert each.tick(now_s, 0, {}, NOBODY) is None
    each.heard(now_s)
    assert each.tick(now_s + TICK_S, 0, {}, NOBODY) is None


def test_what_was_made_durable_late_never_undoes_a_newer_state():
    each = keeper()
    each.entered(AloneState(True, 5, 0))
    each.entered(AloneState(False, 4, 0))
    assert each.state == AloneState(True, 5, 0)


def test_nothing_takes_effect_before_it_is_durable():
    each = keeper()
    for number in range(1, 20):
        each.tick(number * TICK_S, 0, {}, NOBODY)
    assert not each.state.alone


STEPS = st.lists(
    st.tuples(
        st.floats(0.01, 0.2) | st.floats(2.0, 9.0),
        st.booleans(),
        st.integers(0, 2),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=60,
)


@given(STEPS)
def test_in_any_history_alone_means_silence_and_leaving_means_a_confirmed_head(steps):
    each = keeper()
    now_s, heard_s, stored, confirmed = 0.0, 0.0, {"w": 0}, Watermarks()
    heard_since_pause = False
    for passed_s, hears, sent, reported, durable in steps:
        now_s += passed_s
        if passed_s > 1.0:
            heard_since_pause = False
        elif hears:
            each.heard(now_s)
            heard_s, heard_since_pause = now_s, True
        stored = {"w": stored["w"] + sent}
        confirmed.raise_to("w", min(reported, stored["w"]))
        decision = each.tick(now_s, 0, stored, confirmed)
        if decision is None:
            continue
        state, _ = decision
        assert state.epoch == each.state.epoch + 1
        assert state.alone != each.state.alone
        if state.alone:
            assert now_s - heard_s >= 1.0
            assert passed_s < 1.0
        else:
            assert heard_since_pause
            assert now_s - heard_s < 1.0
        if durable:
            each.entered(state)
    assert each.deadline_s() <= now_s + 1.0
