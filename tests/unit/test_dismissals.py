"""Connections that are to end: whatever two regions ask at once, the newest one's holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import dismissals
from isthmus.core import item as items
from isthmus.core.dismissals import DISMISSAL, Dismissal
from isthmus.core.item import Item
from isthmus.core.lattice import Fields, Latest
from isthmus.core.presence import Present, Word
from isthmus.core.stamp import Stamp

#: A connection's version, and what is to become of its session and will.
ASKED = st.tuples(st.integers(1, 4), st.booleans(), st.booleans())


def word(version):
    return Word("lamp", version, "eu", "g", Present(f"s{version}", 5, "cert"))


def asked(item, version, cleans, silences):
    return dismissals.dismiss(item, word(version), cleans=cleans, silences=silences)


@given(st.lists(ASKED, min_size=1, max_size=6), st.lists(ASKED, max_size=6))
def test_the_newest_connections_dismissal_holds_with_all_that_was_asked_of_it(here, there):
    regions = [Item(DISMISSAL, "lamp"), Item(DISMISSAL, "lamp")]
    for number, found in enumerate((here, there)):
        for each in found:
            regions[number] = asked(regions[number], *each)
    merged = items.join(*regions)
    assert merged == items.join(*reversed(regions))
    assert items.decode(merged.encode()) == merged
    newest = max(version for version, _, _ in here + there)
    of_it = [each for each in here + there if each[0] == newest]
    assert dismissals.read(merged) == Dismissal(
        f"s{newest}",
        any(cleans for _, cleans, _ in of_it),
        any(silences for _, _, silences in of_it),
    )


def test_what_was_asked_again_is_not_written_again():
    once = asked(Item(DISMISSAL, "lamp"), 3, True, False)
    assert asked(once, 3, True, False).encode() == once.encode()
    assert asked(once, 3, False, False).encode() == once.encode()


def test_what_cannot_be_read_ends_nothing():
    assert dismissals.read(Item(DISMISSAL, "lamp")) is None
    later = Latest(Stamp(1, 0, "eu", "s"), {"connection": "s"})
    assert dismissals.read(Item(DISMISSAL, "lamp", {}, Fields({"ends": later}))) is None
