"""In which list what a query matches is looked up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.search import planning
from isthmus.core.search.planning import (
    All,
    Connected,
    InGroup,
    Named,
    OfType,
    WithAttribute,
    outermost,
    plan,
    spellings,
)
from isthmus.core.search.query import parse


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("*", All()),
        ("abc", All()),
        ("NOT thingName:a", All()),
        ("thingName:Ab", Named(frozenset({"ab"}), True)),
        ('thingName:"Ab*"', Named(frozenset({"ab*"}), True)),
        ("thingName:a*c", Named(frozenset({"a"}), False)),
        ("thingName:*a", All()),
        ("thingName:(a OR b)", Named(frozenset("ab"), True)),
        ("thingName:a OR thingName:b*", All()),
        ("attributes.x:A", WithAttribute("x", frozenset("a"), True)),
        ("attributes.x:a?", WithAttribute("x", frozenset("a"), False)),
        ("attributes.x>5", WithAttribute("x", frozenset({""}), False)),
        ("attributes.x:a OR attributes.x:b*", WithAttribute("x", frozenset({""}), False)),
        ("attributes.x:a OR attributes.y:a", All()),
        ("thingTypeName:(a OR b)", OfType(frozenset("ab"))),
        ("thingGroupNames:(a AND b)", InGroup(frozenset("a"))),
        ("thingGroupNames:(a OR b)", InGroup(frozenset("ab"))),
        ("attributes.x:(a OR b)", WithAttribute("x", frozenset("ab"), True)),
        ("thingGroupNames:a*", All()),
        ("connectivity.connected:TRUE", Connected()),
        ("connectivity.connected:false", All()),
        ("connectivity.connected:true thingName:a*", Named(frozenset("a"), False)),
        ("connectivity.connected:true attributes.x:*", Connected()),
        ("thingTypeName:t attributes.x:1", WithAttribute("x", frozenset("1"), True)),
    ],
)
def test_the_list_that_is_read(query, expected):
    assert plan(parse(query), planning.of_thing) == expected


@given(st.sets(st.text("aAbB1", max_size=4)), st.text("ab1", min_size=1, max_size=3))
def test_every_spelling_of_what_is_there_is_found(names, text):
    spelled = spellings(text, lambda each: any(name.startswith(each) for name in names))
    assert spelled == sorted({n[: len(text)] for n in names if n.lower().startswith(text)})


def test_of_very_many_spellings_the_beginnings_are_read():
    spelled = spellings("a" * 20, lambda each: True)
    assert len(spelled) <= planning.SPELLINGS_MAX
    assert {len(each) for each in spelled} == {6}


@given(st.lists(st.text("ab", max_size=3)))
def test_what_begins_with_any_of_some_begins_with_just_one_of_the_outermost(texts):
    found = outermost(texts)
    for text in texts:
        assert sum(text.startswith(each) for each in found) == 1
    assert found == sorted(found)
