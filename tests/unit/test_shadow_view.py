"""The delta is what is desired and not so reported, path by path."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from shadow_histories import SECTIONS, Naive, Wrote

from isthmus.core import shadows
from isthmus.core.item import Item
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import read_update
from isthmus.core.shadow_view import is_same
from isthmus.core.stamp import StampClock


def paths(value: dict[str, Any], above: tuple[str, ...] = ()):
    """Every scalar, array and empty object of a document, with its path."""
    for name, each in value.items():
        if isinstance(each, dict) and each:
            yield from paths(each, (*above, name))
        else:
            yield (*above, name), each


def at(document: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(document, dict) or name not in document:
            return None
        document = document[name]
    return document


def difference(desired: dict[str, Any], reported: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, wanted in paths(desired):
        there = at(reported, path)
        is_met = (
            isinstance(there, dict) if wanted == {} else json.dumps(wanted) == json.dumps(there)
        )
        if not is_met:
            inner = found
            for name in path[:-1]:
                inner = inner.setdefault(name, {})
            inner[path[-1]] = wanted
    return found


@given(SECTIONS, SECTIONS, SECTIONS)
@settings(max_examples=500)
def test_the_delta_has_every_path_that_is_not_reported_as_it_is_desired(first, desired, reported):
    item = Item(shadows.SHADOW, "t")
    clock, writes = StampClock("eu", "i"), []
    for n, state in enumerate([{"desired": first}, {"desired": desired}, {"reported": reported}]):
        payload = json.dumps({"state": state}).encode()
        said = shadows.update(item, Writer(clock, 1000 * n), read_update(payload))
        item = said.item
        writes.append(Wrote((1000 * n,), "", state))
    naive = Naive(writes)
    expected = difference(naive.state.get("desired", {}), naive.state.get("reported", {}))
    if not expected:
        assert said.delta() is None
        assert "delta" not in json.loads(shadows.get(item, 9000))["state"]
        return
    delta, got = json.loads(said.delta()), json.loads(shadows.get(item, 9000))
    assert delta["state"] == got["state"]["delta"] == expected
    assert delta["metadata"] == got["metadata"]["delta"]
    for path, wanted in paths(expected):
        time = at(naive.metadata["desired"], path)
        assert at(delta["metadata"], path) == (time if wanted != {} else {})


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (0.0, -0.0, True),
        ("1", 1, False),
        ([1], [1.0], True),
        ([1], [True], False),
        ([1, 2], [1], False),
        ([{"a": 1}], [{"a": True}], False),
        ([{"a": 1}], [{"b": 1}], False),
        ([[]], [{}], False),
        (9007199254740993, 9007199254740992.0, False),
        (False, False, True),
        (None, False, False),
    ],
)
def test_values_are_compared_as_json_has_them(one, other, expected):
    assert is_same(one, other) is is_same(other, one) is expected
