"""What the peers have is what they said last, under the incarnation that they have now."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.cursor import Cursor
from isthmus.core.peers import Peers

LOG = Cursor("e1", 5, "m5")


def test_a_region_that_heard_nobody_has_no_confirmation():
    peers = Peers()
    assert peers.confirmed().snapshot() == {}
    assert peers.applied("e1", 0) == ()
    assert not peers.heard_within("us", 0.0, 1000.0)


def test_a_report_is_news_when_it_moves_the_cursor():
    peers = Peers()
    assert peers.heard("us", "u1", Cursor(), {}, 0.0)
    assert not peers.heard("us", "u1", Cursor(), {"w": 1}, 0.1)
    assert peers.heard("us", "u1", LOG, {}, 0.2)
    assert not peers.heard("us", "u1", LOG, {}, 0.3)
    assert peers.heard("us", "u1", Cursor("e1", 5, "other"), {}, 0.4)
    assert peers.heard("us", "u1", Cursor("e2"), {}, 0.5)
    assert peers.heard("ap", "a1", Cursor("e2"), {}, 0.6)


def test_a_report_that_says_nothing_of_a_writer_takes_nothing_back():
    peers = Peers()
    peers.heard("us", "u1", LOG, {"w": 3}, 0.0)
    peers.heard("us", "u1", LOG, {"v": 1}, 0.1)
    assert peers.confirmed().snapshot() == {"w": 3, "v": 1}


def test_what_a_peer_held_under_another_incarnation_is_no_longer_counted_on():
    peers = Peers()
    peers.heard("us", "u1", LOG, {"w": 3, "v": 2}, 0.0)
    peers.heard("us", "u2", LOG, {"w": 1}, 0.1)
    assert peers.confirmed().snapshot() == {"w": 1}


def test_one_peer_that_starts_again_takes_nothing_from_what_another_has():
    peers = Peers()
    peers.heard("us", "u1", LOG, {"w": 3}, 0.0)
    peers.heard("ap", "a1", LOG, {"w": 2}, 0.0)
    peers.heard("us", "u2", LOG, {}, 0.1)
    assert peers.confirmed().snapshot() == {"w": 2}


def test_what_was_asked_for_is_not_changed_by_the_next_report():
    peers = Peers()
    peers.heard("us", "u1", LOG, {"w": 1}, 0.0)
    before = peers.confirmed()
    peers.heard("us", "u1", LOG, {"w": 2}, 0.1)
    assert before.snapshot() == {"w": 1}
    before.raise_to("w", 9)
    assert peers.confirmed().snapshot() == {"w": 2}


def test_a_peer_is_heard_from_as_long_as_its_newest_report_is_fresh():
    peers = Peers()
    peers.heard("us", "u1", LOG, {}, 1.0)
    assert peers.heard_within("us", 2.0, 1.0)
    assert not peers.heard_within("us", 2.1, 1.0)
    assert not peers.heard_within("ap", 2.0, 1.0)
    peers.heard("us", "u1", LOG, {}, 2.1)
    assert peers.heard_within("us", 3.0, 1.0)


def test_a_peer_has_applied_what_is_not_past_its_cursor():
    peers = Peers()
    peers.heard("us", "u1", LOG, {}, 0.0)
    peers.heard("ap", "a1", Cursor("e1", 6, "m6"), {}, 0.0)
    assert peers.applied("e1", 5) == ("ap", "us")
    assert peers.applied("e1", 6) == ("ap",)
    assert peers.applied("e1", 7) == ()


def test_a_cursor_in_a_former_log_of_ours_says_nothing_of_this_one():
    peers = Peers()
    peers.heard("us", "u1", Cursor("e1", 100, "m100"), {}, 0.0)
    assert peers.applied("e2", 5) == ()
    peers.heard("us", "u1", Cursor("e2", 4, "n4"), {}, 0.1)
    assert peers.applied("e2", 5) == ()
    assert peers.applied("e2", 4) == ("us",)
    assert peers.applied("e1", 4) == ()


REPORTS = st.lists(
    st.tuples(
        st.sampled_from(["us", "ap"]),
        st.sampled_from(["i1", "i2"]),
        st.builds(Cursor, st.sampled_from(["e1", "e2"]), st.integers(0, 3)),
        st.dictionaries(st.sampled_from(["w", "v"]), st.integers(1, 5)),
    ),
    max_size=20,
)


def of_this_incarnation(reports, region):
    """The newest reports of a region, back to its last start."""
    own = [report for report in reports if report[0] == region]
    starts = [n for n in range(1, len(own)) if own[n][1] != own[n - 1][1]]
    return own[starts[-1] if starts else 0 :]


@given(REPORTS)
def test_in_any_history_only_what_a_peer_said_since_its_start_counts(reports):
    peers = Peers()
    for now, (region, incarnation, log, writers) in enumerate(reports):
        known = [each[2] for each in reports[:now] if each[0] == region]
        is_news = peers.heard(region, incarnation, log, writers, float(now))
        assert is_news == (known[-1:] != [log])
    held: dict[str, int] = {}
    for region in ("us", "ap"):
        for *_, writers in of_this_incarnation(reports, region):
            held = {w: max(held.get(w, 0), writers.get(w, 0)) for w in held | writers}
    assert peers.confirmed().snapshot() == held
    newest = {region: log for region, _, log, _ in reports}
    for incarnation in ("e1", "e2"):
        for revision in range(4):
            assert set(peers.applied(incarnation, revision)) == {
                region
                for region, log in newest.items()
                if log.incarnation == incarnation and log.sequence >= revision
            }


def test_what_a_peer_answers_that_it_holds_counts_like_what_it_reports():
    peers = Peers()
    peers.holds("us", "i", {"w": 5})
    assert peers.confirmed().snapshot() == {"w": 5}
    # To answer a question is not to be heard: whoever stores nothing answers as well.
    assert not peers.heard_within("us", 0.0, 1e9)
    peers.heard("us", "i", Cursor(), {"v": 1}, 1.0)
    assert peers.confirmed().snapshot() == {"w": 5, "v": 1}
    peers.holds("us", "another", {})
    assert peers.confirmed().snapshot() == {}
