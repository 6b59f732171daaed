"""A request to a shadow is read, or refused by one of AWS's errors, whatever its bytes are."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shadow_histories import STATES

from isthmus.core import shadow_answers, shadows
from isthmus.core.item import Item, decode, join
from isthmus.core.registry import Writer
from isthmus.core.shadow_request import (
    REQUEST_MAX,
    ShadowRefused,
    UpdateRequest,
    read_token,
    read_update,
)
from isthmus.core.stamp import StampClock

#: Developer guide, "Device Shadow error messages": all that a payload can be refused by.
MESSAGES = {
    400: [
        "Invalid JSON",
        "Missing required node: state",
        "State node must be an object",
        "Desired node must be an object",
        "Reported node must be an object",
        "Invalid version",
        "Invalid clientToken",
        "JSON contains too many levels of nesting; maximum is 6",
        "State contains an invalid node",
    ],
    409: ["Version conflict"],
    413: ["The payload exceeds the maximum size allowed"],
    415: ["Unsupported documented encoding; supported encoding is UTF-8"],
}


def refusal(payload: bytes) -> tuple[int, str, str | None]:
    with pytest.raises(ShadowRefused) as raised:
        read_update(payload)
    return raised.value.code, raised.value.message, raised.value.client_token


def nested(levels: int, inner: str = "1", opening: str = '{"a":', closing: str = "}") -> bytes:
    """A section in which so many levels are below each other."""
    text = opening * (levels - 1) + f'{{"a":{inner}}}' + closing * (levels - 1)
    return f'{{"state":{{"desired":{text}}}}}'.encode()


@pytest.mark.parametrize(
    ("payload", "code", "message"),
    [
        (b"", 400, 0),
        (b"{", 400, 0),
        (b"[]", 400, 0),
        (b"null", 400, 0),
        (b'{"state":{"desired":{"a":NaN}}}', 400, 0),
        (b'{"state":{"desired":{"a":Infinity}}}', 400, 0),
        (b'{"state":{"desired":{"a":1e400}}}', 400, 0),
        (b'{"state":{"desired":{"a":' + b"9" * 5000 + b"}}}", 400, 0),
        (b'{"state":{"desired":{"a":01}}}', 400, 0),
        (b'{"state":{},}', 400, 0),
        (b'{"state":{"desired":{"a":"\\ud800"}}}', 400, 0),
        (b'{"state":{"desired":{"\\udc00":1}}}', 400, 0),
        (b'{"state":{"desired":{"a":1,"a":2}}}', 400, 0),
        (b'{"state":{"desired":{"a":":","a":":"}}}', 400, 0),
        (b'{"state":{},"state":{}}', 400, 0),
        (b'{"state":{"desired":{"a":[{"x":1,"x":1}]}}}', 400, 0),
        (b'{"state":{}, "other":{"x":1,"x":1}}', 400, 0),
        (b'\xef\xbb\xbf{"state":{}}', 400, 0),
        (b"{}", 400, 1),
        (b'{"State":{}}', 400, 1),
        (b'{"state":[]}', 400, 2),
        (b'{"state":"x"}', 400, 2),
        (b'{"state":false}', 400, 2),
        (b'{"state":{"desired":[],"reported":1}}', 400, 3),
        (b'{"state":{"desired":0}}', 400, 3),
        (b'{"state":{"reported":"on"}}', 400, 4),
        (b'{"state":{},"version":"1"}', 400, 5),
        (b'{"state":{},"version":true}', 400, 5),
        (b'{"state":{},"version":1.0}', 400, 5),
        (b'{"state":{},"version":-1}', 400, 5),
        (b'{"state":{},"clientToken":7}', 400, 6),
        (b'{"state":{},"clientToken":"' + b"x" * 65 + b'"}', 400, 6),
        (b'{"state":{},"clientToken":"' + "é".encode() * 33 + b'"}', 400, 6),
        (nested(9), 400, 7),
        (nested(8, '{"b":1}'), 400, 7),
        (nested(8, "[1]"), 400, 7),
        (nested(3000), 400, 7),
        (nested(100, opening='{"a":[{"b":', closing="}]}"), 400, 7),
        (b"[" * 30_000, 400, 7),
        (b"{" * 10, 400, 0),
        (b"{" + b" " * REQUEST_MAX + b"}", 413, 0),
        (b"\xff" * 1_000_000, 413, 0),
        (b'{"state":{"desired":{"a":"\xff"}}}', 415, 0),
        ('{"state":{"desired":{"a":"é"}}}'.encode("latin-1"), 415, 0),
        (b"\xed\xa0\x80", 415, 0),
        ('{"state":{}}'.encode("utf-16"), 415, 0),
    ],
)
def test_what_is_no_request_is_refused_in_the_words_of_aws(payload, code, message):
    assert refusal(payload)[:2] == (code, MESSAGES[code][message])


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({"foo": 1}, "foo"),
        ({"desired": {}, "delta": {}}, "delta"),
        ({"desired": {"a": [1, None]}}, "a"),
        ({"reported": {"a": {"b": [[None]]}}}, "b"),
        ({"reported": {"a": [{"x": None}]}}, "a"),
        ({"": None}, ""),
        ({"x" * 9000: None}, "x" * 128),
        ({"desired": {"": [None]}}, ""),
    ],
)
def test_a_node_that_may_not_be_there_is_named(state, named):
    found = refusal(json.dumps({"state": state}).encode())
    assert found[:2] == (400, f"{MESSAGES[400][-1]}: '{named}'")


def test_the_first_of_several_errors_is_told_in_the_order_of_the_page():
    deep = json.loads(nested(9))["state"]["desired"]
    wrong = {
        "state": {"desired": 1, "reported": 1, "foo": 1},
        "version": "1",
        "clientToken": "x" * 65,
    }
    repairs = [
        ("Desired node", lambda: wrong["state"].update(desired=deep)),
        ("Reported node", lambda: wrong["state"].update(reported={"a": [None]})),
        ("Invalid version", lambda: wrong.update(version=1)),
        ("Invalid clientToken", lambda: wrong.update(clientToken="t")),
        ("JSON contains too many", lambda: wrong["state"].update(desired={})),
        ("State contains an invalid node: 'foo'", lambda: wrong["state"].pop("foo")),
        ("State contains an invalid node: 'a'", lambda: wrong["state"].update(reported={})),
    ]
    for message, repair in repairs:
        assert refusal(json.dumps(wrong).encode())[1].startswith(message)
        repair()
    assert read_update(json.dumps(wrong).encode()) == ({"desired": {}, "reported": {}}, 1, "t")


@pytest.mark.parametrize(
    "broken", [{}, {"state": 1}, {"state": {"foo": 1}}, {"state": {}, "version": ""}]
)
def test_the_token_comes_back_with_every_error(broken):
    assert refusal(json.dumps(broken | {"clientToken": "mine"}).encode())[2] == "mine"
    assert refusal(json.dumps(broken | {"clientToken": 5}).encode())[2] is None


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"state":{}}', UpdateRequest({})),
        (b'{"state":null}', UpdateRequest(None)),
        (b'{"state":{},"version":null,"clientToken":null}', UpdateRequest({})),
        (b'{"state":{},"version":0,"clientToken":""}', UpdateRequest({}, 0, "")),
        (
            b'{"state":{},"metadata":[null],"other":{"deep":[[[[[[[[[[1]]]]]]]]]]}}',
            UpdateRequest({}),
        ),
        (nested(8), UpdateRequest(json.loads(nested(8))["state"])),
        (nested(8, "{}"), UpdateRequest(json.loads(nested(8, "{}"))["state"])),
        (b'{"state":{"desired":{"a":"12:30"}}}', UpdateRequest({"desired": {"a": "12:30"}})),
        (
            b' {"state": {"desired": {"a": [":", {"b": 1}]}}}',
            UpdateRequest({"desired": {"a": [":", {"b": 1}]}}),
        ),
        (b'{"state":{"desired":{"a":"\\ud83d\\ude00"}}}', UpdateRequest({"desired": {"a": "😀"}})),
    ],
)
def test_a_request_is_read(payload, expected):
    assert read_update(payload) == expected


def test_a_token_may_have_64_bytes():
    token = "é" * 32
    assert (
        read_update(json.dumps({"state": {}, "clientToken": token}).encode()).client_token == token
    )


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", None),
        (b"no JSON", None),
        (b"\xff", None),
        (b"[1]", None),
        (b"[" * 30_000, None),
        (b" " * 1_000_000, None),
        (b"{}", None),
        (b'{"clientToken":null}', None),
        (b'{"clientToken":"t","x":1}', "t"),
    ],
)
def test_what_is_sent_to_get_or_delete_is_read_for_its_token_alone(payload, expected):
    assert read_token(payload) == expected


@pytest.mark.parametrize("token", ["5", '"' + "x" * 65 + '"'])
def test_a_token_that_may_not_be_is_refused_everywhere(token):
    with pytest.raises(ShadowRefused, match="Invalid clientToken"):
        read_token(f'{{"clientToken":{token}}}'.encode())


# What is written


def writer(now_ms: int = 1000) -> Writer:
    return Writer(StampClock("eu", "i"), now_ms)


def updated(item: Item, payload: bytes, now_ms: int = 1000) -> shadows.Updated:
    return shadows.update(item, writer(now_ms), read_update(payload))


EMPTY = Item(shadows.SHADOW, "t")


@pytest.mark.parametrize(
    "number",
    ["9007199254740993", "-18446744073709551617", "1" * 40, "0", "-0.0", "1.1", "1e+22", "5e-324"],
)
def test_a_number_comes_back_as_it_was_sent(number):
    item = decode(
        updated(EMPTY, f'{{"state":{{"desired":{{"n":{number}}}}}}}'.encode()).item.encode()
    )
    found = json.loads(shadows.get(item, 1000))["state"]["desired"]["n"]
    assert repr(found) == repr(json.loads(number))


def filled(size: int) -> bytes:
    """An update whose section has so many bytes."""
    return json.dumps({"state": {"desired": {"a": "x" * (size - len('{"a":""}'))}}}).encode()


def test_a_document_may_have_8_kb_of_state_and_no_more():
    item = updated(EMPTY, filled(8192)).item
    for payload in (filled(8193), b'{"state":{"reported":{"b":1}}}'):
        with pytest.raises(ShadowRefused) as raised:
            updated(item, payload)
        assert (raised.value.code, raised.value.message) == (413, MESSAGES[413][0])
    with pytest.raises(ShadowRefused, match="maximum size"):
        updated(EMPTY, filled(8193))


def test_what_regions_made_too_large_together_may_shrink_and_not_grow():
    one = updated(EMPTY, filled(8000)).item
    state = {"state": {"reported": {"b": "y" * 8000}}}
    us = Writer(StampClock("us", "i"), 2000)
    item = join(one, shadows.update(EMPTY, us, read_update(json.dumps(state).encode())).item)
    assert json.loads(shadows.get(item, 1))["version"] == 2
    with pytest.raises(ShadowRefused, match="maximum size"):
        updated(item, filled(8001))
    item = updated(item, filled(8000)).item
    item = updated(item, filled(7999)).item
    assert updated(item, b'{"state":{"desired":null}}').current.state.keys() == {"reported"}


def test_names_that_come_and_go_fill_a_shadow_until_its_section_is_taken_away():
    item, refused = EMPTY, None
    for n in range(1000):
        names = {f"{string.ascii_lowercase * 2}-{n}-{each}": None for each in range(200)}
        payload = json.dumps({"state": {"reported": names}, "clientToken": "t"}).encode()
        try:
            item = updated(item, payload).item
        except ShadowRefused as error:
            refused = error
            break
    assert (refused.code, refused.message, refused.client_token) == (413, MESSAGES[413][0], "t")
    assert len(item.encode()) <= shadows.STORED_MAX
    # Whatever makes it no larger is taken.
    assert updated(item, b'{"state":{}}').version == shadows.version(item) + 1
    item = updated(item, b'{"state":{"reported":null}}').item
    assert updated(item, payload).version == shadows.version(item) + 1


@pytest.mark.parametrize(("asked", "is_taken"), [(0, True), (1, False)])
def test_a_shadow_that_is_not_there_has_version_0(asked, is_taken):
    payload = f'{{"state":{{}},"version":{asked}}}'.encode()
    if is_taken:
        assert updated(EMPTY, payload).version == 1
    else:
        with pytest.raises(ShadowRefused, match="Version conflict"):
            updated(EMPTY, payload)


def test_nothing_is_before_the_first_update_or_the_first_after_a_deletion():
    payload = b'{"state":{"desired":{"a":1}}}'
    first = updated(EMPTY, payload)
    gone = shadows.delete(first.item, writer()).item
    for said in (first, updated(gone, payload)):
        assert "previous" not in json.loads(said.documents())
    again = json.loads(updated(first.item, payload).documents())
    assert again["previous"]["version"] == 1


def test_an_empty_token_comes_back_as_well():
    said = updated(EMPTY, b'{"state":{},"clientToken":""}')
    assert json.loads(said.accepted())["clientToken"] == ""


def test_a_repeated_token_is_nothing_special():
    payload = b'{"state":{"desired":{"a":1}},"clientToken":"t"}'
    assert updated(updated(EMPTY, payload).item, payload).version == 2


@pytest.mark.parametrize(
    ("key", "named"), [(shadows.key("thing"), "thing"), (shadows.key("thing", "name"), "name")]
)
def test_who_asks_for_a_shadow_that_is_not_there_is_told_its_name(key, named):
    for ask in (
        lambda item: shadows.get(item, 1, "t"),
        lambda item: shadows.delete(item, writer(), "t"),
    ):
        with pytest.raises(ShadowRefused) as raised:
            ask(Item(shadows.SHADOW, key))
        assert json.loads(shadow_answers.rejected(raised.value)) == {
            "code": 404,
            "message": f"No shadow exists with name: '{named}'",
            "clientToken": "t",
        }


def test_a_clock_that_went_back_tells_one_time_for_one_write():
    item = updated(EMPTY, b'{"state":{"desired":{"a":1}}}', 90_000).item
    late = updated(item, b'{"state":{"desired":{"b":1}}}', 5000)
    said = json.loads(late.accepted())
    assert said["metadata"]["desired"]["b"]["timestamp"] == said["timestamp"] == 90


def test_named_shadows_are_listed_under_their_thing_while_they_are_there():
    named = Item(shadows.SHADOW, shadows.key("thing:1", "$name"))
    there = updated(named, b'{"state":null}').item
    assert list(shadows.listed(there)) == [((shadows.LISTED_BY_THING, "thing:1"), "$name")]
    gone = shadows.delete(there, writer()).item
    classic = updated(Item(shadows.SHADOW, shadows.key("thing:1")), b'{"state":null}').item
    assert [*shadows.listed(named), *shadows.listed(gone), *shadows.listed(classic)] == []


def test_a_region_tells_its_devices_what_another_region_was_told():
    before = updated(EMPTY, b'{"state":{"desired":{"a":1}}}', 10_000).item
    there = shadows.update(
        before, Writer(StampClock("us", "i"), 20_000), read_update(b'{"state":{"desired":{"a":2}}}')
    )
    after = join(before, there.item)
    said = shadows.changed(before, after)
    assert (said.delta(), said.documents()) == (there.delta(), there.documents())
    assert b"clientToken" not in said.documents()
    assert json.loads(said.documents())["timestamp"] == 20
    assert shadows.changed(after, after) is None
    assert shadows.changed(EMPTY, after).delta() == there.delta()
    assert shadows.changed(after, shadows.delete(after, writer()).item) is None


def test_devices_are_told_of_a_deletion_that_an_update_here_outlived():
    before = updated(EMPTY, b'{"state":{"desired":{"a":1}}}', 10_000).item
    gone = shadows.delete(before, Writer(StampClock("us", "i"), 20_000)).item
    here = updated(before, b'{"state":{"desired":{"b":1}}}', 30_000).item
    said = json.loads(shadows.changed(here, join(here, gone)).documents())
    assert said["previous"]["state"] == {"desired": {"a": 1, "b": 1}}
    assert said["current"]["state"] == {"desired": {"b": 1}}


PIECES = st.sampled_from(
    [*'{}[]:,"', '"state":', '"desired":', "null", '{"a":', '"\\ud800"', "1e400", "-1", "é", " "]
)
PAYLOADS = (
    st.binary(max_size=30)
    | st.lists(PIECES, max_size=25).map(lambda pieces: "".join(pieces).encode())
    | st.builds(
        lambda state, rest: json.dumps({"state": state} | rest).encode(),
        STATES | st.integers() | st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
        st.dictionaries(
            st.sampled_from(["version", "clientToken", "x"]),
            st.integers(-1, 2) | st.text(max_size=3) | st.none() | st.booleans(),
        ),
    )
)


@given(PAYLOADS, st.integers(0, 200), st.binary(max_size=2))
@example(b"", 0, b"")
@settings(max_examples=500)
def test_any_bytes_are_a_request_or_one_of_the_documented_errors(payload, at, put):
    item = updated(EMPTY, b'{"state":{"desired":{"a":1},"reported":{"a":{"b":[1]}}}}').item
    for each in (payload, payload[:at] + put + payload[at + 1 :]):
        errors = []
        try:
            said = updated(item, each)
            answers = [said.accepted(), said.delta() or b"{}", said.documents()]
            assert said.version == 2
            assert decode(said.item.encode()).encode() == said.item.encode()
        except ShadowRefused as error:
            errors.append(error)
            answers = [shadow_answers.rejected(error)]
        try:
            read_token(each)
        except ShadowRefused as error:
            errors.append(error)
        for answer in answers:
            json.loads(answer)
        assert all(is_documented(error.code, error.message) for error in errors)


def is_documented(code: int, message: str) -> bool:
    return message in MESSAGES[code] or message.startswith(f"{MESSAGES[400][-1]}: '")
