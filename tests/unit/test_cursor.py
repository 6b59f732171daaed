"""No cursor skips: where the place of a cursor cannot be proven, one starts from the beginning."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.cursor import Cursor, keeps_incarnation, message_id, resume_after, still_holds

IDS = st.sampled_from(["m1", "m2", "m3"])


@given(st.lists(IDS), st.lists(IDS), st.integers(0, 6), st.booleans())
def test_a_cursor_never_skips_what_was_not_taken(taken, now, at, restored):
    """Sequences are re-used by a restored stream: what is resumed after is what was taken there."""
    at = min(at, len(taken))
    cursor = Cursor("i1", at, taken[at - 1] if at else "")
    found = now[at - 1] if 0 < at <= len(now) else None
    incarnation = "i2" if restored else "i1"
    after = resume_after(cursor, incarnation, found)
    assert after in (0, at)
    if after:
        assert not restored
        assert now[at - 1] == taken[at - 1]
    assert still_holds(cursor, incarnation, found) == (after == at and not (restored))


def test_a_cursor_at_the_beginning_holds_only_under_its_incarnation():
    assert still_holds(Cursor("i1"), "i1", None)
    assert not still_holds(Cursor("i1"), "i2", None)
    assert not still_holds(Cursor(), "i1", None)


@given(st.lists(st.tuples(st.integers(0, 3), IDS, st.none() | IDS, st.booleans()), max_size=3))
def test_an_incarnation_is_kept_only_if_every_cursor_on_it_holds(peers):
    cursors = [
        (Cursor("held" if same else "older", sequence, told if sequence else ""), found)
        for sequence, told, found, same in peers
    ]
    kept = keeps_incarnation("held", cursors, all_answered=True)
    expected = all(
        sequence == 0 or (same and told == found) for sequence, told, found, same in peers
    )
    assert kept == expected


def test_without_a_peers_word_or_an_incarnation_a_region_takes_a_new_one():
    assert not keeps_incarnation("held", [], all_answered=False)
    assert not keeps_incarnation("", [(Cursor(), None)], all_answered=True)
    assert keeps_incarnation("held", [], all_answered=True)


@given(st.text(min_size=1, max_size=100), st.binary(max_size=20), st.binary(max_size=20))
def test_a_message_id_tells_contents_apart(subject, one, other):
    assert (message_id(subject, one) == message_id(subject, other)) == (one == other)


def test_a_message_id_tells_subjects_apart():
    assert message_id("log.thing.a", b"x") != message_id("log.thing.b", b"x")
    long = "log.thing." + "k" * 100
    assert message_id(long + "a", b"x") != message_id(long + "b", b"x")
