"""The catalogue has what the items say, in order, whatever they said before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.catalogue import Catalogue
from isthmus.core.item import Item
from isthmus.core.lattice import Fields, GrowSet
from isthmus.core.table import MemoryTable

NAMES = st.sampled_from("abcdef")


def item(key, groups):
    return Item("thing", key, {}, Fields({"groups": GrowSet(frozenset(groups))}))


def listed(item):
    groups = item.fields.get("groups").members
    return [(("thing",), item.key)] * bool(groups) + [(("in", each), item.key) for each in groups]


@given(st.lists(st.tuples(NAMES, st.frozensets(st.sampled_from("xyz")))), st.none() | NAMES)
def test_whatever_is_listed_is_found_behind_a_name_in_order(changes, after):
    catalogue, held = Catalogue({"thing": listed}, MemoryTable()), {}
    for key, groups in changes:
        new = item(key, groups)
        catalogue.note(held.get(key), new)
        held[key] = new
    catalogue.note(None, Item("other", "a"))
    for path in [("thing",), ("in", "x"), ("in", "y"), ("in", "z"), ("in",)]:
        names = sorted(key for key, each in held.items() if (path, key) in listed(each))
        behind = [name for name in names if after is None or name > after]
        assert list(catalogue.after(*path, name=after)) == behind
        before = [name for name in reversed(names) if after is None or name < after]
        assert list(catalogue.after(*path, name=after, descending=True)) == before
        assert catalogue.count(*path) == len(names)


@given(st.frozensets(st.text("ab", min_size=1)), st.text("ab"), st.none() | st.text("ab"))
def test_what_begins_so_is_found_behind_a_name_in_order(keys, prefix, after):
    catalogue = Catalogue({"thing": listed}, MemoryTable())
    for key in keys:
        catalogue.note(None, item(key, "x"))
    wanted = [k for k in sorted(keys) if k.startswith(prefix) and (after is None or k > after)]
    assert list(catalogue.beginning("thing", prefix=prefix, name=after)) == wanted
    assert list(catalogue.beginning("nothing", prefix=prefix, name=after)) == []
